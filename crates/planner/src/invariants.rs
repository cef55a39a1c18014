//! The invariants, checked against sums made anew: for tests and debug builds.

use std::collections::BTreeMap;

use kompass_core::Resources;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::gang::Stage;
use crate::nodes::{NodeId, Owner, Room};
use crate::planner::Planner;
use crate::pods::{Kind, Place, PodEntry, Seat};
use crate::terms::{Count, KindId};

impl Planner {
    /// Recomputes everything that is kept incrementally and checks the invariants. After feeding, room lost to others is
    /// only noticed by the next `decide` (or Filter) of a planner that leads; `settled` says that this has happened.
    pub fn check_invariants(&self, settled: bool) -> Result<(), String> {
        let mut loads: FxHashMap<NodeId, Room> = FxHashMap::default();
        let mut fixed: FxHashMap<NodeId, Room> = FxHashMap::default();
        let mut ports: FxHashMap<NodeId, Vec<u16>> = FxHashMap::default();
        for (_, pod) in self.pods.all.iter() {
            if let Some((node, _)) = pod.seat() {
                add(&mut loads, node, &pod.requests, 1);
                if !pod.ports.is_empty() {
                    ports.entry(node).or_default().extend(pod.ports.iter());
                }
                if pod.is_bound() || matches!(pod.place, Place::Assumed { binding: true, .. }) {
                    add(&mut fixed, node, &pod.requests, 1);
                }
            }
        }
        for (id, gang) in self.gangs.iter() {
            if let Some(node) = self.reserved_for_driver(id) {
                add(&mut loads, node, &self.pods.all[gang.driver].requests, 1);
                ports
                    .entry(node)
                    .or_default()
                    .extend(self.pods.all[gang.driver].ports.iter());
                if gang.binding().is_some() {
                    add(&mut fixed, node, &self.pods.all[gang.driver].requests, 1);
                }
            }
            for group in &gang.slots.groups {
                add(&mut loads, group.node, &gang.slots.request, group.free());
                if !gang.slots.ports.is_empty() {
                    let reserved = ports.entry(group.node).or_default();
                    for _ in 0..group.free() {
                        reserved.extend(gang.slots.ports.iter());
                    }
                }
            }
        }
        for node in self.nodes.ids() {
            let none = Room::default();
            let known = self.nodes.load(node);
            let load = loads.get(&node).unwrap_or(&none);
            ensure(load == known, || {
                format!("node {}: charged {known:?}, but {load:?}", self.nodes.name(node))
            })?;
            let mut known = self.nodes.ports(node).to_vec();
            let mut expected = ports.remove(&node).unwrap_or_default();
            known.sort_unstable();
            expected.sort_unstable();
            ensure(known == expected, || {
                format!("node {}: ports {known:?}, but {expected:?}", self.nodes.name(node))
            })?;
            let fixed = fixed.get(&node).unwrap_or(&none);
            let broken =
                |node: &kompass_core::Node| !fixed.resources.fits(&node.allocatable) || fixed.pods > node.max_pods;
            if settled && self.nodes.over(node) && !self.nodes.node(node).is_some_and(broken) {
                return Err(format!("node {}: {known:?} is more than it has", self.nodes.name(node)));
            }
        }
        self.check_peers()?;
        self.check_attention()?;
        self.check_gangs()?;
        self.check_clients()?;
        self.check_pods()
    }

    /// What is counted of each kind of pods on each node, and what classes make of it.
    fn check_peers(&self) -> Result<(), String> {
        let mut there: BTreeMap<(NodeId, KindId), Count> = BTreeMap::new();
        let mut note = |node, kind, count| there.entry((node, kind)).or_default().add(count);
        for (_, pod) in self.pods.all.iter() {
            if let Some((node, _)) = pod.seat() {
                let count = Count {
                    all: 1,
                    foreign: u64::from(pod.owner == Owner::Foreign),
                    bound: u64::from(pod.is_bound()),
                };
                note(node, pod.peer, count);
            }
        }
        for (id, gang) in self.gangs.iter() {
            let kept = |all| Count {
                all,
                ..Count::default()
            };
            if let Some(node) = self.reserved_for_driver(id) {
                note(node, self.pods.all[gang.driver].peer, kept(1));
            }
            for group in gang.slots.groups.iter().filter(|group| group.free() > 0) {
                note(group.node, gang.slots.kind, kept(group.free()));
            }
        }
        let known: BTreeMap<(NodeId, KindId), Count> = self.nodes.kinds_there().collect();
        there.retain(|(_, kind), _| *kind != KindId::NONE);
        ensure(known == there, || format!("kinds of pods: {known:?}, but {there:?}"))?;
        self.nodes.check_classes()
    }

