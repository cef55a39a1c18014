//! The nodes: what each has, what is charged to it, and what is left.
//!
//! Everything that takes room on a node is a charge: bound pods of every kind, room assumed for pods on their way, and
//! reserved slots. The sums are exact, so that a charge taken away leaves what was there before, and free room is
//! derived from them after every change. A node that is charged but not (or no longer) known stays as an entry.

use std::sync::Arc;

use kompass_core::cluster::Taint;
use kompass_core::names::ZONE_LABEL;
use kompass_core::{Constraints, Node, Resources};
use rustc_hash::FxHashMap;

use crate::classes::{ClassId, Classes};
use crate::journal::Journal;
use crate::terms::{Count, KindId, Step, Terms};

mod alike;
mod peers;
mod spread;

use self::alike::Alike;
pub(crate) use self::alike::{Batch, LEAST_CPU_MILLI, Lie};
use self::spread::Spreads;

/// Points to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u32);

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer than 2^32 nodes"))
    }
}

/// Room on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) resources: Resources,
    pub(crate) pods: u64,
}

/// Who a charge belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// KOMPASS's own: ends with its gangs.
    Ours,
    /// Pods of other schedulers: nobody knows whether they ever go.
    Foreign,
}

/// One pod's worth of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Charge<'a> {
    pub(crate) requests: &'a Resources,
    pub(crate) ports: &'a [u16],
    pub(crate) owner: Owner,
    pub(crate) kind: KindId,
}

impl Charge<'_> {
    /// As terms count it.
    fn count(&self, times: u64) -> Count {
        Count {
            all: times,
            foreign: if self.owner == Owner::Foreign { times } else { 0 },
            bound: 0,
        }
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    by_name: FxHashMap<Arc<str>, NodeId>,
    entries: Vec<Entry>,
    /// Free room by node index, zero where no pod may go.
    free: Vec<Room>,
    /// Room if all of KOMPASS's pods were gone, zero where no pod may go.
    empty: Vec<Room>,
    unused: Vec<NodeId>,
    zones: FxHashMap<String, u32>,
    taints: FxHashMap<Vec<Taint>, u32>,
    classes: Classes,
    /// Pods' rules about other pods.
    terms: Terms,
    /// Nodes of equal free room, and of equal room without KOMPASS's pods.
    alike_now: Alike,
    alike_empty: Alike,
    /// What all nodes have together.
    total: Resources,
    /// Every node, by index.
    every: Vec<NodeId>,
    /// How many nodes have how much CPU and memory free.
    spreads: Spreads,
    /// Grows whenever room may have become free.
    pub(crate) grown: u64,
    /// Changes whenever the room without KOMPASS's pods has.
    pub(crate) capacity: u64,
    /// Nodes of which anything has changed that matters to the packing.
    pub(crate) journal: Journal<NodeId>,
    /// Nodes that may have lost room or use since they were last looked at.
    worse: Vec<NodeId>,
    /// Nodes where pods may not get on with each other any more, since they were last looked at.
    doubtful: Vec<NodeId>,
}

#[derive(Debug, Default)]
struct Entry {
    name: Arc<str>,
    node: Option<Node>,
    usable: bool,
    zone: u32,
    taints: u32,
    load: Room,
    foreign: Room,
    /// Kept for pods of DaemonSets that have still to come.
    kept: Room,
    /// Set aside for executors of client mode that have still to come: no charge, and nobody else's.
    aside: Room,
    ports: Vec<u16>,
    /// Charges of KOMPASS's.
    ours: u64,
    /// Bound pods of KOMPASS's.
    bound: u64,
}

