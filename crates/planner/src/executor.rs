//! What an executor pod's events mean: slots are taken, left and taken again.

use std::collections::BTreeSet;

use kompass_core::names::GANG_GATE;
use kompass_core::{Phase, Pod};

use crate::decide::Turn;
use crate::gang::{Gang, GangId};
use crate::nodes::NodeId;
use crate::planner::Planner;
use crate::pods::{Kind, Place, PodId, Seat};

impl Planner {
    /// An executor was listed, added or changed.
    pub(crate) fn executor_seen(&mut self, id: PodId, pod: &Pod, now_ms: i64) {
        let (gated, foreign_gate) = (pod.has_gate(GANG_GATE), pod.gates.iter().any(|gate| gate != GANG_GATE));
        let entry = &mut self.pods.all[id];
        let bound = entry.is_bound() || pod.node.is_some();
        let waits = !bound && !pod.is_terminal() && !pod.deleting;
        let Kind::Executor(executor) = &mut entry.kind else {
            return;
        };
        if executor.gated && !gated {
            if let Some(order) = executor.opening.take() {
                self.in_flight.remove(&order);
            }
            executor.rest = None;
        }
        (executor.gated, executor.foreign_gate) = (gated, foreign_gate);
        if bound {
            executor.constraints = kompass_core::Constraints::default();
        } else if executor.constraints != pod.constraints {
            executor.constraints.clone_from(&pod.constraints);
        }
        executor.started |= pod.started_ms.is_some() || pod.phase != Phase::Pending;
        let is_pinned = executor
            .constraints
            .required_terms
            .iter()
            .flatten()
            .any(|term| !term.fields.is_empty());
        let (linked, driver) = (executor.gang.is_some() || executor.orphan, executor.driver.clone());
        set(&mut self.gated, id, waits && gated);
        set(&mut self.pinned, id, waits && !gated && !foreign_gate && is_pinned);
        if !linked {
            match self.gangs.id(&driver) {
                Some(gang) => self.link(id, gang),
                None => _ = self.pods.awaiting_driver.entry(driver).or_default().insert(id),
            }
        }
        match self.seen_place(id, pod) {
            Place::Bound { node, .. } => {
                let since_ms = if self.synced {
                    now_ms
                } else {
                    pod.started_ms.unwrap_or(pod.created_ms)
                };
                self.executor_bound(id, node, since_ms, now_ms);
            }
            Place::Nowhere => self.vacate(id, pod.ended.map_or(now_ms, |ended| ended.1)),
            Place::Assumed { .. } => {}
        }
        if let Some(gang) = self.pods.all[id].gang() {
            let last_ms = Some(pod.started_ms.map_or(pod.created_ms, |ms| ms.max(pod.created_ms)));
            if self.gangs[gang].times.last_executor_ms < last_ms {
                self.gangs[gang].times.last_executor_ms = last_ms;
            }
            self.correct(gang);
            // One that is leaving makes room for another that sits beside the slots.
            self.settle(gang);
        }
    }

    /// An executor pod is gone.
    pub(crate) fn executor_gone(&mut self, id: PodId, now_ms: i64) {
        self.vacate(id, now_ms);
        self.gated.remove(&id);
        self.pinned.remove(&id);
        let Some(executor) = self.pods.all[id].executor() else {
            return;
        };
        if let Some(gang) = executor.gang {
            self.gangs[gang].executors.remove(&id);
        } else if !executor.orphan {
            let driver = executor.driver.clone();
            if let Some(executors) = self.pods.awaiting_driver.get_mut(&driver) {
                executors.remove(&id);
                if executors.is_empty() {
                    self.pods.awaiting_driver.remove(&driver);
                }
            }
        }
    }

    /// The executor is of this gang, if it is in the driver's namespace.
    pub(crate) fn link(&mut self, id: PodId, gang: GangId) {
        let entry = &mut self.pods.all[id];
        if entry.namespace != self.gangs[gang].namespace {
            return;
        }
        let bound = entry.is_bound();
        let Some(executor) = entry.executor_mut() else { return };
        executor.gang = Some(gang);
        let (bound_ms, created_ms) = (executor.bound_ms, executor.created_ms);
        let gang = &mut self.gangs[gang];
        gang.executors.insert(id);
        gang.times.last_executor_ms = gang.times.last_executor_ms.max(Some(created_ms));
        if bound {
            gang.executor_came(bound_ms);
        }
    }

