//! What waits in each queue. Anybody may name a queue on a pod, so no more than [`MAX_QUEUES`] have series.

use std::collections::BTreeMap;

use kompass_planner::Waiting;
use kompass_service::metrics::{GaugeVec, Registry};

/// Queues with series of their own: those that have waited longest. The rest are [`OTHERS`].
const MAX_QUEUES: usize = 50;
const OTHERS: &str = "other";

/// Handles.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    gangs: GaugeVec<1>,
    oldest: GaugeVec<1>,
}

impl Queues {
    pub(super) fn register(r: &Registry) -> Self {
        Self {
            gangs: r.gauge_vec(
                "kompass_extender_queue_gangs_waiting",
                "Waiting gangs by queue, of the 50 queues that have waited longest.",
                ["queue"],
            ),
            oldest: r.gauge_vec(
                "kompass_extender_queue_oldest_wait_seconds",
                "Time since the submission of the gang that has waited longest, by queue; not there if none waits.",
                ["queue"],
            ),
        }
    }

    pub(super) fn show(&self, queues: &BTreeMap<String, Waiting>, now_ms: i64) {
        self.gangs.reset();
        self.oldest.reset();
        let mut queues: Vec<_> = queues.iter().collect();
        queues.sort_by_key(|(_, waiting)| waiting.since_ms);
        for (place, (queue, waiting)) in queues.into_iter().enumerate() {
            let queue = if place < MAX_QUEUES { queue.as_str() } else { OTHERS };
            self.gangs.with([queue]).add(waiting.gangs as f64);
            let waited = now_ms.saturating_sub(waiting.since_ms).max(0) as f64 / 1_000.0;
            let oldest = self.oldest.with([queue]);
            oldest.set(oldest.get().max(waited));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_have_waited_longest_are_shown_and_go_when_nothing_waits() {
        let registry = Registry::new();
        let queues = Queues::register(&registry);
        let waiting: BTreeMap<_, _> = (0..60_i64)
            .map(|n| {
                let since_ms = n * 1_000;
                (format!("team-{n:02}"), Waiting { gangs: 2, since_ms })
            })
            .collect();
        queues.show(&waiting, 100_000);
        let text = registry.render();
        for line in [
            "kompass_extender_queue_oldest_wait_seconds{queue=\"team-00\"} 100",
            "kompass_extender_queue_oldest_wait_seconds{queue=\"team-49\"} 51",
            "kompass_extender_queue_oldest_wait_seconds{queue=\"other\"} 50",
            "kompass_extender_queue_gangs_waiting{queue=\"other\"} 20",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(!text.contains("team-50"), "{text}");
        queues.show(&BTreeMap::new(), 200_000);
        assert!(!registry.render().contains("queue="), "nothing waits any more");
    }
}
