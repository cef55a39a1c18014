//! What came of a simulation.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::account::Account;
use crate::engine::{Settings, fits_empty};
use crate::overtaking::Overtaking;
use crate::queues::Accounts;
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

    /// Gangs that have started, each with its number and its wait in milliseconds.
    fn waits<'a>(&'a self, gangs: &'a [Gang]) -> impl Iterator<Item = (usize, &'a Gang, i64)> {
        let times = self.submitted_ms.iter().zip(&self.started_ms);
        let both = |((number, gang), (submitted, started)): ((_, _), (&Option<i64>, &Option<i64>))| {
            Some((number, gang, (*started)?.saturating_sub((*submitted)?)))
        };
        gangs.iter().enumerate().zip(times).filter_map(both)
    }
}

/// The result of one simulation. Times in seconds; gangs that were left out don't count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Gangs that were simulated.
    pub gangs: u64,
    /// Gangs that the empty cluster could not take.
    pub too_large: u64,
    /// Gangs that are alone above their queue's limit, and would wait for ever.
    pub over_limit: u64,
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
    /// Nodes overbooked, limits of queues broken, gangs starved, invariants broken: 0, or there is a bug.
    pub violations: u64,
    /// What each queue got, by its name; those that rules name and nobody uses are there too.
    pub queues: BTreeMap<String, QueueReport>,
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
    /// What the queues with most work used and who waited in them, by name.
    pub queues: Vec<(String, Series)>,
}

/// What one queue got, beside what its rules promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueReport {
    /// Its weight.
    pub weight: u32,
    /// CPU that it has the first claim on, thousandths.
    pub guaranteed_cpu_milli: Option<u64>,
    /// CPU that it may have at most, thousandths.
    pub limit_cpu_milli: Option<u64>,
    /// Its gangs that were simulated.
    pub gangs: u64,
    /// Mean time from submission to start.
    pub wait_mean_s: f64,
    /// 95th percentile of the same.
    pub wait_p95_s: f64,
    /// Mean of (wait + run) / run, as for all.
    pub bounded_slowdown_mean: f64,
    /// Its part of the CPU in use, from the first submission to the last end.
    pub share: f64,
    /// How long gangs waited in it and in another queue at the same time.
    pub contended_s: f64,
    /// Its part of the CPU in use meanwhile.
    pub contended_share: f64,
    /// The part that is its due by weight meanwhile, among the queues that waited or used CPU.
    pub contended_fair_share: f64,
    /// How long its first gang waited although the queue stayed within its guarantee with it.
    pub claim_waited_s: f64,
}

/// Run times below this are counted as this in the slowdown, as everywhere since Feitelson and Rudolph (1998).
const SHORTEST_S: f64 = 10.0;

/// Waits and slowdowns of some gangs.
#[derive(Debug, Default)]
struct Suffered {
    /// Seconds.
    waits: Vec<f64>,
    slowdown: f64,
}

impl Suffered {
    fn add(&mut self, gang: &Gang, waited_ms: i64) {
        let wait = waited_ms as f64 / 1_000.0;
        self.slowdown += ((wait + gang.run_time_s) / gang.run_time_s.max(SHORTEST_S)).max(1.0);
        self.waits.push(wait);
    }

    fn sort(&mut self) {
        self.waits.sort_unstable_by(f64::total_cmp);
    }

    fn at(&self, percent: usize) -> f64 {
        let place = self.waits.len().saturating_sub(1) * percent / 100;
        self.waits.get(place).copied().unwrap_or(0.0)
    }

    fn mean(&self) -> f64 {
        self.waits.iter().sum::<f64>() / self.count()
    }

    fn slowdown_mean(&self) -> f64 {
        self.slowdown / self.count()
    }

    fn count(&self) -> f64 {
        self.waits.len().max(1) as f64
    }
}

