package dev.kompass.examples;

import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;

/** Moves rows between executors, twice: {@code Shuffle [rows] [partitions]}. */
public final class Shuffle {
  private static final int GROUPS = 1_000;

  private Shuffle() {}

  public static void main(String[] args) {
    long rows = args.length > 0 ? Long.parseLong(args[0]) : 1_000_000;
    int partitions = args.length > 1 ? Integer.parseInt(args[1]) : 8;
    SparkSession session =
        SparkSession.builder()
            .appName("Shuffle")
            .config("spark.sql.shuffle.partitions", partitions)
            .config("spark.sql.adaptive.enabled", false)
            .getOrCreate();

    Dataset<Row> counts =
        session
            .range(0, rows, 1, partitions)
            .withColumn("group", functions.col("id").mod(GROUPS))
            .repartition(partitions, functions.col("group"))
            .groupBy("group")
            .count();
    long total = counts.agg(functions.sum("count")).first().getLong(0);
    if (total != rows) {
      throw new IllegalStateException("counted " + total + " rows of " + rows);
    }
    System.out.println("Shuffled " + total + " rows into " + counts.count() + " groups");
    session.stop();
  }
}
