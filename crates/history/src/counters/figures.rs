//! The figures of the gangs of one profile key that ended together.

use std::collections::BTreeMap;

use kompass_core::Resources;

use super::ProcessName;
use crate::numbers::{milliseconds, whole};
use crate::questions::Counter;
use crate::seen::STEP_MS;
use crate::{End, Gang, Source};

/// More gangs of a key don't end in a minute: that would be three times what the largest cluster starts.
const MAX_GANGS: u64 = 10_000;
/// Outcomes by their names in the label, and what they say about the run time.
const OUTCOMES: [(&str, End); 3] = [
    ("succeeded", End::Succeeded),
    ("failed", End::CutOff),
    ("deleted", End::CutOff),
];

/// What a group belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) process: ProcessName,
    pub(super) profile: String,
}

/// Sums over the gangs that ended between two looks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Group {
    /// The earlier look.
    from_ms: i64,
    /// By counter and by the label `outcome`, empty where the counter has none.
    sums: BTreeMap<(Counter, String), f64>,
}

impl Group {
    pub(super) fn new(from_ms: i64) -> Self {
        let sums = BTreeMap::new();
        Self { from_ms, sums }
    }

    pub(super) fn add(&mut self, counter: Counter, outcome: &str, by: f64) {
        *self.sums.entry((counter, outcome.to_owned())).or_default() += by;
    }

    /// Gangs of it that were not watched all the time.
    pub(super) fn partial(&self) -> u64 {
        whole(self.sum(Counter::Partial))
    }

    /// The gangs; or, if there are too many to be believed, how many there are said to be.
    pub(super) fn gangs(&self, profile: &str, at_ms: i64) -> Result<Vec<Gang>, u64> {
        // Runs of each outcome, and gangs that never ran.
        let kinds = OUTCOMES.map(|(outcome, end)| {
            let (runs, seconds) = match end {
                End::Succeeded => (self.sum(Counter::RunCount), self.sum(Counter::RunSum)),
                End::CutOff | End::Running => (
                    self.of(Counter::CutRunCount, outcome),
                    self.of(Counter::CutRunSum, outcome),
                ),
            };
            let idle = (self.of(Counter::Finished, outcome) - runs).max(0.0);
            (end, whole(runs), milliseconds(seconds), whole(idle))
        });
        let count: u64 = kinds.iter().map(|(_, runs, _, idle)| runs + idle).sum();
        if count > MAX_GANGS {
            return Err(count);
        }
        let waited = self.sum(Counter::WaitSum) + self.sum(Counter::CutWaitSum);
        let wait_ms = mean(milliseconds(waited), count);
        let ran: u64 = kinds.iter().map(|(_, runs, _, _)| runs).sum();
        let executors = self.sum(Counter::PeakSum) / ran.max(1) as f64;
        let shape = Gang {
            submit_ms: 0,
            // Between its end and the look that sees it there is a scrape, up to a step before.
            submit_error_ms: (at_ms - self.from_ms + 1) / 2 + STEP_MS,
            wait_ms,
            run_ms: None,
            end: End::Succeeded,
            profile: profile.to_owned(),
            namespace: None,
            queue: None,
            driver: self.driver(),
            executors: whole(executors),
            executor: self.executor(),
            averaged_over: count,
            source: Source::Kompass,
        };
        let each = kinds.iter().flat_map(|&(end, runs, run_ms, idle)| {
            let ran = (0..runs).map(move |_| (end, Some(mean(run_ms, runs))));
            ran.chain((0..idle).map(move |_| (end, None)))
        });
        // Nobody knows in which order they ended, or when exactly: evenly, so that a gap does not end in a burst.
        let span_ms = at_ms - self.from_ms;
        let ends = (0..).map(|index: i64| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.from_ms + span_ms * (2 * index + 1) / (2 * count)
        });
        let gangs = each.zip(ends).map(|((end, run_ms), end_ms)| Gang {
            submit_ms: end_ms.saturating_sub(run_ms.unwrap_or(0)).saturating_sub(wait_ms),
            run_ms,
            end,
            ..shape.clone()
        });
        Ok(gangs.collect())
    }

    fn executor(&self) -> Resources {
        self.per_second(
            Counter::ExecutorCpu,
            Counter::ExecutorMemory,
            self.sum(Counter::ExecutorSeconds),
        )
    }

    fn driver(&self) -> Resources {
        let seconds = self.sum(Counter::RunSum) + self.sum(Counter::CutRunSum);
        self.per_second(Counter::DriverCpu, Counter::DriverMemory, seconds)
    }

    fn per_second(&self, cpu: Counter, memory: Counter, seconds: f64) -> Resources {
        if seconds <= 0.0 {
            return Resources::default();
        }
        let milli = self.sum(cpu) * 1_000.0 / seconds;
        Resources::new(whole(milli), whole(self.sum(memory) / seconds))
    }

    fn of(&self, counter: Counter, outcome: &str) -> f64 {
        let sum = self.sums.get(&(counter, outcome.to_owned()));
        sum.copied().unwrap_or(0.0)
    }

    /// Of all outcomes.
    fn sum(&self, counter: Counter) -> f64 {
        let sums = self.sums.iter().filter(|((other, _), _)| *other == counter);
        sums.map(|(_, sum)| sum).sum()
    }

    fn merge(&mut self, other: Self) {
        self.from_ms = self.from_ms.min(other.from_ms);
        for (key, sum) in other.sums {
            *self.sums.entry(key).or_default() += sum;
        }
    }
}

/// The groups in which gangs ended. A scrape may fall between two increases of one gang, so that the other one is seen a
/// step later or earlier: sums without a gang go to the neighbour that has one. Also says for how many there is none.
pub(super) fn matched(groups: BTreeMap<i64, Group>) -> (BTreeMap<i64, Group>, u64) {
    let (mut whole, parts): (BTreeMap<i64, Group>, BTreeMap<i64, Group>) = groups
        .into_iter()
        .partition(|(_, group)| group.sum(Counter::Finished) > 0.5);
    let mut unmatched = 0;
    for (at_ms, part) in parts {
        let before = whole.contains_key(&(at_ms - STEP_MS));
        let neighbour = if before { at_ms - STEP_MS } else { at_ms + STEP_MS };
        match whole.get_mut(&neighbour) {
            Some(group) => group.merge(part),
            None => unmatched += 1,
        }
    }
    (whole, unmatched)
}

/// Of a sum, for each of `count`; 0 for none.
fn mean(sum: i64, count: u64) -> i64 {
    i64::try_from(count).map_or(0, |count| sum.checked_div(count).unwrap_or(0))
}
