//! How many executors the last runs of jobs in client mode had at once.

use rustc_hash::FxHashMap;

/// Jobs remembered; beyond it those that ended longest ago are forgotten.
const JOBS_MAX: usize = 1_000;
/// Runs of a job that count.
const RUNS: usize = 3;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// By job: when its last run ended, in the order of ends, and the peaks of its last runs.
    jobs: FxHashMap<Box<str>, (u64, Vec<u64>)>,
    ended: u64,
}

impl Past {
    /// A run has ended that had so many executors at once. One that had none tells nothing.
    pub(super) fn learn(&mut self, job: &str, peak: u64) {
        if peak == 0 {
            return;
        }
        self.ended += 1;
        let (ended, peaks) = self.jobs.entry(job.into()).or_default();
        *ended = self.ended;
        peaks.push(peak);
        if peaks.len() > RUNS {
            peaks.remove(0);
        }
        if self.jobs.len() > JOBS_MAX {
            // A tenth at once, so that this is rare.
            let mut ends: Vec<u64> = self.jobs.values().map(|&(ended, _)| ended).collect();
            ends.sort_unstable();
            let from = ends[JOBS_MAX / 10];
            self.jobs.retain(|_, (ended, _)| *ended > from);
        }
    }

    /// How many executors the next run is expected to have at least: the middle one of its last runs, the smaller of two,
    /// so that one run that was cut off or grew large changes nothing. 0 where there was none.
    pub(super) fn expected(&self, job: &str) -> u64 {
        let Some((_, peaks)) = self.jobs.get(job) else { return 0 };
        let mut peaks = peaks.clone();
        peaks.sort_unstable();
        peaks[(peaks.len() - 1) / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(peaks: &[u64]) -> u64 {
        let mut past = Past::default();
        for &peak in peaks {
            past.learn("job", peak);
        }
        past.expected("job")
    }

    #[test]
    fn the_middle_one_of_the_last_runs_counts() {
        assert_eq!(after(&[]), 0);
        assert_eq!(after(&[5]), 5);
        assert_eq!(after(&[5, 3]), 3);
        assert_eq!(after(&[5, 1, 5]), 5, "one run was cut off");
        assert_eq!(after(&[5, 5, 500]), 5, "one run grew large");
        assert_eq!(after(&[9, 9, 2, 2, 2]), 2, "it has become smaller");
        assert_eq!(after(&[5, 0, 0, 0]), 5, "runs without an executor tell nothing");
    }

    #[test]
    fn jobs_are_bounded_and_the_youngest_stay() {
        let mut past = Past::default();
        for job in 0..=JOBS_MAX {
            past.learn(&job.to_string(), 7);
        }
        assert!(past.jobs.len() <= JOBS_MAX);
        assert_eq!((past.expected("0"), past.expected(&JOBS_MAX.to_string())), (0, 7));
    }
}