    /// The executor's gang has ended; the pod keeps its room until it is gone.
    pub(crate) fn unlink(&mut self, id: PodId, gang: GangId, now_ms: i64) {
        let entry = &mut self.pods.all[id];
        let bound = entry.is_bound();
        match &mut entry.place {
            Place::Nowhere => {}
            Place::Assumed { seat, .. } | Place::Bound { seat, .. } => *seat = Seat::Extra,
        }
        let Some(executor) = entry.executor_mut() else { return };
        (executor.gang, executor.orphan) = (None, true);
        let bound_ms = executor.bound_ms;
        if bound {
            self.gangs[gang].executor_went(bound_ms, now_ms);
        }
    }

    /// The executor is bound to this node: it takes a slot there if its gang has one.
    pub(crate) fn executor_bound(&mut self, id: PodId, node: NodeId, since_ms: i64, now_ms: i64) {
        if self.pods.all[id].terminal {
            return;
        }
        match self.pods.all[id].place {
            Place::Bound { .. } => return,
            Place::Assumed {
                node: assumed, seat, ..
            } if assumed == node => {
                self.pods.all[id].put(Place::Bound { node, seat }, &mut self.nodes);
            }
            Place::Assumed { .. } | Place::Nowhere => {
                self.vacate(id, now_ms);
                self.sit(id, node, true, |seat| Place::Bound { node, seat });
            }
        }
        self.gated.remove(&id);
        self.pinned.remove(&id);
        let Some(executor) = self.pods.all[id].executor_mut() else {
            return;
        };
        executor.stuck_ms = None;
        let bound_ms = *executor.bound_ms.get_or_insert(since_ms);
        if let Some(gang) = executor.gang {
            self.gangs[gang].executor_came(Some(bound_ms));
            self.settle(gang);
        }
    }

    /// Keeps room for the executor (or any other pod) on the node: a slot of its gang's, or unreserved room.
    pub(crate) fn assume(&mut self, id: PodId, node: NodeId, seat: Seat, now_ms: i64) {
        self.vacate(id, now_ms);
        let until_ms = now_ms.saturating_add(self.config.assume_ms);
        self.sit(id, node, seat == Seat::Slot, |seat| Place::Assumed {
            node,
            seat,
            until_ms,
            binding: false,
        });
        if let Some(gang) = self.pods.all[id].gang() {
            self.gangs.touch(gang);
        }
        self.client_moved(id);
        self.assumed.insert((until_ms, id));
        self.wake_ms = Some(self.wake_ms.map_or(until_ms, |known| known.min(until_ms)));
    }

    /// Gives the pod, which has no place, one on the node: a slot of its gang's, if it may have one and there is one.
    fn sit(&mut self, id: PodId, node: NodeId, may_slot: bool, place: impl Fn(Seat) -> Place) {
        let entry = &mut self.pods.all[id];
        let gang = entry.gang().filter(|_| may_slot);
        if let Some(gang) = gang
            && self.gangs[gang].slots.hand_over(&mut self.nodes, node, entry.charge())
        {
            entry.inherit(place(Seat::Slot), &mut self.nodes);
            return;
        }
        // The new charge first: a node without any charge may be forgotten.
        entry.put(place(Seat::Extra), &mut self.nodes);
        if gang.is_some_and(|gang| self.gangs[gang].slots.take(&mut self.nodes, node)) {
            // On the same node nothing more is charged.
            entry.put(place(Seat::Slot), &mut self.nodes);
        }
    }

    /// The pod takes no room any more; a slot goes back to its gang.
    pub(crate) fn vacate(&mut self, id: PodId, now_ms: i64) {
        let entry = &mut self.pods.all[id];
        let (place, gang) = (entry.place, entry.gang());
        let Some((node, seat)) = entry.seat() else { return };
        // The slot's charge comes before the pod's goes: a node without any charge may be forgotten.
        if let (Seat::Slot, Some(gang)) = (seat, gang) {
            self.gangs[gang].slots.give_back(&mut self.nodes, node);
            // Others may have come meanwhile who keep the next one away.
            self.doubt(gang);
        }
        let entry = &mut self.pods.all[id];
        entry.put(Place::Nowhere, &mut self.nodes);
        self.client_moved(id);
        let entry = &self.pods.all[id];
        let bound_ms = entry.executor().and_then(|executor| executor.bound_ms);
        if let Some(gang) = gang {
            if matches!(place, Place::Bound { .. }) {
                self.gangs[gang].executor_went(bound_ms, now_ms);
            }
            self.settle(gang);
        }
    }

