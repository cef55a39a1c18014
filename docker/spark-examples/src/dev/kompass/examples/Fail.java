package dev.kompass.examples;

import java.util.List;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.SparkSession;

/** Ends badly: {@code Fail [task|driver]}, in a task on an executor or in the driver's own code. */
public final class Fail {
  private Fail() {}

  public static void main(String[] args) {
    String where = args.length > 0 ? args[0] : "task";
    SparkSession session = SparkSession.builder().appName("Fail").getOrCreate();
    JavaSparkContext context = JavaSparkContext.fromSparkContext(session.sparkContext());

    long first = context.parallelize(List.of(1, 2, 3, 4), 4).count();
    System.out.println("Counted " + first + " rows before the failure");
    if (where.equals("driver")) {
      throw new IllegalStateException("failing in the driver, as asked");
    }
    context.parallelize(List.of(1, 2, 3, 4), 4).foreach(Fail::fail);
  }

  private static void fail(Integer row) {
    throw new IllegalStateException("failing on row " + row + ", as asked");
  }
}
