//! Filter: which node a pod may take.
//!
//! The scheduler may call at any time, more than once, in simulations, and with lists of one node. So a call is a
//! lookup: the answer to the same pod stays the same until it is bound, gone or timed out.

use kompass_core::Pod;
use rustc_hash::FxHashSet;

use crate::answer::FilterAnswer;
use crate::gang::{GangId, Stage};
use crate::nodes::NodeId;
use crate::pack::{Ask, takes_one_more};
use crate::planner::Planner;
use crate::pods::{Kind, Place, PodId, Seat};
use crate::terms::Own;

/// The gang of an ungated driver has no room; it is the head of its queue.
pub const GANG_WAITS: &str = "KOMPASS: the whole gang has no room yet, it is first in line";
/// An executor has neither a free slot nor unreserved room.
pub const EXECUTOR_WAITS: &str = "KOMPASS: no free slot of the gang and no unreserved room";
/// A pod of no gang has no room.
pub const POD_WAITS: &str = "KOMPASS: no unreserved room";
/// The driver has ended.
pub const GANG_ENDED: &str = "KOMPASS: the gang has ended";
/// The planner has not listed the cluster yet.
pub const NOT_SYNCED: &str = "KOMPASS: the planner still reads the cluster";
/// The planner may not make plans.
pub const NOT_LEADING: &str = "KOMPASS: the planner does not lead yet";

impl Planner {
    /// Filter: which of the nodes named may take the pod. Repeating a call changes nothing. Names that are not known
    /// are skipped.
    pub fn filter<N: AsRef<str>>(&mut self, pod: &Pod, nodes: &[N], now_ms: i64) -> FilterAnswer {
        if !self.synced {
            return FilterAnswer::NotReady(NOT_SYNCED);
        }
        self.scheduler_ms = Some(now_ms);
        // The scheduler may know the pod, or that its gate is open, before this planner's watch does.
        if !self.pods.is_gone(&pod.uid) && self.is_news(pod) {
            self.apply_pod(pod, now_ms);
        }
        if self.leads() && self.nodes.any_worse() {
            self.repair(now_ms);
            self.changed = true;
        }
        let Some(id) = self.pods.all.id(&pod.uid) else {
            return FilterAnswer::NotInList;
        };
        let entry = &self.pods.all[id];
        // While a Bind is under way another node would mean room kept twice, or not where it lands.
        if let Place::Bound { node, .. }
        | Place::Assumed {
            node, binding: true, ..
        } = entry.place
        {
            return self.if_listed(node, nodes);
        }
        match &entry.kind {
            Kind::Driver(Some(gang)) => self.filter_driver(*gang, nodes, now_ms),
            Kind::Driver(None) => FilterAnswer::Unresolvable(GANG_ENDED),
            Kind::Executor(executor) if executor.orphan => FilterAnswer::Unresolvable(GANG_ENDED),
            Kind::Executor(executor) => {
                let gang = executor.gang;
                self.filter_executor(id, gang, nodes, now_ms)
            }
            _ => self.filter_other(id, None, nodes, now_ms, POD_WAITS),
        }
    }

    fn is_news(&self, pod: &Pod) -> bool {
        match self.pods.all.id(&pod.uid) {
            None => true,
            Some(id) => {
                let known = &self.pods.all[id].version;
                **known != *pod.resource_version && crate::pods::is_older(known, &pod.resource_version)
            }
        }
    }

    fn if_listed<N: AsRef<str>>(&self, node: NodeId, nodes: &[N]) -> FilterAnswer {
        let name = self.nodes.name(node);
        if nodes.iter().any(|listed| *listed.as_ref() == **name) {
            FilterAnswer::Node(name.to_string())
        } else {
            FilterAnswer::NotInList
        }
    }

    fn filter_driver<N: AsRef<str>>(&mut self, gang: GangId, nodes: &[N], now_ms: i64) -> FilterAnswer {
        if let Some(held) = self.gangs[gang].held {
            let answer = self.if_listed(held.node, nodes);
            if let Stage::Open(open) = &mut self.gangs[gang].stage {
                // A list of one node is a hint of the scheduler's, not its whole choice.
                open.absent_ms = match answer {
                    FilterAnswer::NotInList if nodes.len() > 1 => open.absent_ms.or(Some(now_ms)),
                    FilterAnswer::NotInList => open.absent_ms,
                    _ => None,
                };
            }
            return answer;
        }
        if !self.may_plan(now_ms) {
            return FilterAnswer::NotReady(NOT_LEADING);
        }
        if !matches!(self.gangs[gang].stage, Stage::Open(_)) {
            // Its gate is closed as far as is known; the order or the watch will tell.
            return FilterAnswer::NotReady(NOT_LEADING);
        }
        let among = self.mask(nodes);
        self.changed = true;
        if let Stage::Open(open) = &mut self.gangs[gang].stage {
            open.stuck = false;
        }
        self.gangs[gang].avoid = None;
        match self.look(gang, Some(&among)) {
            Ok(placement) => {
                self.hold(gang, &placement, now_ms);
                placement.driver.map_or(FilterAnswer::NotInList, |node| {
                    FilterAnswer::Node(self.nodes.name(node).to_string())
                })
            }
            Err(_) => FilterAnswer::Unresolvable(GANG_WAITS),
        }
    }

    fn filter_executor<N: AsRef<str>>(
        &mut self,
        id: PodId,
        gang: Option<GangId>,
        nodes: &[N],
        now_ms: i64,
    ) -> FilterAnswer {
        if let Some(answer) = self.assumed_before(id, nodes) {
            return answer;
        }
        if self.leads() {
            self.make_free(id, now_ms);
        }
        if let Some(gang) = gang
            && let Some(node) = self.free_slot(id, gang, nodes)
        {
            self.assume(id, node, Seat::Slot, now_ms);
            return FilterAnswer::Node(self.nodes.name(node).to_string());
        }
        self.filter_other(id, gang, nodes, now_ms, EXECUTOR_WAITS)
    }

