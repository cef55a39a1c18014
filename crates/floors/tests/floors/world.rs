//! Jobs on a group: each takes whole nodes, all at once, in the order in which they came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::asg::{Asg, End, Id};
use crate::model::autoscaler::{Autoscaler, Did, Pods, SCAN_MS};

#[derive(Debug)]
struct Job {
    nodes: usize,
    length_ms: i64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) asg: Asg,
    pub(crate) autoscaler: Autoscaler,
    waiting: VecDeque<Job>,
    /// Until when each node is busy.
    busy_until_ms: BTreeMap<Id, i64>,
    /// Busy nodes that the group has ended by its own choice, as the autoscaler asked for a size that was too small.
    pub(crate) casualties: usize,
    /// The same, as it gave up instances that have come in the end: nobody else has a part in that.
    pub(crate) given_up: usize,
    seen: usize,
}

impl World {
    pub(crate) fn new(seed: u64, min: u32, max: u32) -> Self {
        Self {
            asg: Asg::new(seed, min, max),
            autoscaler: Autoscaler::new(),
            waiting: VecDeque::new(),
            busy_until_ms: BTreeMap::new(),
            casualties: 0,
            given_up: 0,
            seen: 0,
        }
    }

    pub(crate) fn submit(&mut self, nodes: usize, length_ms: i64) {
        self.waiting.push_back(Job { nodes, length_ms });
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn busy(&self) -> BTreeSet<Id> {
        self.busy_until_ms.keys().copied().collect()
    }

    /// One loop of the autoscaler; `between` happens before it, at the same moment.
    pub(crate) fn step(&mut self, between: impl FnOnce(&mut Asg)) {
        self.asg.pass(SCAN_MS);
        between(&mut self.asg);
        self.mourn();
        let now_ms = self.asg.now_ms;
        self.busy_until_ms.retain(|_, until_ms| *until_ms > now_ms);
        self.start();
        let pods = Pods {
            waiting_for: u32::try_from(self.waiting.iter().map(|job| job.nodes).sum::<usize>()).unwrap(),
            registered: self.asg.in_service(),
            busy: self.busy(),
        };
        self.autoscaler.step(&mut self.asg, &pods);
        self.mourn();
    }

    /// So long without anything from outside.
    pub(crate) fn pass(&mut self, span_ms: i64) {
        let until_ms = self.asg.now_ms + span_ms;
        while self.asg.now_ms < until_ms {
            self.step(|_| ());
        }
    }

    fn start(&mut self) {
        let now_ms = self.asg.now_ms;
        while let Some(job) = self.waiting.front() {
            let free = self.asg.in_service();
            let free: Vec<Id> = free
                .into_iter()
                .filter(|id| !self.busy_until_ms.contains_key(id))
                .collect();
            if free.len() < job.nodes {
                return;
            }
            for id in &free[..job.nodes] {
                self.busy_until_ms.insert(*id, now_ms + job.length_ms);
            }
            self.waiting.pop_front();
        }
    }

    fn mourn(&mut self) {
        for (ended_ms, id, end) in &self.asg.ended[self.seen..] {
            let was_busy = self.busy_until_ms.remove(id).is_some();
            if was_busy {
                let now = self
                    .autoscaler
                    .did
                    .iter()
                    .rev()
                    .take_while(|(at_ms, _)| at_ms == ended_ms);
                let gave_up = now.into_iter().any(|(_, did)| matches!(did, Did::GaveUp { .. }));
                let count = if gave_up {
                    &mut self.given_up
                } else {
                    &mut self.casualties
                };
                *count += 1;
            }
            assert!(!was_busy || *end == End::Chosen, "the autoscaler took a busy node away");
        }
        self.seen = self.asg.ended.len();
    }
}
