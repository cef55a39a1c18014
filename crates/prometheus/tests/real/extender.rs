//! What an extender shows of gangs that have ended.

use std::collections::{BTreeMap, BTreeSet};

use crate::samples::{MINUTE_MS, Samples};

/// A gang as it truly was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Truth {
    pub(crate) profile: &'static str,
    pub(crate) submit_ms: i64,
    pub(crate) wait_ms: i64,
    pub(crate) run_ms: i64,
    pub(crate) outcome: &'static str,
    pub(crate) executors: u64,
    pub(crate) executor_milli: u64,
    pub(crate) executor_bytes: u64,
}

impl Truth {
    pub(crate) const fn end_ms(&self) -> i64 {
        self.submit_ms + self.wait_ms + self.run_ms
    }
}

/// An extender that leads, from its start to its end.
#[derive(Debug, Clone)]
pub(crate) struct Extender {
    pub(crate) instance: &'static str,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    /// Its container starts anew.
    pub(crate) restarts_ms: Vec<i64>,
}

/// Scrapes an extender once a minute, 17 s after the full one, but not in the gaps.
pub(crate) fn scrape(samples: &mut Samples, extender: &Extender, gangs: &[Truth], gaps: &[(i64, i64)]) {
    let place = format!(
        "instance=\"{}\",job=\"extender\",namespace=\"kompass\"",
        extender.instance
    );
    let mut counters: BTreeMap<(String, String), f64> = BTreeMap::new();
    let mut started_ms = extender.from_ms;
    let mut ended: Vec<&Truth> = gangs.iter().collect();
    ended.sort_by_key(|gang| std::cmp::Reverse(gang.end_ms()));
    let mut at_ms = extender.from_ms + 17_000;
    while at_ms < extender.to_ms {
        if let Some(&restart) = extender
            .restarts_ms
            .iter()
            .find(|&&restart| at_ms - MINUTE_MS < restart && restart <= at_ms)
        {
            started_ms = restart;
            counters.clear();
        }
        while let Some(gang) = ended.pop_if(|gang| gang.end_ms() <= at_ms) {
            if gang.end_ms() >= extender.from_ms {
                count(&mut counters, gang);
            }
        }
        if !gaps.iter().any(|&(from_ms, to_ms)| from_ms <= at_ms && at_ms < to_ms) {
            for ((metric, labels), value) in &counters {
                samples.add(metric, &format!("{place}{labels}"), at_ms, *value);
            }
            for outcome in ["succeeded", "failed", "deleted"] {
                let labels = format!(",outcome=\"{outcome}\"");
                let metric = "kompass_extender_gangs_ended_total";
                let value = counters
                    .get(&(metric.to_owned(), labels.clone()))
                    .copied()
                    .unwrap_or(0.0);
                if value == 0.0 {
                    samples.add(metric, &format!("{place}{labels}"), at_ms, 0.0);
                }
            }
            for profile in counters
                .keys()
                .filter_map(|(_, labels)| profile_of(labels))
                .collect::<BTreeSet<_>>()
            {
                for wider in wider(profile) {
                    let labels = format!("{place},profile_key=\"{profile}\",wider=\"{wider}\"");
                    samples.add("kompass_extender_profile_key_info", &labels, at_ms, 1.0);
                }
            }
            samples.add("kompass_extender_leader", &place, at_ms, 1.0);
            samples.add("process_start_time_seconds", &place, at_ms, (started_ms / 1_000) as f64);
        }
        at_ms += MINUTE_MS;
    }
}

/// The wider keys that every profile of these tests has.
pub(crate) fn wider(profile: &str) -> [String; 2] {
    ["name", "dag"].map(|level| format!("{level}.{profile}"))
}

fn profile_of(labels: &str) -> Option<&str> {
    labels.strip_prefix(",profile_key=\"")?.split('"').next()
}

fn count(counters: &mut BTreeMap<(String, String), f64>, gang: &Truth) {
    let key = format!(",profile_key=\"{}\"", gang.profile);
    let outcome = format!(",outcome=\"{}\"", gang.outcome);
    let (wait_s, run_s) = (gang.wait_ms as f64 / 1_000.0, gang.run_ms as f64 / 1_000.0);
    let executors = gang.executors as f64;
    let all_seconds = executors * run_s;
    let mut add = |metric: &str, labels: &str, by: f64| {
        let metric = format!("kompass_extender_{metric}");
        *counters.entry((metric, labels.to_owned())).or_default() += by;
    };
    add("gangs_ended_total", &outcome, 1.0);
    add("gangs_finished_total", &format!("{key}{outcome}"), 1.0);
    add("gang_wait_seconds_sum", &key, wait_s);
    add("gang_wait_seconds_count", &key, 1.0);
    let (run, labels) = match gang.outcome {
        "succeeded" => ("gang_run_seconds", key.clone()),
        _ => ("gang_cut_run_seconds", format!("{key}{outcome}")),
    };
    add(&format!("{run}_sum"), &labels, run_s);
    add(&format!("{run}_count"), &labels, 1.0);
    add("gang_executors_peak_sum", &key, executors);
    add("gang_executors_peak_count", &key, 1.0);
    add("gang_executor_seconds_total", &key, all_seconds);
    add(
        "gang_executor_cpu_core_seconds_total",
        &key,
        all_seconds * gang.executor_milli as f64 / 1_000.0,
    );
    add(
        "gang_executor_memory_byte_seconds_total",
        &key,
        all_seconds * gang.executor_bytes as f64,
    );
    add("gang_driver_cpu_core_seconds_total", &key, run_s);
    add("gang_driver_memory_byte_seconds_total", &key, run_s * 1_073_741_824.0);
}
