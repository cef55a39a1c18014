//! Room at a later time, as one gang sees it: gangs that end by then give theirs back, gangs that start take theirs, and
//! after each such step it is known whether the gang would fit.
//!
//! Exact for the same reason as the packing: what counts is how many executors each node takes, and how many fewer with
//! the driver on it. Both are kept as sums, so that a step costs what it touches, not the size of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use kompass_core::{Resources, Spacing};

use crate::classes::ClassId;
use crate::config::{Packing, Zones};
use crate::gang::GangId;
use crate::nodes::{NodeId, Nodes};
use crate::pack::{Ask, DriverAsk, Placement, View, capacity, pack};
use crate::planner::Planner;
use crate::space::Spaces;

/// What a gang without a bound driver asks of the packing, to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    driver: Resources,
    ports: Box<[u16]>,
    driver_class: ClassId,
    avoid: Option<NodeId>,
    executor: Resources,
    class: Option<ClassId>,
    spacing: Option<Arc<Spacing>>,
    count: u64,
    packing: Packing,
}

impl Wanted {
    fn ask<'a>(&'a self, room: View<'a>) -> Ask<'a> {
        Ask {
            driver: Some(DriverAsk {
                requests: &self.driver,
                ports: &self.ports,
                class: self.driver_class,
                among: None,
                avoid: self.avoid,
            }),
            executor: &self.executor,
            class: self.class,
            spacing: self.spacing.as_deref(),
            held: &[],
            driver_at: None,
            count: self.count,
            partial: false,
            near: None,
            room,
            zone: None,
            packing: self.packing,
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Outlook {
    wanted: Wanted,
    rooms: Spaces,
    tally: Tally,
}

impl Outlook {
    /// What the gang sees where this room is free.
    pub(crate) fn new(nodes: &Nodes, wanted: Wanted, rooms: Spaces) -> Self {
        let mut outlook = Self {
            wanted,
            rooms,
            tally: Tally::default(),
        };
        outlook.grow(nodes);
        outlook.count_each(nodes, 0..nodes.free().len());
        outlook
    }

    /// What it asks for.
    pub(crate) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub(crate) fn rooms_mut(&mut self) -> &mut Spaces {
        &mut self.rooms
    }

    /// The room.
    pub(crate) fn rooms(&self) -> &Spaces {
        &self.rooms
    }

    pub(crate) fn into_rooms(self) -> Spaces {
        self.rooms
    }

    /// Nodes may have come since.
    pub(crate) fn grow(&mut self, nodes: &Nodes) {
        self.rooms.grow(nodes);
        self.tally.nodes.resize(nodes.free().len(), Takes::NOTHING);
    }

    /// So many pods of these requests leave the node.
    pub(crate) fn give(&mut self, nodes: &Nodes, node: NodeId, requests: &Resources, count: u64) {
        if count > 0 {
            self.rooms.give(node, requests, count);
            self.count(nodes, node.index());
        }
    }

    /// So many pods of these requests come to the node.
    pub(crate) fn take(&mut self, nodes: &Nodes, node: NodeId, requests: &Resources, count: u64) {
        if count > 0 {
            self.rooms.take(node, requests, count);
            self.count(nodes, node.index());
        }
    }

    /// Where the gang would go.
    pub(crate) fn place(&self, nodes: &Nodes) -> Option<Placement> {
        pack(nodes, &self.wanted.ask(View::Then(&self.rooms)))
    }

    /// Whether the gang would fit.
    pub(crate) fn fits(&self, nodes: &Nodes) -> bool {
        let least = self.tally.losses.first_key_value().map(|(&loss, _)| loss);
        let zonal = || {
            self.wanted.packing.zones() == Zones::One
                || self.wanted.spacing.as_ref().is_some_and(|spacing| spacing.is_zonal())
        };
        // What all nodes take together says nothing about zones.
        least.is_some_and(|loss| self.tally.total - loss >= self.wanted.count)
            && (!zonal() || self.place(nodes).is_some())
    }

    /// Counts a node anew.
    pub(crate) fn count(&mut self, nodes: &Nodes, index: usize) {
        self.count_each(nodes, index..=index);
    }

    fn count_each(&mut self, nodes: &Nodes, indices: impl IntoIterator<Item = usize>) {
        // Host ports as they are now: nothing tells who leaves them free.
        let ask = self.wanted.ask(View::Now(None));
        for index in indices {
            let (takes, beside) = capacity(nodes, &ask, NodeId::at(index), &self.rooms.get(index));
            self.tally.set(index, Takes::new(takes, beside));
        }
    }
}

/// How many executors of one size would fit now beside their driver, kept between decisions. For gangs without rules about
/// each other.
#[derive(Debug)]
pub(crate) struct Fits {
    wanted: Wanted,
    tally: Tally,
    /// Of the journal of nodes, so many entries are seen.
    seen: u64,
}

impl Fits {
    /// More executors than any gang has; sums of it for all nodes are far from the end of numbers.
    const ANY: u64 = 1 << 32;

    /// For gangs that want the same but for the count.
    pub(crate) fn new(nodes: &Nodes, wanted: Wanted) -> Self {
        let mut fits = Self {
            wanted: Wanted {
                count: Self::ANY,
                ..wanted
            },
            tally: Tally::default(),
            seen: nodes.journal.seen(),
        };
        fits.count(nodes, 0..nodes.free().len());
        fits
    }

    /// Brings it up to date.
    pub(crate) fn follow(&mut self, nodes: &Nodes) {
        if let Some(changed) = nodes.journal.since(self.seen) {
            self.count(nodes, changed.map(NodeId::index));
        } else {
            self.tally = Tally::default();
            self.count(nodes, 0..nodes.free().len());
        }
        self.seen = nodes.journal.seen();
    }

    /// Whether so many executors, more than none, and their driver have no room.
    pub(crate) fn lacks(&self, count: u64) -> bool {
        let least = self.tally.losses.first_key_value().map(|(&loss, _)| loss);
        least.is_none_or(|loss| self.tally.total - loss < count)
    }

    fn count(&mut self, nodes: &Nodes, indices: impl Iterator<Item = usize>) {
        let ask = self.wanted.ask(View::Now(None));
        self.tally.nodes.resize(nodes.free().len(), Takes::NOTHING);
        for index in indices {
            let (takes, beside) = capacity(nodes, &ask, NodeId::at(index), &nodes.free()[index]);
            self.tally.set(index, Takes::new(takes, beside));
        }
    }
}

/// What a node takes. Two plain numbers, since thousands are counted at a stretch.
#[derive(Debug, Clone, Copy)]
struct Takes {
    executors: u64,
    /// How many fewer with the driver on it; [`Self::NO_DRIVER`] where it can't go there.
    loss: u64,
}

impl Takes {
    const NO_DRIVER: u64 = u64::MAX;
    const NOTHING: Self = Self {
        executors: 0,
        loss: Self::NO_DRIVER,
    };

    #[inline]
    fn new(executors: u64, beside: Option<u64>) -> Self {
        let loss = match beside {
            Some(beside) => executors - beside,
            None => Self::NO_DRIVER,
        };
        Self { executors, loss }
    }
}

/// What the nodes take.
#[derive(Debug, Clone, Default)]
struct Tally {
    /// By node.
    nodes: Vec<Takes>,
    total: u64,
    /// How many nodes cost how many executors when the driver goes there.
    losses: BTreeMap<u64, u32>,
}

impl Tally {
    fn set(&mut self, index: usize, new: Takes) {
        let old = std::mem::replace(&mut self.nodes[index], new);
        self.total = self.total - old.executors + new.executors;
        // Nearly always it is the same.
        if new.loss == old.loss {
            return;
        }
        if let Some(nodes) = self.losses.get_mut(&old.loss) {
            *nodes -= 1;
            if *nodes == 0 {
                self.losses.remove(&old.loss);
            }
        }
        if new.loss != Takes::NO_DRIVER {
            *self.losses.entry(new.loss).or_insert(0) += 1;
        }
    }
}

impl Planner {
    /// What a gang without a bound driver asks of the packing.
    pub(crate) fn wanted(&self, id: GangId) -> Wanted {
        let ask = self.ask(id, None);
        let gang = &self.gangs[id];
        let driver = &self.pods.all[gang.driver];
        Wanted {
            driver: driver.requests.clone(),
            ports: driver.ports.clone(),
            driver_class: gang.driver_class,
            avoid: gang.avoid,
            executor: ask.executor.clone(),
            class: ask.class,
            spacing: gang.shape.as_ref().and_then(|shape| shape.spacing.clone()),
            count: ask.count,
            packing: ask.packing,
        }
    }
}