    /// The node that was answered before, if it is in this list and still good.
    fn assumed_before<N: AsRef<str>>(&self, id: PodId, nodes: &[N]) -> Option<FilterAnswer> {
        let Place::Assumed { node, .. } = self.pods.all[id].place else {
            return None;
        };
        let answer = self.if_listed(node, nodes);
        (matches!(answer, FilterAnswer::Node(_)) && self.nodes.usable(node)).then_some(answer)
    }

    /// The first node in the plan's order with a free slot that is in the list.
    fn free_slot<N: AsRef<str>>(&self, id: PodId, gang: GangId, nodes: &[N]) -> Option<NodeId> {
        let slots = &self.gangs[gang].slots;
        if slots.free() == 0 {
            return None;
        }
        let good = |node: NodeId| self.nodes.usable(node) && self.slot_takes(gang, node, id);
        let mut free = slots
            .groups
            .iter()
            .filter(|group| group.free() > 0)
            .map(|group| group.node);
        // Nearly always the first one is in the list; only if not is the list indexed.
        let first = free.by_ref().find(|&node| good(node))?;
        if nodes.iter().any(|listed| *listed.as_ref() == **self.nodes.name(first)) {
            return Some(first);
        }
        let listed: FxHashSet<NodeId> = nodes.iter().filter_map(|name| self.nodes.find(name.as_ref())).collect();
        free.find(|&node| listed.contains(&node) && good(node))
    }

    /// Unreserved room for a pod without a slot: near its gang, on nodes in use, where the least is left over.
    fn filter_other<N: AsRef<str>>(
        &mut self,
        id: PodId,
        gang: Option<GangId>,
        nodes: &[N],
        now_ms: i64,
        waits: &'static str,
    ) -> FilterAnswer {
        if let Some(answer) = self.assumed_before(id, nodes) {
            return answer;
        }
        if !self.leads() {
            return FilterAnswer::NotReady(NOT_LEADING);
        }
        self.make_free(id, now_ms);
        if gang.is_some_and(|gang| self.is_at_limit(gang, id)) {
            return FilterAnswer::Unresolvable(waits);
        }
        if let Some(node) = self.aside_for(id, nodes) {
            self.assume(id, node, Seat::Extra, now_ms);
            return FilterAnswer::Node(self.nodes.name(node).to_string());
        }
        let near = gang.map(|gang| self.nodes_of(gang)).or_else(|| self.near_client(id));
        let zone = gang
            .and_then(|gang| self.gangs[gang].held)
            .map(|held| self.nodes.zone(held.node));
        let only = gang.and_then(|gang| self.zone_of(gang));
        let of = gang.filter(|&gang| self.gangs[gang].spacing().is_some());
        let held = of.map(|gang| self.executors_on(gang)).unwrap_or_default();
        let rules = of.map(|gang| Ask {
            held: &held,
            ..self.ask(gang, None)
        });
        let pod = &self.pods.all[id];
        let own = || gang.map_or_else(Own::default, |gang| self.own(gang));
        let peers = self.nodes.has_terms(pod.peer).then(own);
        let best = nodes
            .iter()
            .filter_map(|name| self.nodes.find(name.as_ref()))
            .filter(|&node| only.is_none_or(|zone| zone == self.nodes.zone(node)))
            .filter(|&node| self.nodes.usable(node) && self.nodes.fits(node, &pod.requests, &pod.ports))
            .filter(|&node| rules.is_none_or(|ask| takes_one_more(&self.nodes, &ask, node)))
            .filter(|&node| {
                !peers
                    .as_ref()
                    .is_some_and(|own| self.nodes.keeps_off(pod.peer, node, Some(own)))
            })
            .min_by_key(|&node| {
                let room = &self.nodes.free()[node.index()].resources;
                (
                    !near.as_ref().is_some_and(|near| near[node.index()]),
                    zone != Some(self.nodes.zone(node)),
                    !self.nodes.in_use(node),
                    (room.cpu_milli, room.memory_bytes, node),
                )
            });
        match best {
            Some(node) => {
                self.assume(id, node, Seat::Extra, now_ms);
                FilterAnswer::Node(self.nodes.name(node).to_string())
            }
            None => FilterAnswer::Unresolvable(waits),
        }
    }

    /// The pod's own assumed room counts as free for another choice. A slot that it gives back may keep more than it did:
    /// what has no room beside it is given up now, not by the next call.
    fn make_free(&mut self, id: PodId, now_ms: i64) {
        self.vacate(id, now_ms);
        if self.nodes.any_worse() {
            self.repair(now_ms);
            self.changed = true;
        }
    }

    /// Whether the limit of its queue keeps an executor beyond the minimum back.
    fn is_at_limit(&mut self, gang: GangId, executor: PodId) -> bool {
        if !self.is_limited(&self.gangs[gang].queue) {
            return false;
        }
        self.attend();
        self.within_limit(&self.gangs[gang].queue, &self.pods.all[executor].requests, 1) == 0
    }

    /// The listed nodes, by node index.
    fn mask<N: AsRef<str>>(&self, nodes: &[N]) -> Vec<bool> {
        let mut mask = vec![false; self.nodes.free().len()];
        nodes
            .iter()
            .filter_map(|name| self.nodes.find(name.as_ref()))
            .for_each(|node| mask[node.index()] = true);
        mask
    }
}
