package dev.kompass.examples;

import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import org.apache.spark.storage.StorageLevel;

/** Keeps a data set in the executors' memory and reads it several times: {@code Cache [rows] [rounds]}. */
public final class Cache {
  private Cache() {}

  public static void main(String[] args) {
    long rows = args.length > 0 ? Long.parseLong(args[0]) : 1_000_000;
    int rounds = args.length > 1 ? Integer.parseInt(args[1]) : 5;
    SparkSession session = SparkSession.builder().appName("Cache").getOrCreate();

    Dataset<Row> cached =
        session
            .range(rows)
            .withColumn("text", functions.sha2(functions.col("id").cast("string"), 256))
            .persist(StorageLevel.MEMORY_ONLY());
    for (int round = 1; round <= rounds; round++) {
      long begin = System.nanoTime();
      long hits = cached.filter(functions.col("text").startsWith("0")).count();
      long milliseconds = (System.nanoTime() - begin) / 1_000_000;
      System.out.println("Round " + round + ": " + hits + " of " + rows + " rows in " + milliseconds + " ms");
    }
    cached.unpersist(true);
    session.stop();
  }
}
