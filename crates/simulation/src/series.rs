//! What happened over time, in a bounded number of buckets whatever the length of the trace.
//!
//! How long a simulation takes is known only at its end. The buckets begin short; when there are too many, neighbours
//! are merged and every bucket is twice as long from then on. No second pass is needed and nothing is lost but detail.

/// No more buckets than this: more than a chart has dots.
pub const BUCKETS_MAX: usize = 600;

/// What is watched over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Levels {
    /// CPU in use, thousandths.
    pub cpu_milli: u64,
    /// Nodes with a pod.
    pub nodes: u64,
    /// CPU that is free on nodes in use, thousandths.
    pub stranded_cpu_milli: u64,
    /// Gangs submitted and not started.
    pub waiting: u64,
}

/// The course of [`Levels`]: means over buckets of equal length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    start_ms: Option<i64>,
    until_ms: i64,
    width_ms: i64,
    buckets: Vec<Bucket>,
}

/// Integrals over a stretch of time. They are integers, so that merging loses nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    lasted_ms: u64,
    cpu_milli: u128,
    nodes: u128,
    stranded_cpu_milli: u128,
    waiting: u128,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            start_ms: None,
            until_ms: 0,
            width_ms: 1,
            buckets: Vec::new(),
        }
    }
}

impl Series {
    /// The levels have been so since the call before; the first call is the beginning. A time before that of the last
    /// call counts as the same time. Constant time a call, but for the buckets that it fills.
    pub fn until(&mut self, now_ms: i64, levels: Levels) {
        let Some(start_ms) = self.start_ms else {
            (self.start_ms, self.until_ms) = (Some(now_ms), now_ms);
            return;
        };
        if now_ms <= self.until_ms {
            return;
        }
        while index(now_ms - 1 - start_ms, self.width_ms) >= BUCKETS_MAX {
            self.merge();
        }
        while self.until_ms < now_ms {
            let bucket = index(self.until_ms - start_ms, self.width_ms);
            if bucket >= self.buckets.len() {
                self.buckets.push(Bucket::default());
            }
            let left_ms = self.width_ms - (self.until_ms - start_ms) % self.width_ms;
            let passed_ms = left_ms.min(now_ms - self.until_ms);
            if let Some(bucket) = self.buckets.last_mut() {
                bucket.add(passed_ms.unsigned_abs(), levels);
            }
            self.until_ms += passed_ms;
        }
    }

    /// The buckets in order of time, from the beginning on without a gap; all but the last are of the same length.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// From the beginning to the end, milliseconds.
    pub fn span_ms(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.lasted_ms).sum()
    }

    fn merge(&mut self) {
        self.width_ms = self.width_ms.saturating_mul(2);
        self.buckets = self.buckets.chunks(2).map(Bucket::of_all).collect();
    }
}

fn index(since_start_ms: i64, width_ms: i64) -> usize {
    usize::try_from(since_start_ms / width_ms).unwrap_or(0)
}

impl Bucket {
    fn add(&mut self, passed_ms: u64, levels: Levels) {
        let times = |level: u64| u128::from(passed_ms) * u128::from(level);
        self.lasted_ms += passed_ms;
        self.cpu_milli += times(levels.cpu_milli);
        self.nodes += times(levels.nodes);
        self.stranded_cpu_milli += times(levels.stranded_cpu_milli);
        self.waiting += times(levels.waiting);
    }

    /// Several stretches as one.
    pub fn of_all(buckets: &[Self]) -> Self {
        buckets.iter().fold(Self::default(), |sum, bucket| Self {
            lasted_ms: sum.lasted_ms + bucket.lasted_ms,
            cpu_milli: sum.cpu_milli + bucket.cpu_milli,
            nodes: sum.nodes + bucket.nodes,
            stranded_cpu_milli: sum.stranded_cpu_milli + bucket.stranded_cpu_milli,
            waiting: sum.waiting + bucket.waiting,
        })
    }

    /// How long it lasted, milliseconds.
    pub fn lasted_ms(&self) -> u64 {
        self.lasted_ms
    }

    /// CPU in use, thousandths, mean over its time.
    pub fn cpu_milli(&self) -> f64 {
        self.mean(self.cpu_milli)
    }

    /// Nodes in use, mean over its time.
    pub fn nodes(&self) -> f64 {
        self.mean(self.nodes)
    }

    /// CPU that is free on nodes in use, thousandths, mean over its time.
    pub fn stranded_cpu_milli(&self) -> f64 {
        self.mean(self.stranded_cpu_milli)
    }

    /// Gangs that wait, mean over its time.
    pub fn waiting(&self) -> f64 {
        self.mean(self.waiting)
    }

    fn mean(&self, integral: u128) -> f64 {
        integral as f64 / self.lasted_ms.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiting(waiting: u64) -> Levels {
        Levels {
            waiting,
            ..Levels::default()
        }
    }

    #[test]
    fn nothing_and_a_single_moment_have_no_buckets() {
        let mut series = Series::default();
        assert!(series.buckets().is_empty());
        series.until(5, waiting(1));
        series.until(5, waiting(2));
        series.until(3, waiting(3));
        assert_eq!((series.buckets().len(), series.span_ms()), (0, 0));
    }

    #[test]
    fn a_bucket_is_a_mean_over_its_time() {
        let mut series = Series::default();
        let width_ms = 4_i64;
        series.until(1_000, waiting(0));
        // Twice as long as there is room for, twice.
        series.until(1_000 + width_ms * 600, waiting(0));
        assert_eq!((series.buckets().len(), series.buckets()[0].lasted_ms()), (600, 4));
        series.until(1_000 + width_ms * 600 + 2, waiting(8));
        series.until(1_000 + width_ms * 600 + 8, waiting(4));
        assert_eq!((series.buckets().len(), series.buckets()[0].lasted_ms()), (301, 8));
        assert!((series.buckets()[300].waiting() - 5.0).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn no_time_is_lost_and_there_are_never_too_many(
            start_ms in 0_i64..1_000_000,
            steps in prop::collection::vec((0_u32..40, 0_i64..8, 0_u64..1 << 40, 0_u64..50), 0..400),
        ) {
            let mut series = Series::default();
            series.until(start_ms, Levels::default());
            let (mut now_ms, mut sum) = (start_ms, Bucket::default());
            for (magnitude, times, cpu_milli, waiting) in steps {
                // Steps of any magnitude, from none to years.
                let step_ms = times << magnitude;
                now_ms += step_ms;
                let levels = Levels { cpu_milli, nodes: cpu_milli / 3, stranded_cpu_milli: cpu_milli / 7, waiting };
                series.until(now_ms, levels);
                sum.add(step_ms.unsigned_abs(), levels);
                prop_assert!(series.buckets().len() <= BUCKETS_MAX);
            }
            prop_assert_eq!(Bucket::of_all(series.buckets()), sum);
            prop_assert_eq!(series.span_ms(), (now_ms - start_ms).unsigned_abs());
            if let Some((last, others)) = series.buckets().split_last() {
                prop_assert!(others.iter().all(|bucket| bucket.lasted_ms() == series.width_ms.unsigned_abs()));
                prop_assert!((1..=series.width_ms.unsigned_abs()).contains(&last.lasted_ms()));
            }
        }
    }
}
