//! What queues have, and whose turn it is: guarantees first, then the smaller dominant share by weight.
//!
//! Dominant-resource fairness (Ghodsi et al., NSDI 2011): a queue's share is the largest of its shares of any resource,
//! here divided by its weight. A queue that stays within its guarantee goes before those that don't, and while it waits
//! for room none of these starts. Nothing is taken away from gangs that run.

use std::collections::BTreeMap;
use std::sync::Arc;

use kompass_core::Resources;
use rustc_hash::FxHashMap;

use crate::gang::GangId;
use crate::planner::Planner;
use crate::quota::{Limits, Usage};

/// What gangs of each queue hold together: reserved and bound.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    used: BTreeMap<Arc<str>, Usage>,
    counted: FxHashMap<GangId, (Arc<str>, Usage)>,
}

impl Shares {
    /// The gang holds this much now, in this queue; `None` where it holds nothing.
    pub(crate) fn count(&mut self, id: GangId, held: Option<(Arc<str>, Usage)>) {
        if let Some((queue, before)) = self.counted.remove(&id)
            && let Some(used) = self.used.get_mut(&queue)
        {
            used.subtract(&before);
            if used.pods == 0 {
                self.used.remove(&queue);
            }
        }
        if let Some((queue, held)) = held {
            let used = self.used.entry(queue.clone()).or_default();
            used.add(&held.requests, 1);
            used.pods += held.pods - 1;
            self.counted.insert(id, (queue, held));
        }
    }

    /// The gangs that hold anything.
    pub(crate) fn holders(&self) -> impl Iterator<Item = GangId> + '_ {
        self.counted.keys().copied()
    }

    /// What is counted for a gang.
    pub(crate) fn counted(&self, id: GangId) -> Option<&(Arc<str>, Usage)> {
        self.counted.get(&id)
    }

    /// What the queue's gangs hold.
    pub(crate) fn used(&self, queue: &str) -> Option<&Usage> {
        self.used.get(queue)
    }
}

/// The largest part of all that there is of any resource, in millionths, and that resource.
pub(crate) fn dominant<'a>(used: &'a Usage, total: &Resources) -> (u64, &'a str) {
    let part = |used: u64, total: u64| {
        let millionths = (u128::from(used) * 1_000_000).checked_div(u128::from(total));
        u64::try_from(millionths.unwrap_or(0)).unwrap_or(u64::MAX)
    };
    let extended = used.requests.extended.iter();
    let extended = extended.map(|(name, &units)| (part(units, total.units(name)), name.as_str()));
    extended
        .chain([
            (part(used.requests.cpu_milli, total.cpu_milli), "cpu"),
            (part(used.requests.memory_bytes, total.memory_bytes), "memory"),
        ])
        .max_by_key(|&(part, _)| part)
        .unwrap_or((0, "cpu"))
}

/// The same by weight.
fn share(used: &Usage, total: &Resources, weight: u32) -> u64 {
    dominant(used, total).0 / u64::from(weight.max(1))
}

impl Planner {
    /// All that a gang holds or, where it holds nothing yet, would hold.
    pub(crate) fn holds(&self, id: GangId) -> Option<Usage> {
        let mut held = Usage::default();
        self.each_share(id, |_, requests, count| held.add(requests, count));
        (held.pods > 0).then_some(held)
    }

    /// What a gang needs to start.
    pub(crate) fn needs(&self, id: GangId) -> Usage {
        let gang = &self.gangs[id];
        let mut needs = Usage::default();
        needs.add(&self.pods.all[gang.driver].requests, 1);
        if let Some(shape) = &gang.shape {
            needs.add(&shape.executor, shape.minimum);
        }
        needs
    }

    /// Whether the queue has a limit.
    pub(crate) fn is_limited(&self, queue: &str) -> bool {
        self.policy.rules(queue).limit != Limits::default()
    }

    /// The resource of which the queue may not have that much more, by name.
    pub(crate) fn over_limit(&self, queue: &str, more: &Usage) -> Option<String> {
        let none = Usage::default();
        let used = self.shares.used(queue).unwrap_or(&none);
        self.policy.rules(queue).limit.exceeded_by(used, more)
    }

    /// The same even if it had nothing yet: the gang can never start there.
    pub(crate) fn over_limit_alone(&self, queue: &str, more: &Usage) -> Option<String> {
        self.policy.rules(queue).limit.exceeded_by(&Usage::default(), more)
    }

    /// How many more pods of these requests the queue may have, at most `wanted`.
    pub(crate) fn within_limit(&self, queue: &str, requests: &Resources, wanted: u64) -> u64 {
        if !self.is_limited(queue) {
            return wanted;
        }
        let limit = &self.policy.rules(queue).limit;
        let none = Usage::default();
        let used = self.shares.used(queue).unwrap_or(&none);
        let may = |count: u64| {
            let mut more = Usage::default();
            more.add(requests, count);
            limit.exceeded_by(used, &more).is_none()
        };
        let (mut low, mut high) = (0, wanted);
        while low < high {
            let middle = high - (high - low) / 2;
            if may(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// Whether the queue stays within its guarantee with that much more.
    pub(crate) fn is_guaranteed(&self, queue: &str, more: &Usage) -> bool {
        let guaranteed = &self.policy.rules(queue).guaranteed;
        let none = Usage::default();
        let used = self.shares.used(queue).unwrap_or(&none);
        *guaranteed != Limits::default() && guaranteed.exceeded_by(used, more).is_none()
    }

    /// The queues with gangs waiting, the one whose turn it is first: those within their guarantee, then by share, then
    /// by who started last.
    pub(crate) fn queues_by_turn(&self) -> Vec<(bool, Arc<str>)> {
        let mut queues: Vec<_> = self
            .queues
            .turns()
            .map(|(queue, head, last_turn)| {
                let guaranteed = self.is_guaranteed(queue, &self.needs(head.gang));
                let weight = self.policy.rules(queue).weight;
                let used = self.shares.used(queue);
                let share = used.map_or(0, |used| share(used, self.nodes.total(), weight));
                (!guaranteed, share, last_turn, head, queue.clone())
            })
            .collect();
        queues.sort_unstable();
        queues
            .into_iter()
            .map(|(borrows, .., queue)| (!borrows, queue))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_resource_counts_by_weight() {
        let usage = |cpu_milli, memory_bytes| Usage {
            requests: Resources::new(cpu_milli, memory_bytes),
            pods: 1,
        };
        let total = Resources::new(1_000, 10_000).with("gpu", 4);
        assert_eq!(share(&usage(100, 500), &total, 1), 100_000);
        assert_eq!(share(&usage(100, 5_000), &total, 1), 500_000);
        assert_eq!(share(&usage(100, 5_000), &total, 5), 100_000);
        let mut gpu = usage(100, 500);
        gpu.requests = gpu.requests.with("gpu", 3).with("unknown", 7);
        assert_eq!(share(&gpu, &total, 1), 750_000);
        assert_eq!(share(&usage(u64::MAX, u64::MAX), &Resources::new(1, 1), 1), u64::MAX);
        assert_eq!(share(&usage(5, 5), &Resources::default(), 1), 0);
    }
}
