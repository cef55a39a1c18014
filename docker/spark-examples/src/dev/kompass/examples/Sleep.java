package dev.kompass.examples;

import java.util.ArrayList;
import java.util.List;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.SparkSession;

/** Holds its executors for a known time without using the processor: {@code Sleep [seconds per task] [tasks]}. */
public final class Sleep {
  private Sleep() {}

  public static void main(String[] args) {
    double seconds = args.length > 0 ? Double.parseDouble(args[0]) : 10;
    int tasks = args.length > 1 ? Integer.parseInt(args[1]) : 2;
    long milliseconds = Math.round(seconds * 1_000);
    SparkSession session = SparkSession.builder().appName("Sleep").getOrCreate();
    JavaSparkContext context = JavaSparkContext.fromSparkContext(session.sparkContext());

    List<Integer> rows = new ArrayList<>(tasks);
    for (int task = 0; task < tasks; task++) {
      rows.add(task);
    }
    context.parallelize(rows, tasks).foreach(row -> Thread.sleep(milliseconds));
    System.out.println("Slept " + milliseconds + " ms in each of " + tasks + " tasks");
    session.stop();
  }
}
