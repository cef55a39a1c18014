//! How long gangs run: what is remembered of those that ended, and what is expected of those that wait or run.
//!
//! Until a predictor writes an estimate into the job's profile, the quantiles of the job's own last runs are expected;
//! of a gang that runs already, the third quartile of those of these runs that were longer than it has run so far. A job that
//! never ran before is expected to run as the last ones of its queue did, else as the last ones of all.
//!
//! Why not the mean of the last two runs, as in Tsafrir, Etsion and Feitelson, "Backfilling using system-generated
//! predictions rather than user runtime estimates" (IEEE TPDS 18(6), 2007): run times have long tails. `docs/benchmarks.md`
//! has both, measured on a trace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kompass_core::profile::RuntimeEstimate;
use rustc_hash::FxHashMap;

/// Jobs that are remembered, and queues; the job that ran least recently is forgotten.
const JOBS_MAX: usize = 2_048;
/// Runs of each that are remembered.
const RUNS_MAX: usize = 256;

/// Which percentile of the runs a gang that runs is expected to take: rather too much than too little. A reservation that
/// is later than need be lets more gangs pass that end by then, one that is too early lets hardly any.
const LATE: usize = 75;

/// Run times of gangs that have ended.
#[derive(Debug, Default)]
pub(crate) struct Runtimes {
    jobs: FxHashMap<Arc<str>, Runs>,
    /// Keys of `jobs` by their last run.
    used: BTreeMap<u64, Arc<str>>,
    /// Runs of jobs so far.
    runs: u64,
    queues: FxHashMap<Box<str>, Runs>,
    all: Runs,
}

/// The last runs of one kind, milliseconds.
#[derive(Debug, Default)]
struct Runs {
    by_age: VecDeque<i64>,
    by_length: Vec<i64>,
    /// Where its key stands in `used`.
    used: u64,
}

/// What is known of a gang's run time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known<'a> {
    /// The predictor has said so.
    Told(RuntimeEstimate),
    /// These were the last runs of gangs like it: at least one.
    Runs(&'a [i64]),
    /// Nothing; this is taken for it, milliseconds.
    Nothing(i64),
}

/// Whose runs an expectation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kin {
    /// The job's own, or what the predictor said of it.
    Own,
    /// Those of its queue.
    Queue,
    /// Everybody's, or nobody's.
    All,
}

/// When a gang is expected to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expectation {
    pub(crate) end_ms: i64,
    /// Until then nothing else is expected, if no run is added.
    pub(crate) until_ms: i64,
}

impl Runtimes {
    /// A gang has run to its end. Tells which job's runs are forgotten for it.
    pub(crate) fn record(&mut self, job: Option<&str>, queue: &str, run_ms: i64) -> Option<Arc<str>> {
        let run_ms = run_ms.max(0);
        self.all.push(run_ms);
        if let Some(known) = self.queues.get_mut(queue) {
            known.push(run_ms);
        } else if self.queues.len() < JOBS_MAX {
            self.queues.entry(queue.into()).or_default().push(run_ms);
        }
        let job = job?;
        self.runs += 1;
        if let Some(known) = self.jobs.get_mut(job) {
            known.push(run_ms);
            let before = std::mem::replace(&mut known.used, self.runs);
            let key = self.used.remove(&before).unwrap_or_else(|| job.into());
            self.used.insert(self.runs, key);
            return None;
        }
        let forgotten = (self.jobs.len() >= JOBS_MAX).then(|| self.used.pop_first()).flatten();
        let forgotten = forgotten.map(|(_, oldest)| oldest);
        if let Some(oldest) = &forgotten {
            self.jobs.remove(oldest);
        }
        let key: Arc<str> = job.into();
        let mut runs = Runs {
            used: self.runs,
            ..Runs::default()
        };
        runs.push(run_ms);
        self.jobs.insert(key.clone(), runs);
        self.used.insert(self.runs, key);
        forgotten
    }

