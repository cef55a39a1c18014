//! Gangs that have ended: the last few for `/v1/gangs`, all of them as metrics with a bounded number of series.

mod keys;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use kompass_planner::FinishedGang;

use self::keys::Keys;
use crate::metrics::Metrics;

/// Ended gangs that can still be looked at.
const KEPT: usize = 500;
/// Profile keys with series of their own; all others share one. A key has some 75 series, and 40 more if its runs are cut off.
const MAX_KEYS: usize = 200;
/// Keys that are remembered to have lost their series: so many may lose them within an hour.
const MAX_RESTING: usize = 2_000;

/// What is kept.
#[derive(Debug)]
pub struct Finished(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    gangs: VecDeque<FinishedGang>,
    keys: Keys,
}

impl Default for Finished {
    fn default() -> Self {
        Self::with_keys(Keys::new(MAX_KEYS, MAX_RESTING))
    }
}

impl Finished {
    fn with_keys(keys: Keys) -> Self {
        let gangs = VecDeque::new();
        Self(Mutex::new(Inner { gangs, keys }))
    }

    /// Takes one in, at this time in milliseconds on any clock that does not jump.
    pub fn add(&self, gang: FinishedGang, now_ms: i64, metrics: &Metrics) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let label = inner.keys.ended(gang.profile_key.as_deref(), now_ms);
        if let Some(evicted) = &label.evicted {
            metrics.ended.remove(evicted);
        }
        metrics.ended.count(&label.value, &gang);
        if inner.gangs.len() == KEPT {
            inner.gangs.pop_front();
        }
        inner.gangs.push_back(gang);
    }

    /// The last ones, oldest first.
    pub fn recent(&self) -> Vec<FinishedGang> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .gangs
            .iter()
            .cloned()
            .collect()
    }

    /// The last one with this driver.
    pub fn find(&self, namespace: &str, driver: &str) -> Option<FinishedGang> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .gangs
            .iter()
            .rev()
            .find(|gang| gang.namespace == namespace && gang.name == driver)
            .cloned()
    }
}
