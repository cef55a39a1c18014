//! Room at a later time, as one gang sees it: gangs that end by then give theirs back, gangs that start take theirs, and
//! after each such step it is known whether the gang would fit.
//!
//! Exact for the same reason as the packing: what counts is how many executors each node takes, and how many fewer with
//! the driver on it. Both are kept as sums, so that a step costs what it touches, not the size of the cluster.

use std::collections::BTreeMap;

use kompass_core::Resources;
use rustc_hash::FxHashMap;

use crate::nodes::{NodeId, Nodes, Room};
use crate::pack::{Ask, Placement, View, capacity, pack};

/// Room by node index, most of which is as it is now: copying it costs what differs.
#[derive(Debug, Clone)]
pub(crate) struct Rooms<'a> {
    now: &'a [Room],
    changed: FxHashMap<usize, Room>,
}

impl<'a> Rooms<'a> {
    pub(crate) fn now(nodes: &'a Nodes) -> Self {
        Self {
            now: nodes.free(),
            changed: FxHashMap::default(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> &Room {
        // Nearly always nothing has changed, or only little.
        self.changed.get(&index).unwrap_or(&self.now[index])
    }

    fn get_mut(&mut self, index: usize) -> &mut Room {
        self.changed.entry(index).or_insert_with(|| self.now[index].clone())
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Outlook<'a> {
    nodes: &'a Nodes,
    ask: Ask<'a>,
    rooms: Rooms<'a>,
    /// By node: executors that it takes, and the same with the driver on it.
    takes: Vec<(u64, Option<u64>)>,
    total: u64,
    /// How many nodes cost how many executors when the driver goes there.
    losses: BTreeMap<u64, u32>,
}

impl<'a> Outlook<'a> {
    /// What the gang of `ask` sees now.
    pub(crate) fn now(nodes: &'a Nodes, ask: Ask<'a>) -> Self {
        Self::of(nodes, ask, Rooms::now(nodes))
    }

    /// What it sees where this room is free.
    pub(crate) fn of(nodes: &'a Nodes, ask: Ask<'a>, rooms: Rooms<'a>) -> Self {
        let mut outlook = Self {
            nodes,
            ask,
            rooms,
            takes: vec![(0, None); nodes.free().len()],
            total: 0,
            losses: BTreeMap::new(),
        };
        for index in 0..nodes.free().len() {
            outlook.count(index);
        }
        outlook
    }

    /// So many pods of these requests leave the node.
    pub(crate) fn give(&mut self, node: NodeId, requests: &Resources, count: u64) {
        // Where no pod may go there is no room to be had.
        if count > 0 && self.nodes.usable(node) {
            let room = self.rooms.get_mut(node.index());
            room.resources.add_times(requests, count);
            room.pods += count;
            self.count(node.index());
        }
    }

    /// So many pods of these requests come to the node.
    pub(crate) fn take(&mut self, node: NodeId, requests: &Resources, count: u64) {
        if count > 0 {
            let room = self.rooms.get_mut(node.index());
            room.resources.subtract_times(requests, count);
            room.pods = room.pods.saturating_sub(count);
            self.count(node.index());
        }
    }

    /// The room.
    pub(crate) fn into_rooms(self) -> Rooms<'a> {
        self.rooms
    }

    /// Where the gang would go.
    pub(crate) fn place(&self) -> Option<Placement> {
        let ask = Ask {
            room: View::Then(&self.rooms),
            ..self.ask
        };
        pack(self.nodes, &ask)
    }

    /// Whether the gang would fit.
    pub(crate) fn fits(&self) -> bool {
        if self.ask.driver.is_none() {
            return self.total >= self.ask.count;
        }
        let least = self.losses.first_key_value().map(|(&loss, _)| loss);
        least.is_some_and(|loss| self.total - loss >= self.ask.count)
    }

    /// Counts a node anew.
    fn count(&mut self, index: usize) {
        let (takes, beside) = capacity(self.nodes, &self.ask, NodeId::at(index), self.rooms.get(index));
        let (old_takes, old_beside) = std::mem::replace(&mut self.takes[index], (takes, beside));
        self.total = self.total - old_takes + takes;
        if let Some(old_beside) = old_beside
            && let Some(nodes) = self.losses.get_mut(&(old_takes - old_beside))
        {
            *nodes -= 1;
            if *nodes == 0 {
                self.losses.remove(&(old_takes - old_beside));
            }
        }
        if let Some(beside) = beside {
            *self.losses.entry(takes - beside).or_insert(0) += 1;
        }
    }
}