    /// What is known of a gang: the predictor's estimate where there is one, else its job's last runs, its queue's, or
    /// everybody's, else `unknown_ms`; and which of these it is.
    pub(crate) fn known(
        &self,
        told: Option<RuntimeEstimate>,
        job: Option<&str>,
        queue: &str,
        unknown_ms: i64,
    ) -> (Known<'_>, Kin) {
        if let Some(told) = told.filter(|told| told.samples > 0) {
            return (Known::Told(told), Kin::Own);
        }
        let candidates = [
            (job.and_then(|job| self.jobs.get(job)), Kin::Own),
            (self.queues.get(queue), Kin::Queue),
            (Some(&self.all), Kin::All),
        ];
        candidates
            .into_iter()
            .filter_map(|(runs, kin)| Some((runs?.by_length.as_slice(), kin)))
            .find(|(runs, _)| !runs.is_empty())
            .map_or((Known::Nothing(unknown_ms), Kin::All), |(runs, kin)| {
                (Known::Runs(runs), kin)
            })
    }
}

impl Runs {
    fn push(&mut self, run_ms: i64) {
        self.by_age.push_back(run_ms);
        let at = self.by_length.partition_point(|&known| known < run_ms);
        self.by_length.insert(at, run_ms);
        if self.by_age.len() > RUNS_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            let at = self.by_length.partition_point(|&known| known < oldest);
            self.by_length.remove(at);
        }
    }
}

impl Known<'_> {
    /// The run time that is not exceeded by half of the gangs like it, milliseconds, at least one.
    pub(crate) fn p50_ms(self) -> i64 {
        match self {
            Self::Told(told) => milliseconds(told.p50_s),
            Self::Runs(runs) => quantile(runs, 50),
            Self::Nothing(unknown_ms) => unknown_ms,
        }
        .max(1)
    }

    /// The same for nine of ten of them.
    pub(crate) fn p90_ms(self) -> i64 {
        match self {
            Self::Told(told) => milliseconds(told.p90_s),
            Self::Runs(runs) => quantile(runs, 90),
            Self::Nothing(unknown_ms) => unknown_ms,
        }
        .max(self.p50_ms())
    }

    /// When a gang is expected to end that has run since `started_ms`: the third quartile of the runs that were longer than
    /// what it has run already.
    pub(crate) fn late_end(self, started_ms: i64, now_ms: i64) -> Expectation {
        self.ends_by(LATE, started_ms, now_ms)
    }

    /// The end that it does not exceed in so many percent of the cases (50 or more). Where no run was longer than what it
    /// has run already, what is expected is doubled until it has not been outrun: without that a gang that runs longer
    /// than ever would be expected to end now, for ever.
    pub(crate) fn ends_by(self, percent: usize, started_ms: i64, now_ms: i64) -> Expectation {
        let ran_ms = now_ms.saturating_sub(started_ms).max(0);
        if let Self::Runs(runs) = self
            && let outrun = runs.partition_point(|&run_ms| run_ms <= ran_ms)
            && let longer = &runs[outrun..]
            && !longer.is_empty()
        {
            let expected_ms = quantile(longer, percent);
            // Most runs that it outruns change nothing.
            let changes = |&from: &usize| quantile(&runs[from..], percent) != expected_ms;
            let next = (outrun + 1..runs.len()).find(changes).unwrap_or(runs.len());
            return Expectation {
                end_ms: started_ms.saturating_add(expected_ms),
                until_ms: started_ms.saturating_add(runs[next - 1]),
            };
        }
        let mut total_ms = if percent < 90 { self.p50_ms() } else { self.p90_ms() };
        while total_ms <= ran_ms {
            total_ms = total_ms.saturating_mul(2);
        }
        let end_ms = started_ms.saturating_add(total_ms);
        Expectation {
            end_ms,
            until_ms: end_ms,
        }
    }
}