impl Nodes {
    /// The node of this name, as an empty entry where it isn't known.
    pub(crate) fn intern(&mut self, name: &str) -> NodeId {
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        let name: Arc<str> = name.into();
        let entry = Entry {
            name: name.clone(),
            ..Entry::default()
        };
        let id = self.unused.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            self.free.push(Room::default());
            self.spreads.add();
            self.empty.push(Room::default());
            self.every.push(NodeId::at(self.entries.len() - 1));
            self.terms.grow(self.entries.len());
            NodeId::at(self.entries.len() - 1)
        });
        self.entries[id.index()] = entry;
        self.by_name.insert(name, id);
        self.update_classes(id);
        self.refresh(id);
        id
    }

    /// The node of this name, if there is an entry.
    pub(crate) fn find(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    /// A node was listed, added or changed. Tells whether anything has changed.
    pub(crate) fn apply(&mut self, node: Node) -> bool {
        let id = self.intern(&node.name);
        let zones = self.zones.len();
        let zone = *self
            .zones
            .entry(node.labels.get(ZONE_LABEL).cloned().unwrap_or_default())
            .or_insert_with(|| u32::try_from(zones).unwrap_or(u32::MAX));
        let entry = &mut self.entries[id.index()];
        if entry.node.as_ref() == Some(&node) {
            return false;
        }
        let taints = self.taints.len();
        let taints = *self
            .taints
            .entry(node.taints.clone())
            .or_insert_with(|| u32::try_from(taints).unwrap_or(u32::MAX));
        entry.taints = taints;
        if let Some(before) = &entry.node {
            self.total.subtract(&before.allocatable);
        }
        self.total.add(&node.allocatable);
        entry.usable = node.ready && !node.cordoned && !node.deleting;
        entry.zone = zone;
        entry.node = Some(node);
        self.changed(id);
        true
    }

    /// A node is gone. Tells whether it was there.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let Some(id) = self.find(name) else { return false };
        let entry = &mut self.entries[id.index()];
        let was = entry.node.take();
        if let Some(node) = &was {
            self.total.subtract(&node.allocatable);
        }
        let was = was.is_some();
        entry.usable = false;
        self.changed(id);
        self.recycle(id);
        was
    }

    /// Adds a charge, `times` times.
    pub(crate) fn charge(&mut self, id: NodeId, charge: Charge<'_>, times: u64) {
        let entry = &mut self.entries[id.index()];
        entry.load.resources.add_times(charge.requests, times);
        entry.load.pods += times;
        for port in charge.ports {
            entry.ports.extend((0..times).map(|_| *port));
        }
        match charge.owner {
            Owner::Ours => entry.ours += times,
            Owner::Foreign => {
                entry.foreign.resources.add_times(charge.requests, times);
                entry.foreign.pods += times;
                self.capacity += 1;
            }
        }
        self.refresh(id);
        if self.over(id) {
            self.worse.push(id);
        }
        self.terms.count(id, charge.kind, charge.count(times), Step::Come);
        self.settle_terms();
    }

    /// Takes a charge away, `times` times.
    pub(crate) fn discharge(&mut self, id: NodeId, charge: Charge<'_>, times: u64) {
        let entry = &mut self.entries[id.index()];
        entry.load.resources.subtract_times(charge.requests, times);
        entry.load.pods = entry.load.pods.saturating_sub(times);
        for port in charge.ports {
            for _ in 0..times {
                if let Some(at) = entry.ports.iter().position(|known| known == port) {
                    entry.ports.swap_remove(at);
                }
            }
        }
        match charge.owner {
            Owner::Ours => entry.ours = entry.ours.saturating_sub(times),
            Owner::Foreign => {
                entry.foreign.resources.subtract_times(charge.requests, times);
                entry.foreign.pods = entry.foreign.pods.saturating_sub(times);
                self.capacity += 1;
            }
        }
        self.grown += 1;
        self.refresh(id);
        self.terms.count(id, charge.kind, charge.count(times), Step::Go);
        self.settle_terms();
        self.recycle(id);
    }

    /// A pod of KOMPASS's was bound to the node (`true`) or has left it.
    pub(crate) fn count_bound(&mut self, id: NodeId, bound: bool) {
        let entry = &mut self.entries[id.index()];
        entry.bound = if bound {
            entry.bound + 1
        } else {
            entry.bound.saturating_sub(1)
        };
    }

    /// Keeps that much of the node for pods that are still to come.
    pub(crate) fn keep(&mut self, id: NodeId, room: Room) {
        let entry = &mut self.entries[id.index()];
        if entry.kept != room {
            entry.kept = room;
            self.grown += 1;
            self.capacity += 1;
            self.refresh(id);
        }
    }

    /// Sets room aside for so many executors.
    pub(crate) fn set_aside(&mut self, id: NodeId, requests: &Resources, count: u64) {
        let aside = &mut self.entries[id.index()].aside;
        aside.resources.add_times(requests, count);
        aside.pods += count;
        self.refresh(id);
    }

    /// Gives such room back. `grows`: others may have more room by that.
    pub(crate) fn give_back(&mut self, id: NodeId, requests: &Resources, count: u64, grows: bool) {
        let aside = &mut self.entries[id.index()].aside;
        aside.resources.subtract_times(requests, count);
        aside.pods = aside.pods.saturating_sub(count);
        self.grown += u64::from(grows);
        self.refresh(id);
        self.recycle(id);
    }

    /// What is set aside.
    pub(crate) fn aside(&self, id: NodeId) -> &Room {
        &self.entries[id.index()].aside
    }

    /// Whether one pod of these requests has room where so much less is set aside, host ports included.
    pub(crate) fn fits_without(&self, id: NodeId, less: &Resources, requests: &Resources, ports: &[u16]) -> bool {
        let entry = &self.entries[id.index()];
        let Some(node) = entry.open() else { return false };
        let mut aside = entry.aside.clone();
        aside.resources.subtract(less);
        aside.pods = aside.pods.saturating_sub(1);
        let mut room = Room::default();
        room.set(node, &entry.load, &entry.kept, &aside);
        room.pods > 0 && requests.fits(&room.resources) && self.ports_free(id, ports)
    }

    /// Nodes that may have become worse since the last call.
    pub(crate) fn take_worse(&mut self) -> Vec<NodeId> {
        let mut worse = std::mem::take(&mut self.worse);
        worse.sort_unstable();
        worse.dedup();
        worse
    }

    /// The node may not be able to keep what is charged to it.
    pub(crate) fn suspect(&mut self, id: NodeId) {
        self.worse.push(id);
    }

    pub(crate) fn any_worse(&self) -> bool {
        !self.worse.is_empty() || !self.doubtful.is_empty()
    }

    pub(crate) fn class_rules(&self, id: ClassId) -> &Constraints {
        self.classes.rules(id)
    }

    /// Which nodes the class allows and any pod may use, by node index.
    pub(crate) fn allowed(&self, id: ClassId) -> &[bool] {
        self.classes.allowed(id)
    }

    /// The same if all of KOMPASS's pods were gone: some more, where pods there keep others away.
    pub(crate) fn allowed_empty(&self, id: ClassId) -> &[bool] {
        self.classes.allowed_empty(id)
    }

    pub(crate) fn name(&self, id: NodeId) -> &Arc<str> {
        &self.entries[id.index()].name
    }

    /// The node object, `None` where only charges are known.
    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.entries[id.index()].node.as_ref()
    }

    /// New pods may go there.
    pub(crate) fn usable(&self, id: NodeId) -> bool {
        self.entries[id.index()].usable
    }

    pub(crate) fn zone(&self, id: NodeId) -> u32 {
        self.entries[id.index()].zone
    }

    /// KOMPASS has pods or reservations there.
    pub(crate) fn in_use(&self, id: NodeId) -> bool {
        self.entries[id.index()].ours > 0
    }

    /// Pods of KOMPASS's bound there.
    pub(crate) fn bound(&self, id: NodeId) -> u64 {
        self.entries[id.index()].bound
    }

    pub(crate) fn free(&self) -> &[Room] {
        &self.free
    }

    pub(crate) fn empty(&self) -> &[Room] {
        &self.empty
    }

    /// Nodes that are alike as far as their free room goes, without those that have next to none.
    pub(crate) fn alike_now(&self) -> impl Iterator<Item = &Batch> {
        self.alike_now.batches()
    }

    /// How many there are of these.
    pub(crate) fn kinds_now(&self) -> usize {
        self.alike_now.count()
    }

    /// The same if all of KOMPASS's pods were gone.
    pub(crate) fn alike_empty(&self) -> impl Iterator<Item = &Batch> {
        self.alike_empty.batches()
    }

    /// Whether the class asks for nothing that nodes of equal taints could differ in.
    pub(crate) fn is_plain(&self, id: ClassId) -> bool {
        let rules = self.classes.rules(id);
        rules.node_selector.is_empty() && rules.required_terms.is_none() && self.classes.peers(id).is_none()
    }

    /// One node as a slice.
    pub(crate) fn alone(&self, id: NodeId) -> &[NodeId] {
        &self.every[id.index()..=id.index()]
    }

    /// Everything charged to the node.
    pub(crate) fn load(&self, id: NodeId) -> &Room {
        &self.entries[id.index()].load
    }

    /// More is charged than the node has.
    pub(crate) fn over(&self, id: NodeId) -> bool {
        let entry = &self.entries[id.index()];
        entry
            .node
            .as_ref()
            .is_some_and(|node| !entry.load.resources.fits(&node.allocatable) || entry.load.pods > node.max_pods)
    }

    /// Whether one pod of these requests has room, host ports included.
    pub(crate) fn fits(&self, id: NodeId, requests: &Resources, ports: &[u16]) -> bool {
        let room = &self.free[id.index()];
        room.pods > 0 && requests.fits(&room.resources) && self.ports_free(id, ports)
    }

    pub(crate) fn ports_free(&self, id: NodeId, ports: &[u16]) -> bool {
        let taken = &self.entries[id.index()].ports;
        ports.iter().all(|port| !taken.contains(port))
    }

    /// The same where so many charges with the ports `own` do not count.
    pub(crate) fn ports_free_besides(&self, id: NodeId, ports: &[u16], own: &[u16], times: u64) -> bool {
        let taken = &self.entries[id.index()].ports;
        ports.iter().all(|port| {
            let own = if own.contains(port) { times } else { 0 };
            taken.iter().filter(|known| *known == port).count() as u64 <= own
        })
    }

    /// Host ports charged to the node, as often as they are.
    pub(crate) fn ports(&self, id: NodeId) -> &[u16] {
        &self.entries[id.index()].ports
    }

    /// The zone of nodes that say none, if there ever was one.
    pub(crate) fn unzoned(&self) -> Option<u32> {
        self.zones.get("").copied()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.entries.len()).map(NodeId::at)
    }

    /// What all nodes have together, whoever may use it.
    pub(crate) fn total(&self) -> &Resources {
        &self.total
    }

    /// Nodes that exist.
    pub(crate) fn count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.node.is_some()).count()
    }

    fn changed(&mut self, id: NodeId) {
        let Self { terms, entries, .. } = self;
        let node = entries[id.index()].node.as_ref();
        terms.move_node(id, |key| label(node, key));
        self.update_classes(id);
        self.settle_terms();
        self.refresh(id);
        self.grown += 1;
        self.capacity += 1;
        self.worse.push(id);
    }

    /// Whether so many such pods might fit now, by CPU and memory alone and whatever rules they have: if not, they don't.
    /// It costs the same however many nodes there are.
    pub(crate) fn may_take(&self, requests: &Resources, count: u64) -> bool {
        self.spreads.may_take(requests, count)
    }

    fn refresh(&mut self, id: NodeId) {
        self.journal.note(id);
        let entry = &self.entries[id.index()];
        let before = &self.free[id.index()].resources;
        let before = (before.cpu_milli, before.memory_bytes);
        let (free, empty) = (&mut self.free[id.index()], &mut self.empty[id.index()]);
        let nothing = Room::default();
        if let Some(node) = entry.open() {
            free.set(node, &entry.load, &entry.kept, &entry.aside);
            empty.set(node, &entry.foreign, &entry.kept, &nothing);
        } else {
            (*free, *empty) = (Room::default(), Room::default());
        }
        self.spreads.change(before, &free.resources);
        let lie = Lie {
            zone: entry.zone,
            taints: entry.taints,
            in_use: entry.ours > 0,
        };
        self.alike_now.change(id, lie, free);
        self.alike_empty.change(id, Lie { in_use: false, ..lie }, empty);
    }

    /// An entry that nothing speaks of any more is used again.
    fn recycle(&mut self, id: NodeId) {
        let entry = &self.entries[id.index()];
        let idle = entry.load.pods == 0 && entry.aside.pods == 0;
        if entry.node.is_none() && idle && self.by_name.remove(&entry.name).is_some() {
            self.unused.push(id);
        }
    }
}

/// A label of a node that may be there.
fn label<'a>(node: Option<&'a Node>, key: &str) -> Option<&'a str> {
    node?.labels.get(key).map(String::as_str)
}

impl Entry {
    /// The node, where new pods may go there.
    fn open(&self) -> Option<&Node> {
        self.node.as_ref().filter(|_| self.usable)
    }
}

impl Room {
    /// What the node has without `load`, what is kept and what is set aside.
    fn set(&mut self, node: &Node, load: &Self, kept: &Self, aside: &Self) {
        self.resources.clone_from(&node.allocatable);
        self.resources.subtract(&load.resources);
        self.pods = node.max_pods.saturating_sub(load.pods);
        for more in [kept, aside].into_iter().filter(|more| more.pods > 0) {
            self.resources.subtract(&more.resources);
            self.pods = self.pods.saturating_sub(more.pods);
        }
    }
}

#[cfg(test)]
mod tests;