    /// Whoever needs attention has it, or was touched since.
    fn check_attention(&self) -> Result<(), String> {
        let touched = self.gangs.touched();
        let sets = &self.attention;
        for (id, gang) in self.gangs.iter().filter(|(id, _)| !touched.contains(id)) {
            let code = self.wait_code(id);
            let open = matches!(gang.stage, Stage::Open(_) | Stage::Bound);
            let opening = matches!(gang.stage, Stage::Open(_) | Stage::Opening { .. });
            for (what, set, is) in [
                ("opening", &sets.opening, opening),
                ("unwritten", &sets.unwritten, open && self.is_unwritten(id)),
                ("lacking", &sets.lacking, gang.waiting.verdict.is_some()),
                (
                    "untold",
                    &sets.untold,
                    !gang.is_bound() && code.is_some() && code != gang.waiting.told,
                ),
            ] {
                ensure(set.contains(&id) == is, || {
                    format!("gang {}: {what} is {is}, and it is noted otherwise", self.gangs.uid(id))
                })?;
            }
            let counted = self.shares.counted(id);
            let held = self.holds(id).map(|held| (gang.queue.clone(), held));
            ensure(counted == held.as_ref(), || {
                format!(
                    "gang {}: {counted:?} is counted for its queue, and {held:?} is held",
                    self.gangs.uid(id)
                )
            })?;
            let short = gang.is_bound() && self.unplaced(id) > 0 && !self.nodes.any_worse();
            ensure(!short || sets.short.contains(&id), || {
                format!("gang {}: lacks slots unnoticed", self.gangs.uid(id))
            })?;
        }
        let gone = |id: &&crate::gang::GangId| self.gangs.get(**id).is_none() && !touched.contains(id);
        ensure(sets.opening.iter().chain(&sets.claiming).find(gone).is_none(), || {
            "a gang that is gone has attention".to_owned()
        })
    }

    fn check_gangs(&self) -> Result<(), String> {
        let mut orders = FxHashMap::default();
        for (id, gang) in self.gangs.iter() {
            let uid = self.gangs.uid(id);
            let slots = &gang.slots;
            let mut sitting: FxHashMap<NodeId, u64> = FxHashMap::default();
            for &executor in &gang.executors {
                if let Some((node, Seat::Slot)) = self.pods.all[executor].seat() {
                    *sitting.entry(node).or_default() += 1;
                }
            }
            for group in &slots.groups {
                let taken = sitting.get(&group.node).copied().unwrap_or(0);
                ensure(group.taken == taken, || {
                    format!("gang {uid}: {group:?}, but {taken} executors on it")
                })?;
                ensure(group.total >= group.taken && group.total > 0, || {
                    format!("gang {uid}: {group:?}")
                })?;
            }
            let on_slots: u64 = sitting.values().sum();
            let taken: u64 = slots.groups.iter().map(|group| group.taken).sum();
            ensure(taken == on_slots, || {
                format!("gang {uid}: {taken} slots taken, {on_slots} executors on slots")
            })?;
            let free: u64 = slots.groups.iter().map(crate::slots::Group::free).sum();
            ensure(free == slots.free(), || {
                format!("gang {uid}: {free} slots free, {} counted", slots.free())
            })?;
            let bound = gang
                .executors
                .iter()
                .filter(|&&executor| self.pods.all[executor].is_bound())
                .count() as u64;
            ensure(bound == gang.sums.bound, || {
                format!("gang {uid}: {bound} bound, {} counted", gang.sums.bound)
            })?;
            let wanted = if gang.held.is_some() { gang.minimum() } else { 0 };
            ensure(!self.synced || slots.total() == wanted, || {
                format!("gang {uid}: {} slots of {wanted}, {:?}", slots.total(), gang.stage)
            })?;
            ensure(
                slots.missing == 0 || gang.is_bound() || gang.binding().is_some(),
                || format!("gang {uid}: slots are missing before its driver is bound"),
            )?;
            let queued = orders
                .entry(gang.queue.clone())
                .or_insert_with(|| self.queues.order(&gang.queue).collect::<FxHashSet<_>>())
                .contains(&id);
            ensure(queued == (gang.stage == Stage::Waiting), || {
                format!("gang {uid}: in its queue is {queued}")
            })?;
        }
        Ok(())
    }

    fn check_pods(&self) -> Result<(), String> {
        for (id, pod) in self.pods.all.iter() {
            let uid = self.pods.all.uid(id);
            let PodEntry { kind, place, .. } = pod;
            match kind {
                Kind::Driver(Some(gang)) => {
                    ensure(self.gangs.get(*gang).is_some_and(|gang| gang.driver == id), || {
                        format!("driver {uid}: its gang does not know it")
                    })?;
                }
                Kind::Executor(executor) => {
                    let known = |gang| self.gangs.get(gang).is_some_and(|gang| gang.executors.contains(&id));
                    ensure(executor.gang.is_none_or(known), || {
                        format!("executor {uid}: its gang does not know it")
                    })?;
                    let slot = matches!(
                        place,
                        Place::Assumed { seat: Seat::Slot, .. } | Place::Bound { seat: Seat::Slot, .. }
                    );
                    ensure(!slot || executor.gang.is_some(), || {
                        format!("executor {uid}: a slot without a gang")
                    })?;
                }
                _ => {}
            }
            ensure(!pod.terminal || *place == Place::Nowhere, || {
                format!("pod {uid}: has ended and takes room")
            })?;
        }
        Ok(())
    }

    /// Room kept by anything: zero once everything has gone.
    pub fn charged(&self) -> (Resources, u64) {
        self.nodes
            .ids()
            .fold((Resources::default(), 0), |(mut sum, pods), node| {
                let load = self.nodes.load(node);
                sum.add(&load.resources);
                (sum, pods + load.pods)
            })
    }
}

fn add(loads: &mut FxHashMap<NodeId, Room>, node: NodeId, requests: &Resources, times: u64) {
    let load = loads.entry(node).or_default();
    load.resources.add_times(requests, times);
    load.pods += times;
}

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}
