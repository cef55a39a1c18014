//! How a gang came to its executors: what it held while some of them had no node.

use super::Members;
use crate::starts::{Held, Start};
use crate::{Window, starts};

impl Members {
    /// None without a driver pod, and where its driver never ran: it held nothing then.
    pub(super) fn start(&self, window: Window, least_ms: i64) -> Option<Start> {
        let driver = self.driver.as_ref()?;
        let gang = self.gang(window);
        let begin_ms = driver.pod.started_ms()?.clamp(driver.created_ms, window.to_ms);
        let end_ms = driver
            .ended
            .map_or(window.to_ms, |(end_ms, _)| end_ms.clamp(begin_ms, window.to_ms));
        // From when each executor had its node, and until when; it was asked for before.
        let lives: Vec<(i64, i64, i64)> = self
            .executors
            .iter()
            .map(|executor| {
                let gone_ms = executor.ended.map_or(end_ms, |(gone_ms, _)| gone_ms).min(end_ms);
                let ran_ms = executor.pod.started_ms().unwrap_or(i64::MAX).min(gone_ms);
                let within = |at_ms: i64| at_ms.clamp(begin_ms, end_ms);
                (within(executor.created_ms), within(ran_ms), within(gone_ms))
            })
            .collect();
        let waits = lives.iter().map(|&(asked_ms, ran_ms, _)| (asked_ms, ran_ms));
        let short = starts::merged(waits.filter(|(from_ms, to_ms)| to_ms - from_ms >= least_ms).collect());
        let mut held = Held::default();
        for &(from_ms, to_ms) in &short {
            held.add(&driver.pod.size(), to_ms - from_ms);
            for (executor, &(_, ran_ms, gone_ms)) in self.executors.iter().zip(&lives) {
                held.add(&executor.pod.size(), gone_ms.min(to_ms) - ran_ms.max(from_ms));
            }
        }
        let first_ms = lives
            .iter()
            .filter(|(_, ran_ms, gone_ms)| ran_ms < gone_ms)
            .map(|life| life.1)
            .min();
        Some(Start {
            namespace: driver.namespace.to_string(),
            driver: driver.name.to_string(),
            wait_ms: gang.wait_ms,
            begin_ms,
            end_ms,
            executors: gang.executors,
            without_node: lives.iter().filter(|(_, ran_ms, gone_ms)| ran_ms >= gone_ms).count() as u64,
            alone_ms: if lives.is_empty() {
                0
            } else {
                first_ms.unwrap_or(end_ms) - begin_ms
            },
            short,
            held,
        })
    }
}