impl Report {
    #[expect(clippy::too_many_arguments, reason = "one call, of all that was kept")]
    pub(crate) fn new(
        gangs: &[Gang],
        outcomes: &Outcomes,
        account: &Account,
        queues: &Accounts,
        overtaking: &Overtaking,
        violations: u64,
        settings: &Settings,
        series: Series,
    ) -> Self {
        let mut all = Suffered::default();
        for (_, gang, waited_ms) in outcomes.waits(gangs) {
            all.add(gang, waited_ms);
        }
        all.sort();
        let span_ms = account.span_ms().max(1) as f64;
        let cpu = span_ms * settings.nodes as f64 * settings.node_cpu_milli as f64;
        let (used, free) = (account.sums.cpu as f64, cpu - account.sums.cpu as f64);
        let submitted = outcomes.submitted_ms.iter().flatten().count();
        let over_limit = gangs
            .iter()
            .enumerate()
            .filter(|(number, gang)| !queues.may_ever(*number, gang));
        let over_limit = over_limit.filter(|(number, gang)| fits_empty(gang, settings, queues.packing(*number)));
        let over_limit = over_limit.count();
        let waits_ms = outcomes.waits(gangs).map(|(.., waited_ms)| waited_ms);
        let sizes = outcomes.waits(gangs);
        Self {
            gangs: submitted as u64,
            too_large: (gangs.len() - submitted - over_limit) as u64,
            over_limit: over_limit as u64,
            wait_mean_s: all.mean(),
            wait_p50_s: all.at(50),
            wait_p95_s: all.at(95),
            wait_p99_s: all.at(99),
            wait_max_s: all.at(100),
            bounded_slowdown_mean: all.slowdown_mean(),
            utilisation: ratio(used, cpu),
            fragmentation: ratio(account.sums.stranded as f64, free),
            node_hours: account.sums.nodes as f64 / 3_600_000.0,
            span_s: span_ms / 1_000.0,
            overtakes: overtaking.count,
            max_overtake_delay_s: overtaking.longest_ms as f64 / 1_000.0,
            violations,
            queues: by_queue(gangs, outcomes, queues),
            course: Course {
                series,
                waits: Waits::new(waits_ms.collect()),
                sizes: waits::by_size(sizes.map(|(_, gang, waited_ms)| (gang.executors + 1, waited_ms))),
                queues: queues
                    .queues
                    .iter()
                    .filter_map(|queue| Some((queue.name.to_string(), queue.series.clone()?)))
                    .collect(),
            },
        }
    }
}

fn by_queue(gangs: &[Gang], outcomes: &Outcomes, queues: &Accounts) -> BTreeMap<String, QueueReport> {
    let mut suffered: Vec<Suffered> = queues.queues.iter().map(|_| Suffered::default()).collect();
    for (number, gang, waited_ms) in outcomes.waits(gangs) {
        suffered[queues.of(number)].add(gang, waited_ms);
    }
    let all: u128 = queues.queues.iter().map(|queue| queue.sums.cpu).sum();
    let reports = queues.queues.iter().zip(&mut suffered).map(|(queue, suffered)| {
        suffered.sort();
        let (sums, rules) = (&queue.sums, &queue.rules);
        let report = QueueReport {
            weight: rules.weight,
            guaranteed_cpu_milli: rules.guaranteed.cpu_milli,
            limit_cpu_milli: rules.limit.cpu_milli,
            gangs: suffered.waits.len() as u64,
            wait_mean_s: suffered.mean(),
            wait_p95_s: suffered.at(95),
            bounded_slowdown_mean: suffered.slowdown_mean(),
            share: ratio(sums.cpu as f64, all as f64),
            contended_s: sums.contended_ms as f64 / 1_000.0,
            contended_share: ratio(sums.contended as f64, sums.contended_all as f64),
            contended_fair_share: ratio(sums.contended_fair as f64, sums.contended_all as f64),
            claim_waited_s: sums.claim_ms as f64 / 1_000.0,
        };
        (queue.name.to_string(), report)
    });
    reports.collect()
}

/// 0 of nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
