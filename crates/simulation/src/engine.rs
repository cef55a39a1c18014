//! The event loop: gangs arrive and end, the planner decides, the account is kept.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use kompass_core::Resources;
use kompass_planner::{Backfill, Packing, QueueTable};

use crate::account::Account;
use crate::cluster::{Cluster, Started};
use crate::overtaking::{Need, Overtaking};
use crate::queues::Accounts;
use crate::report::{Outcomes, Report};
use crate::series::Series;
use crate::trace::Gang;

/// A cluster and a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Nodes, all alike.
    pub nodes: usize,
    /// Zones that they are spread over.
    pub zones: usize,
    /// CPU of a node, thousandths.
    pub node_cpu_milli: u64,
    /// Memory of a node, MiB.
    pub node_memory_mib: u64,
    /// Which nodes a gang gets where its queue doesn't say.
    pub packing: Packing,
    /// Who may overtake the head of a queue.
    pub backfill: Backfill,
    /// What all that overtake a head may cost it, milliseconds; see the planner's configuration.
    pub backfill_delay_ms: i64,
    /// Where run times are expected from.
    pub estimates: Estimates,
    /// Which gangs share a queue, and what queues may have.
    pub queues: Queues,
}

/// Where run times are expected from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimates {
    /// From gangs that have ended before, as the planner does by itself.
    Learned,
    /// From the trace: what a perfect predictor would say.
    Perfect,
}

/// Which gangs share a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queues {
    /// All are in one queue.
    One,
    /// As the trace says; all queues share alike.
    OfTrace,
    /// By these rules, as in a cluster: the trace's queue is the label of the driver. Where the trace has no namespace
    /// for a gang, its queue is the one of that name, or else the one that lists it as a namespace.
    Ruled(QueueTable),
}

impl Settings {
    /// What a node has.
    pub(crate) fn capacity(&self) -> Resources {
        Resources::from_mib(self.node_cpu_milli, self.node_memory_mib)
    }
}

/// All invariants of the planner are checked after so many events, and after more in a large cluster: they look at
/// everything.
const CHECK_EVERY: u64 = 4_096;
/// Progress is told after so many events.
const PROGRESS_EVERY: u64 = 1_024;

/// Simulates the trace from its first gang to its last end. `progress` is told how many gangs have ended, now and then.
///
/// Gangs that no empty cluster of this kind could take, or that are alone above their queue's limit, are left out, and counted in the report.
pub fn simulate(gangs: &[Gang], settings: &Settings, mut progress: impl FnMut(usize)) -> Report {
    let cluster = Cluster::new(settings, gangs);
    let mut run = Run {
        queues: Accounts::new(gangs, cluster.rules(), |gang| cluster.queue_of(gang)),
        cluster,
        account: Account::new(settings.nodes, settings.capacity()),
        overtaking: Overtaking::default(),
        outcomes: Outcomes::new(gangs.len()),
        gangs,
        one_queue: settings.queues == Queues::One,
        zones_apart: zones_apart(settings, None),
        waiting: BTreeSet::new(),
        running: BinaryHeap::new(),
        places: vec![None; gangs.len()],
    };
    let mut arrivals = gangs
        .iter()
        .enumerate()
        .filter(|(number, gang)| {
            fits_empty(gang, settings, run.queues.packing(*number)) && run.queues.may_ever(*number, gang)
        })
        .collect::<Vec<_>>()
        .into_iter()
        .peekable();
    let check_every = CHECK_EVERY.max(8 * settings.nodes as u64);
    let (mut events, mut ended) = (0_u64, 0_usize);
    let mut series = Series::default();
    loop {
        let arrival = arrivals.peek().map(|(_, gang)| gang.submit_ms());
        let end = run.running.peek().map(|Reverse((end_ms, _))| *end_ms);
        let Some(now_ms) = arrival.into_iter().chain(end).min() else {
            break;
        };
        series.until(now_ms, run.account.levels(run.waiting.len()));
        run.account.until(now_ms);
        run.queues.until(now_ms, gangs);
        while let Some(&Reverse((end_ms, gang))) = run.running.peek()
            && end_ms <= now_ms
        {
            run.running.pop();
            run.end(gang, now_ms);
            ended += 1;
        }
        run.look_at_head(now_ms);
        while let Some((gang, _)) = arrivals.next_if(|(_, gang)| gang.submit_ms() <= now_ms) {
            run.cluster.submit(gang, now_ms);
            run.queues.submitted(gang);
            run.waiting.insert(gang);
            run.outcomes.submitted(gang, now_ms);
        }
        run.decide(now_ms);
        events += 1;
        if events.is_multiple_of(PROGRESS_EVERY) {
            progress(ended);
        }
        if events.is_multiple_of(check_every) {
            run.cluster.check();
        }
    }
    run.cluster.check();
    progress(ended);
    let Run {
        cluster,
        account,
        queues,
        overtaking,
        outcomes,
        waiting,
        ..
    } = run;
    // Whoever still waits in an empty cluster is starved.
    let violations = account.overbooked + queues.over_limit + cluster.broken + waiting.len() as u64;
    Report::new(
        gangs,
        &outcomes,
        &account,
        &queues,
        &overtaking,
        violations,
        settings,
        series,
    )
}