/// Of runs by length, at least one: that which so many percent don't exceed (nearest rank).
fn quantile(runs: &[i64], percent: usize) -> i64 {
    runs[(runs.len() * percent).div_ceil(100).saturating_sub(1)]
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(runtimes: &Runtimes, job: Option<&str>, queue: &str) -> (i64, i64) {
        let known = runtimes.known(None, job, queue, 7).0;
        (known.p50_ms(), known.p90_ms())
    }

    #[test]
    fn own_runs_count_and_strangers_are_taken_for_their_queue() {
        let mut runtimes = Runtimes::default();
        assert_eq!(of(&runtimes, Some("etl"), "q"), (7, 7));
        for run_ms in [500, 100, 400, 200, 300, 9_000, 600, 700, 800, 900, 1_000] {
            runtimes.record(Some("etl"), "q", run_ms);
        }
        assert_eq!(of(&runtimes, Some("etl"), "q"), (600, 1_000));
        runtimes.record(Some("other"), "r", 10);
        assert_eq!(of(&runtimes, Some("other"), "r"), (10, 10));
        assert_eq!(of(&runtimes, Some("new"), "q"), (600, 1_000));
        assert_eq!(of(&runtimes, None, "elsewhere"), (500, 1_000));
    }

    #[test]
    fn what_the_predictor_says_comes_first() {
        let mut runtimes = Runtimes::default();
        runtimes.record(Some("etl"), "q", 100);
        let told = |samples| {
            let told = RuntimeEstimate {
                p50_s: 7,
                p90_s: 3,
                samples,
            };
            let known = runtimes.known(Some(told), Some("etl"), "q", 1).0;
            (known.p50_ms(), known.p90_ms())
        };
        assert_eq!(told(4), (7_000, 7_000));
        assert_eq!(told(0), (100, 100));
    }

    #[test]
    fn a_gang_that_runs_is_expected_to_run_as_those_that_ran_longer() {
        let mut runtimes = Runtimes::default();
        for run_ms in [10, 100, 200, 300] {
            runtimes.record(None, "q", run_ms);
        }
        let known = runtimes.known(None, None, "q", 1).0;
        for (ran_ms, total_ms) in [(0, 200), (10, 300), (100, 300), (250, 300)] {
            assert_eq!(
                known.late_end(1_000, 1_000 + ran_ms).end_ms,
                1_000 + total_ms,
                "{ran_ms}"
            );
        }
        // Longer than all: 100, doubled.
        assert_eq!(known.late_end(1_000, 1_300).end_ms, 1_400);
        assert_eq!(known.late_end(1_000, 1_400).end_ms, 1_800);
    }

    /// The end that is expected changes at the moment that is told, and not before.
    #[test]
    fn an_expectation_holds_until_then() {
        let mut runtimes = Runtimes::default();
        for run_ms in [10, 20, 20, 20, 40, 55, 60, 60, 90, 100, 130] {
            runtimes.record(None, "q", run_ms);
        }
        let known = runtimes.known(None, None, "q", 1).0;
        for percent in [50, 75, 90] {
            let mut told = known.ends_by(percent, 1_000, 1_000);
            for now_ms in 1_001..1_140 {
                let expected = known.ends_by(percent, 1_000, now_ms);
                assert_eq!(
                    expected != told,
                    now_ms >= told.until_ms,
                    "{percent} % at {now_ms}: {told:?}, {expected:?}"
                );
                told = expected;
            }
        }
    }

    #[test]
    fn an_expectation_that_was_outrun_is_doubled() {
        let known = Known::Nothing(100);
        for (now_ms, end_ms) in [
            (0, 1_100),
            (1_099, 1_100),
            (1_100, 1_200),
            (1_199, 1_200),
            (1_700, 1_800),
        ] {
            assert_eq!(known.late_end(1_000, now_ms).end_ms, end_ms, "{now_ms}");
        }
        assert_eq!(
            Known::Nothing(i64::MAX / 2 + 1).late_end(i64::MAX / 2, i64::MAX).end_ms,
            i64::MAX
        );
        assert_eq!(Known::Nothing(0).late_end(0, 3).end_ms, 4);
    }

    #[test]
    fn memory_is_bounded() {
        let mut runtimes = Runtimes::default();
        runtimes.record(Some("first"), "q", 1);
        for number in 0..3 * JOBS_MAX {
            runtimes.record(Some(&format!("job-{number}")), &format!("queue-{number}"), 2);
            runtimes.record(Some("busy"), "q", 5);
        }
        assert_eq!((runtimes.jobs.len(), runtimes.used.len()), (JOBS_MAX, JOBS_MAX));
        assert!(runtimes.queues.len() <= JOBS_MAX);
        let busy = &runtimes.jobs["busy"];
        assert_eq!((busy.by_age.len(), busy.by_length.len()), (RUNS_MAX, RUNS_MAX));
        assert_eq!(of(&runtimes, Some("busy"), "q"), (5, 5));
        assert!(!runtimes.jobs.contains_key("first"));
    }
}