    /// Executors that sit beside the slots take over slots that miss a node, and for a job of fixed size also free ones:
    /// it never asks for more executors, so the free ones would be kept for nobody.
    pub(crate) fn settle(&mut self, id: GangId) {
        let fixed = self.gangs[id].shape.as_ref().is_some_and(|shape| !shape.dynamic);
        self.seat_extras(id, fixed);
    }

    /// The same, with dynamic allocation only once a slot has been free for a while: an executor that was lost comes again
    /// at once, and one that the job gave up does not. Then an executor beside the slots counts for the minimum, and the
    /// room of the slot is for everybody.
    pub(crate) fn compact(&mut self, turn: &mut Turn) {
        self.attend();
        let idle = |gang: &Gang| {
            let taken: u64 = gang.slots.groups.iter().map(|group| group.taken).sum();
            gang.is_bound() && gang.slots.free() > 0 && gang.sums.bound > taken
        };
        let ids = self.attention.reserving.iter().copied();
        let ids: BTreeSet<GangId> = ids.filter(|&id| idle(&self.gangs[id])).collect();
        self.idle.retain(|id, _| ids.contains(id));
        for id in ids {
            let since_ms = *self.idle.entry(id).or_insert(turn.now_ms);
            if turn.is_due(since_ms, self.config.compact_after_ms) {
                self.seat_extras(id, true);
            }
        }
    }

    fn seat_extras(&mut self, id: GangId, take_free: bool) {
        let gang = &mut self.gangs[id];
        let wanted = gang.slots.missing + if take_free { gang.slots.free() } else { 0 };
        let taken: u64 = gang.slots.groups.iter().map(|group| group.taken).sum();
        if !gang.is_bound() || wanted == 0 || gang.sums.bound <= taken {
            return;
        }
        for &executor in &gang.executors {
            let entry = &mut self.pods.all[executor];
            let Place::Bound {
                node,
                seat: seat @ Seat::Extra,
            } = &mut entry.place
            else {
                continue;
            };
            if entry.deleting {
                continue;
            }
            if gang.slots.missing > 0 {
                gang.slots.missing -= 1;
            } else {
                let free = gang
                    .slots
                    .groups
                    .iter()
                    .rev()
                    .find(|group| group.free() > 0)
                    .filter(|_| take_free);
                let Some(free) = free.copied() else { break };
                gang.slots.cut(&mut self.nodes, free.node, 1);
            }
            *seat = Seat::Slot;
            gang.slots.add_taken(*node);
        }
    }

    /// Puts executors that have no slot on those of a plan that has just been taken over: the bound ones first, by number.
    pub(crate) fn reseat(&mut self, id: GangId) {
        let mut executors: Vec<PodId> = self.gangs[id].executors.iter().copied().collect();
        executors.sort_by_key(|&executor| {
            let entry = &self.pods.all[executor];
            (
                !entry.is_bound(),
                entry.executor().map(|executor| executor.number),
                executor,
            )
        });
        for executor in executors {
            let entry = &mut self.pods.all[executor];
            let (Place::Assumed { node, seat, .. } | Place::Bound { node, seat }) = &mut entry.place else {
                continue;
            };
            if *seat == Seat::Slot {
                continue;
            }
            let slot = self.gangs[id].slots.take(&mut self.nodes, *node);
            *seat = if slot { Seat::Slot } else { Seat::Extra };
        }
        self.settle(id);
    }

    /// The first executor tells what executors really request (sidecars, other webhooks): free slots keep as much. Those of
    /// a stage's own size tell nothing of the others.
    pub(crate) fn correct(&mut self, id: GangId) {
        let gang = &self.gangs[id];
        if gang.corrected || gang.shape.is_none() || !gang.is_bound() {
            return;
        }
        let number = |&id: &PodId| {
            self.pods.all[id]
                .executor()
                .map_or(u64::MAX, |executor| executor.number)
        };
        let usual = |id: &PodId| self.pods.all[*id].executor().is_some_and(|executor| executor.is_usual);
        let Some(first) = gang.executors.iter().copied().filter(usual).min_by_key(number) else {
            return;
        };
        let gang = &mut self.gangs[id];
        gang.corrected = true;
        let pod = &self.pods.all[first];
        if gang.slots.request != pod.requests || gang.slots.ports != pod.ports {
            gang.slots.resize(&mut self.nodes, &pod.requests, &pod.ports);
        }
    }
}

fn set(set: &mut BTreeSet<PodId>, id: PodId, member: bool) {
    if member {
        set.insert(id);
    } else {
        set.remove(&id);
    }
}