/// Whether the gang alone has room on the whole cluster.
pub(crate) fn fits_empty(gang: &Gang, settings: &Settings, packing: Option<Packing>) -> bool {
    let node = settings.capacity();
    let (driver, executor) = (gang.driver(), gang.executor());
    if !driver.fits(&node) || settings.nodes == 0 {
        return false;
    }
    let mut beside = node.clone();
    beside.subtract(&driver);
    // Of the zone with the most nodes.
    let nodes = settings.nodes.div_ceil(zones_apart(settings, packing));
    let others = (nodes as u64 - 1).saturating_mul(executor.times_in(&node));
    others.saturating_add(executor.times_in(&beside)) >= gang.executors
}

/// In one of how many zones all of a gang must be; 1 where it may be anywhere. `packing`: what its queue says.
fn zones_apart(settings: &Settings, packing: Option<Packing>) -> usize {
    match packing.unwrap_or(settings.packing) {
        Packing::SingleZone => settings.zones.max(1),
        _ => 1,
    }
}

struct Run<'a> {
    cluster: Cluster<'a>,
    account: Account,
    queues: Accounts,
    overtaking: Overtaking,
    outcomes: Outcomes,
    gangs: &'a [Gang],
    one_queue: bool,
    zones_apart: usize,
    /// By order of submission.
    waiting: BTreeSet<usize>,
    running: BinaryHeap<Reverse<(i64, usize)>>,
    places: Vec<Option<Started>>,
}

impl Run<'_> {
    fn decide(&mut self, now_ms: i64) {
        // With several queues there are several heads: what overtaking costs is measured with one.
        self.overtaking
            .head(self.waiting.first().copied().filter(|_| self.one_queue));
        for started in self.cluster.decide(now_ms) {
            let gang = started.gang;
            self.waiting.remove(&gang);
            self.outcomes.started(gang, now_ms);
            self.queues.started(gang, &self.gangs[gang]);
            let pods = self.pods(&started);
            for (node, requests, count) in &pods {
                self.account.take(*node, requests, *count);
            }
            self.overtaking.started(gang, pods, now_ms);
            self.overtaking
                .head(self.waiting.first().copied().filter(|_| self.one_queue));
            self.running.push(Reverse((now_ms + self.gangs[gang].run_ms(), gang)));
            self.places[gang] = Some(started);
        }
    }

    fn end(&mut self, gang: usize, now_ms: i64) {
        let Some(started) = self.places[gang].take() else {
            return;
        };
        for (node, requests, count) in self.pods(&started) {
            self.account.give(node, &requests, count);
        }
        self.queues.ended(gang, &self.gangs[gang]);
        self.overtaking.ended(gang);
        self.cluster.end(&started, now_ms);
    }

    fn look_at_head(&mut self, now_ms: i64) {
        if let Some(&head) = self.waiting.first() {
            let gang = &self.gangs[head];
            let need = Need {
                driver: gang.driver(),
                executor: gang.executor(),
                executors: gang.executors,
                zones: self.zones_apart,
            };
            self.overtaking.look(&self.account, &need, now_ms);
        }
    }

    /// The pods of a gang that has started: node, requests, how many.
    fn pods(&self, started: &Started) -> Vec<(usize, Resources, u64)> {
        let gang = &self.gangs[started.gang];
        let (driver, executor) = (gang.driver(), gang.executor());
        let executors = started.executors.iter();
        executors
            .map(|&(node, count)| (node, executor.clone(), count))
            .chain([(started.driver, driver, 1)])
            .collect()
    }
}
