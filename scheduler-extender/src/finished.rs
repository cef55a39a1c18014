//! Gangs that have ended: the last few for `/v1/gangs`, all of them as metrics with a bounded number of series.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use kompass_core::Outcome;
use kompass_planner::FinishedGang;

use crate::metrics::Metrics;

/// Ended gangs that can still be looked at.
const KEPT: usize = 500;
/// Profile keys with series of their own; what comes later shares one. A key has some 40 series.
const MAX_KEYS: usize = 200;
/// The label value of those and of gangs without a profile.
const OTHER: &str = "other";

/// What is kept.
#[derive(Debug, Default)]
pub struct Finished(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    gangs: VecDeque<FinishedGang>,
    keys: HashSet<String>,
}

impl Finished {
    /// Takes one in.
    pub fn add(&self, gang: FinishedGang, metrics: &Metrics) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = inner.label(gang.profile_key.as_deref());
        let outcome = match gang.outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Deleted => "deleted",
        };
        metrics.finished.with([&key, outcome]).inc();
        metrics
            .finished_wait_seconds
            .with([&key])
            .observe(seconds(gang.wait_ms));
        if let Some(run_ms) = gang.run_ms {
            metrics.finished_run_seconds.with([&key]).observe(seconds(run_ms));
        }
        metrics
            .finished_executor_seconds
            .with([&key])
            .inc_by(gang.executor_ms / 1_000);
        metrics.finished_executors.with([&key]).set(gang.executors_peak as f64);
        if let Some(executor) = &gang.executor {
            metrics
                .finished_executor_cpu_cores
                .with([&key])
                .set(executor.cpu_milli as f64 / 1_000.0);
            metrics
                .finished_executor_memory_bytes
                .with([&key])
                .set(executor.memory_bytes as f64);
        }
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

impl Inner {
    fn label(&mut self, key: Option<&str>) -> String {
        let Some(key) = key else {
            return OTHER.to_owned();
        };
        if self.keys.len() < MAX_KEYS {
            self.keys.insert(key.to_owned());
        }
        if self.keys.contains(key) {
            key.to_owned()
        } else {
            OTHER.to_owned()
        }
    }
}

fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use kompass_core::Resources;
    use kompass_service::metrics::Registry;

    use super::*;

    fn gang(name: &str, key: &str) -> FinishedGang {
        FinishedGang {
            namespace: "ns".into(),
            name: name.into(),
            uid: name.into(),
            queue: "default".into(),
            profile_key: Some(key.into()),
            driver: Resources::from_mib(1000, 1024),
            executor: Some(Resources::from_mib(2000, 2048)),
            executors_min: 2,
            executors_max: Some(2),
            submitted_ms: 0,
            profiled_ms: Some(1_000),
            planned_ms: Some(1_500),
            bound_ms: Some(2_000),
            first_executor_ms: Some(3_000),
            started_ms: Some(2_500),
            ended_ms: 62_500,
            wait_ms: 2_000,
            run_ms: Some(60_000),
            executor_ms: 118_000,
            executors_peak: 2,
            outcome: Outcome::Succeeded,
            whole: true,
        }
    }

    #[test]
    fn series_are_bounded_and_the_last_are_kept() {
        let registry = Registry::new();
        let (finished, metrics) = (Finished::default(), Metrics::register(&registry));
        for n in 0..MAX_KEYS + KEPT {
            finished.add(gang(&format!("d{n}"), &format!("key-{n}")), &metrics);
        }
        assert_eq!(finished.recent().len(), KEPT);
        assert!(finished.find("ns", "d0").is_none());
        assert_eq!(finished.find("ns", "d699").unwrap().run_ms, Some(60_000));
        let text = registry.render();
        let series = text.matches("kompass_extender_gangs_finished_total{").count();
        assert_eq!(series, MAX_KEYS + 1);
        assert!(text.contains(r#"kompass_extender_gangs_finished_total{outcome="succeeded",profile_key="other"} 500"#));
        assert!(text.contains(r#"kompass_extender_gang_executor_seconds_total{profile_key="key-7"} 118"#));
    }
}
