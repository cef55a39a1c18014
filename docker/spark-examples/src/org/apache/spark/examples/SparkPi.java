package org.apache.spark.examples;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.SparkSession;

/** Estimates pi by throwing darts at a square: {@code SparkPi [slices]}. */
public final class SparkPi {
  private static final int DARTS_PER_SLICE = 100_000;

  private SparkPi() {}

  public static void main(String[] args) {
    int slices = args.length > 0 ? Integer.parseInt(args[0]) : 2;
    SparkSession session = SparkSession.builder().appName("Spark Pi").getOrCreate();
    JavaSparkContext context = JavaSparkContext.fromSparkContext(session.sparkContext());

    List<Integer> seeds = new ArrayList<>(slices);
    for (int slice = 0; slice < slices; slice++) {
      seeds.add(slice);
    }
    long inside = context.parallelize(seeds, slices).map(slice -> dartsInside()).reduce(Long::sum);
    System.out.println("Pi is roughly " + 4.0 * inside / ((double) DARTS_PER_SLICE * slices));
    session.stop();
  }

  private static long dartsInside() {
    ThreadLocalRandom random = ThreadLocalRandom.current();
    long inside = 0;
    for (int dart = 0; dart < DARTS_PER_SLICE; dart++) {
      double x = random.nextDouble(-1, 1);
      double y = random.nextDouble(-1, 1);
      if (x * x + y * y <= 1) {
        inside++;
      }
    }
    return inside;
  }
}
