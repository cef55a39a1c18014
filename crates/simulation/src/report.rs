//! What came of a simulation.

use serde::Serialize;

use crate::account::Account;
use crate::engine::Settings;
use crate::overtaking::Overtaking;
use crate::series::Series;
use crate::trace::Gang;
use crate::waits::{self, SizeClass, Waits};

/// When gangs were submitted and started.
#[derive(Debug)]
pub(crate) struct Outcomes {
    submitted_ms: Vec<Option<i64>>,
    started_ms: Vec<Option<i64>>,
}

impl Outcomes {
    pub(crate) fn new(gangs: usize) -> Self {
        Self {
            submitted_ms: vec![None; gangs],
            started_ms: vec![None; gangs],
        }
    }

    pub(crate) fn submitted(&mut self, gang: usize, now_ms: i64) {
        self.submitted_ms[gang] = Some(now_ms);
    }

    pub(crate) fn started(&mut self, gang: usize, now_ms: i64) {
        self.started_ms[gang] = Some(now_ms);
    }

    /// Gangs that have started, each with its wait in milliseconds.
    fn waits<'a>(&'a self, gangs: &'a [Gang]) -> impl Iterator<Item = (&'a Gang, i64)> {
        let times = self.submitted_ms.iter().zip(&self.started_ms);
        let both = |(gang, (submitted, started)): (_, (&Option<i64>, &Option<i64>))| {
            Some((gang, (*started)?.saturating_sub((*submitted)?)))
        };
        gangs.iter().zip(times).filter_map(both)
    }
}

/// The result of one simulation. Times in seconds; gangs that were left out don't count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Gangs that were simulated.
    pub gangs: u64,
    /// Gangs that the empty cluster could not take.
    pub too_large: u64,
    /// Mean time from submission to start.
    pub wait_mean_s: f64,
    /// Median of the same.
    pub wait_p50_s: f64,
    /// 95th percentile of the same.
    pub wait_p95_s: f64,
    /// 99th percentile of the same.
    pub wait_p99_s: f64,
    /// The longest.
    pub wait_max_s: f64,
    /// Mean of (wait + run) / run, run times below 10 s counted as 10 s, at least 1.
    pub bounded_slowdown_mean: f64,
    /// CPU in use over CPU of all nodes, from the first submission to the last end.
    pub utilisation: f64,
    /// Of the CPU that is free, the share on nodes that are in use: what a drained node could not give back.
    pub fragmentation: f64,
    /// Nodes in use, in node-hours.
    pub node_hours: f64,
    /// From the first submission to the last end.
    pub span_s: f64,
    /// Gangs that started before the head of the queue; with one queue only.
    pub overtakes: u64,
    /// The longest that a head still waited once it would have fit without those that overtook it; with one queue only.
    pub max_overtake_delay_s: f64,
    /// Nodes overbooked, gangs starved, invariants broken: 0, or there is a bug.
    pub violations: u64,
    /// What a chart shows, beyond single figures.
    #[serde(skip)]
    pub course: Course,
}

/// What a chart shows of one simulation, bounded in size whatever the length of the trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Course {
    /// What was in use and who waited, over time.
    pub series: Series,
    /// The distribution of waits.
    pub waits: Waits,
    /// Waits by size of the gang, the smallest first.
    pub sizes: Vec<SizeClass>,
}

/// Run times below this are counted as this in the slowdown, as everywhere since Feitelson and Rudolph (1998).
const SHORTEST_S: f64 = 10.0;

impl Report {
    pub(crate) fn new(
        gangs: &[Gang],
        outcomes: &Outcomes,
        account: &Account,
        overtaking: &Overtaking,
        violations: u64,
        settings: &Settings,
        series: Series,
    ) -> Self {
        let (mut waits, mut slowdown) = (Vec::with_capacity(gangs.len()), 0.0);
        for (gang, waited_ms) in outcomes.waits(gangs) {
            let waited_s = waited_ms as f64 / 1_000.0;
            slowdown += ((waited_s + gang.run_time_s) / gang.run_time_s.max(SHORTEST_S)).max(1.0);
            waits.push(waited_s);
        }
        waits.sort_unstable_by(f64::total_cmp);
        let count = waits.len().max(1) as f64;
        let at = |percent: usize| {
            waits
                .get(waits.len().saturating_sub(1) * percent / 100)
                .copied()
                .unwrap_or(0.0)
        };
        let span_ms = account.span_ms().max(1) as f64;
        let all = span_ms * settings.nodes as f64 * settings.node_cpu_milli as f64;
        let (used, free) = (account.sums.cpu as f64, all - account.sums.cpu as f64);
        let submitted = outcomes.submitted_ms.iter().flatten().count();
        Self {
            gangs: submitted as u64,
            too_large: (gangs.len() - submitted) as u64,
            wait_mean_s: waits.iter().sum::<f64>() / count,
            wait_p50_s: at(50),
            wait_p95_s: at(95),
            wait_p99_s: at(99),
            wait_max_s: at(100),
            bounded_slowdown_mean: slowdown / count,
            utilisation: if all > 0.0 { used / all } else { 0.0 },
            fragmentation: if free > 0.0 {
                account.sums.stranded as f64 / free
            } else {
                0.0
            },
            node_hours: account.sums.nodes as f64 / 3_600_000.0,
            span_s: span_ms / 1_000.0,
            overtakes: overtaking.count,
            max_overtake_delay_s: overtaking.longest_ms as f64 / 1_000.0,
            violations,
            course: Course {
                series,
                waits: Waits::new(outcomes.waits(gangs).map(|(_, waited_ms)| waited_ms).collect()),
                sizes: waits::by_size(
                    outcomes
                        .waits(gangs)
                        .map(|(gang, waited_ms)| (gang.executors + 1, waited_ms)),
                ),
            },
        }
    }
}
