//! What waiting gangs were told of their start, and how often it came true.

use std::collections::VecDeque;

use serde::Serialize;

use crate::decide::Turn;
use crate::forecast::{ExpectedStart, Forecast};
use crate::gang::GangId;
use crate::paper::WORK_OF_ONE;
use crate::planner::Planner;

/// Outcomes that are remembered.
const OUTCOMES_MAX: usize = 512;
/// Where there is somebody who was told nothing yet, starts are looked at so many times as often.
const SOONER: i64 = 5;

/// How often what was told first came true, of the last gangs that were told anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Gangs that have started since they were told when, at most the last 512.
    pub samples: u64,
    /// Of these, how many started no later than the median that they were told.
    pub within_p50: u64,
    /// The same for the 90th percentile.
    pub within_p90: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// For each gang: whether it started within the median, and within the 90th percentile.
    outcomes: VecDeque<(bool, bool)>,
    held: Held,
    /// When starts were last looked at.
    looked_ms: Option<i64>,
    /// What one decision did not get to the end of.
    forecast: Option<Forecast>,
}

impl Promises {
    pub(crate) fn held(&self) -> Held {
        self.held
    }

    /// What was begun is no longer wanted.
    pub(crate) fn give_up(&mut self) {
        self.forecast = None;
    }

    /// A gang that was told this has started.
    pub(crate) fn record(&mut self, told: ExpectedStart, started_ms: i64) {
        let outcome = (started_ms <= told.p50_ms, started_ms <= told.p90_ms);
        self.outcomes.push_back(outcome);
        self.count(outcome, u64::saturating_add);
        if self.outcomes.len() > OUTCOMES_MAX
            && let Some(oldest) = self.outcomes.pop_front()
        {
            self.count(oldest, u64::saturating_sub);
        }
    }

    fn count(&mut self, (p50, p90): (bool, bool), by: fn(u64, u64) -> u64) {
        self.held.samples = by(self.held.samples, 1);
        self.held.within_p50 = by(self.held.within_p50, u64::from(p50));
        self.held.within_p90 = by(self.held.within_p90, u64::from(p90));
    }
}

impl Planner {
    /// Looks at when those that wait will start, now and then, and before somebody is told why it waits. Tells whether it
    /// has come to an end; if not, the next decision goes on.
    pub(crate) fn promise(&mut self, turn: &mut Turn) -> bool {
        let Some(mut forecast) = self.due_forecast(turn) else {
            return true;
        };
        turn.work_at_least_once();
        loop {
            if !turn.may_work(2 * WORK_OF_ONE * self.nodes.free().len()) {
                self.promises.forecast = Some(forecast);
                return false;
            }
            if !forecast.add(self) {
                break;
            }
        }
        for id in std::mem::take(&mut self.told) {
            if self.gangs.get(id).is_some() {
                self.gangs[id].waiting.expected = None;
            }
        }
        let starts: Vec<_> = forecast.starts(self).collect();
        for (id, expected) in starts {
            let waiting = &mut self.gangs[id].waiting;
            waiting.expected = Some(expected);
            waiting.promised.get_or_insert(expected);
            self.told.push(id);
        }
        true
    }

    /// The forecast that is to be made or gone on with.
    fn due_forecast(&mut self, turn: &mut Turn) -> Option<Forecast> {
        let every_ms = self.config.forecast_ms?;
        self.attend();
        if let Some(begun) = self.promises.forecast.take() {
            if let Some(at_ms) = self.promises.looked_ms {
                turn.wake_at(at_ms.saturating_add(every_ms));
            }
            return Some(begun);
        }
        if self.queues.is_empty() {
            return None;
        }
        let news = !self.attention.untold.is_empty();
        let after_ms = if news { every_ms / SOONER } else { every_ms };
        let looked_ms = self.promises.looked_ms;
        if looked_ms.is_some_and(|at_ms| turn.now_ms >= at_ms && !turn.is_due(at_ms, after_ms)) {
            return None;
        }
        self.promises.looked_ms = Some(turn.now_ms);
        turn.wake_at(turn.now_ms.saturating_add(every_ms));
        Some(Forecast::new(self, turn.now_ms))
    }

    /// A gang has started: what it was told first has come true or not.
    pub(crate) fn keep_promise(&mut self, id: GangId, now_ms: i64) {
        if let Some(told) = self.gangs[id].waiting.promised.take() {
            self.promises.record(told, now_ms);
        }
    }

    /// How often what gangs were told of their start came true.
    pub fn held(&self) -> Held {
        self.promises.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_outcomes_count() {
        let mut promises = Promises::default();
        let told = ExpectedStart { p50_ms: 10, p90_ms: 20 };
        for started_ms in [5, 10, 11, 20, 21] {
            promises.record(told, started_ms);
        }
        let held = |samples, within_p50, within_p90| Held {
            samples,
            within_p50,
            within_p90,
        };
        assert_eq!(promises.held(), held(5, 2, 4));
        for _ in 0..OUTCOMES_MAX {
            promises.record(told, 15);
        }
        assert_eq!(promises.held(), held(512, 0, 512));
    }
}
