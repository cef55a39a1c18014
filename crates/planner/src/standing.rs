//! How queues stand beside each other: what each has, who waits, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kompass_core::Resources;
use kompass_core::wait::WaitCode;

use crate::config::Packing;
use crate::gang::{GangId, Stage};
use crate::planner::Planner;
use crate::policy::QueueRules;
use crate::quota::{Limits, Usage};
use crate::share::dominant;

/// How one queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: QueueRules,
    /// Which nodes its gangs get, also where its rules don't say.
    pub packing: Packing,
    /// What its gangs hold, reserved and bound: every resource that nodes have of which it holds any, CPU, memory and
    /// pods always.
    pub used: Limits,
    /// Its largest part of any resource of the cluster, millionths.
    pub share_millionths: u64,
    /// The resource that this is a part of; `None` where it has nothing.
    pub dominant: Option<String>,
    /// Gangs that run, or whose room is reserved.
    pub running: u64,
    /// Gangs that wait.
    pub waiting: u64,
    /// Its place among the queues whose gangs wait, from 1: in this order they are looked at. `None` where nobody waits
    /// or its limit holds it back.
    pub turn: Option<u64>,
    /// The gang that is the first to start, where one waits.
    pub next: Option<NextGang>,
}

/// The first gang of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextGang {
    /// The driver's namespace.
    pub namespace: String,
    /// The driver's name.
    pub name: String,
    /// Why it waits.
    pub code: WaitCode,
}

impl Planner {
    /// All queues that have rules or gangs, by name.
    pub fn queue_states(&mut self) -> Vec<QueueState> {
        self.attend();
        let mut counts: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
        for (_, gang) in self.gangs.iter() {
            let (running, waiting) = counts.entry(gang.queue.clone()).or_default();
            if gang.stage == Stage::Waiting || gang.is_unplanned() {
                *waiting += 1;
            } else {
                *running += 1;
            }
        }
        let turns = self.turns();
        let ruled = self.queue_table().queues.keys().map(|name| Arc::from(name.as_str()));
        let names: BTreeSet<Arc<str>> = ruled.chain(counts.keys().cloned()).collect();
        let states = names.iter().map(|name| {
            let used = self.shares.used(name).cloned().unwrap_or_default();
            let (share_millionths, resource) = dominant(&used, self.nodes.total());
            let (running, waiting) = counts.get(name).copied().unwrap_or_default();
            QueueState {
                name: name.to_string(),
                rules: self.rules_of(name),
                packing: self.packing(name),
                used: amounts(&used),
                share_millionths,
                dominant: (share_millionths > 0).then(|| resource.to_owned()),
                running,
                waiting,
                turn: turns.iter().position(|turn| turn == name).map(|place| place as u64 + 1),
                next: self.queues.after(name, None).and_then(|key| self.next_gang(key.gang)),
            }
        });
        states.collect()
    }

    /// What all nodes have together.
    pub fn total(&self) -> &Resources {
        self.nodes.total()
    }

    /// The queues whose gangs wait and may have more, the one whose turn it is first.
    fn turns(&self) -> Vec<Arc<str>> {
        let head = |queue: &Arc<str>| self.queues.after(queue, None).map(|key| key.gang);
        let may_start =
            |queue: &Arc<str>| head(queue).is_some_and(|head| self.over_limit(queue, &self.needs(head)).is_none());
        let queues = self.queues_by_turn().into_iter().map(|(_, queue)| queue);
        let mut queues: Vec<Arc<str>> = queues.filter(may_start).collect();
        // Whoever was passed over too often goes before all others.
        let overdue = |head: GangId| self.is_overdue(&self.gangs[head]);
        queues.sort_by_key(|queue| !head(queue).is_some_and(overdue));
        queues
    }

    fn next_gang(&self, id: GangId) -> Option<NextGang> {
        let gang = &self.gangs[id];
        Some(NextGang {
            namespace: gang.namespace.to_string(),
            name: self.pods.all[gang.driver].name.to_string(),
            code: self.wait_code(id)?,
        })
    }
}

fn amounts(used: &Usage) -> Limits {
    Limits {
        cpu_milli: Some(used.requests.cpu_milli),
        memory_bytes: Some(used.requests.memory_bytes),
        pods: Some(used.pods),
        extended: used
            .requests
            .extended
            .iter()
            .filter(|&(_, &units)| units > 0)
            .map(|(name, &units)| (name.clone(), units))
            .collect(),
    }
}
