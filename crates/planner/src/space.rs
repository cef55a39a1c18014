//! Free room: of one node, wherever it is kept, and of all nodes at some time.

use std::sync::Arc;

use kompass_core::Resources;

use crate::nodes::{NodeId, Nodes, Room};

/// Free room on one node.
pub(crate) trait Space {
    fn cpu_milli(&self) -> u64;
    fn memory_bytes(&self) -> u64;
    fn pods(&self) -> u64;
    /// Units of an extended resource.
    fn units(&self, name: &str) -> u64;

    /// Whether the requests of a pod fit.
    #[inline]
    fn holds(&self, requests: &Resources) -> bool {
        let mut extended = requests.extended.iter();
        requests.cpu_milli <= self.cpu_milli()
            && requests.memory_bytes <= self.memory_bytes()
            && extended.all(|(name, &units)| units <= self.units(name))
    }
}

impl Space for Room {
    #[inline]
    fn cpu_milli(&self) -> u64 {
        self.resources.cpu_milli
    }

    #[inline]
    fn memory_bytes(&self) -> u64 {
        self.resources.memory_bytes
    }

    #[inline]
    fn pods(&self) -> u64 {
        self.pods
    }

    #[inline]
    fn units(&self, name: &str) -> u64 {
        self.resources.units(name)
    }
}

impl<T: Space> Space for &T {
    #[inline]
    fn cpu_milli(&self) -> u64 {
        (**self).cpu_milli()
    }

    #[inline]
    fn memory_bytes(&self) -> u64 {
        (**self).memory_bytes()
    }

    #[inline]
    fn pods(&self) -> u64 {
        (**self).pods()
    }

    #[inline]
    fn units(&self, name: &str) -> u64 {
        (**self).units(name)
    }
}

/// Room of all nodes, as numbers that are quick to copy.
#[derive(Debug, Clone)]
pub(crate) struct Spaces {
    /// The extended resources that any node has, in order.
    names: Arc<[Box<str>]>,
    /// By node: CPU, memory, pods, and units by name. Below zero where more was taken than there was.
    cells: Vec<i64>,
}

/// One row of [`Spaces`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    names: &'a [Box<str>],
    cells: &'a [i64],
}

/// Columns before those of extended resources.
const FIXED: usize = 3;

impl Spaces {
    /// What is free now.
    pub(crate) fn now(nodes: &Nodes) -> Self {
        let names: Arc<[Box<str>]> = nodes.total().extended.keys().map(|name| (**name).into()).collect();
        let mut cells = Vec::with_capacity(nodes.free().len() * (FIXED + names.len()));
        for room in nodes.free() {
            cells.extend((0..FIXED + names.len()).map(|at| column(&names, room, at)));
        }
        Self { names, cells }
    }

    /// Whether no node has come with another resource.
    pub(crate) fn covers(&self, nodes: &Nodes) -> bool {
        let names = nodes.total().extended.keys().map(String::as_str);
        names.eq(self.names.iter().map(|name| &**name))
    }

    /// No room on nodes that came since.
    pub(crate) fn grow(&mut self, nodes: &Nodes) {
        self.cells.resize(nodes.free().len() * self.width(), 0);
    }

    pub(crate) fn get(&self, index: usize) -> Row<'_> {
        let width = self.width();
        Row {
            names: &self.names,
            cells: &self.cells[index * width..(index + 1) * width],
        }
    }

    /// So many pods of these requests leave the node.
    pub(crate) fn give(&mut self, node: NodeId, requests: &Resources, count: u64) {
        self.shift(node, requests, cell(count));
    }

    /// So many pods of these requests come to the node.
    pub(crate) fn take(&mut self, node: NodeId, requests: &Resources, count: u64) {
        self.shift(node, requests, -cell(count));
    }

    /// The node has as much more as it has now and had not in `before`, which is brought up to date.
    pub(crate) fn follow(&mut self, before: &mut Self, node: NodeId, now: &Room) {
        let width = self.width();
        let range = node.index() * width..(node.index() + 1) * width;
        let cells = self.cells[range.clone()].iter_mut().zip(&mut before.cells[range]);
        for (at, (cell, before)) in cells.enumerate() {
            let now = column(&self.names, now, at);
            *cell = cell.saturating_add(now.saturating_sub(*before));
            *before = now;
        }
    }

    fn shift(&mut self, node: NodeId, requests: &Resources, times: i64) {
        let width = self.width();
        let cells = &mut self.cells[node.index() * width..(node.index() + 1) * width];
        let mut add = |at: usize, amount: i64| cells[at] = cells[at].saturating_add(amount.saturating_mul(times));
        add(0, cell(requests.cpu_milli));
        add(1, cell(requests.memory_bytes));
        add(2, 1);
        if !requests.extended.is_empty() {
            for (at, name) in self.names.iter().enumerate() {
                add(FIXED + at, cell(requests.units(name)));
            }
        }
    }

    fn width(&self) -> usize {
        FIXED + self.names.len()
    }
}

impl Space for Row<'_> {
    #[inline]
    fn cpu_milli(&self) -> u64 {
        amount(self.cells[0])
    }

    #[inline]
    fn memory_bytes(&self) -> u64 {
        amount(self.cells[1])
    }

    #[inline]
    fn pods(&self) -> u64 {
        amount(self.cells[2])
    }

    #[inline]
    fn units(&self, name: &str) -> u64 {
        let at = self.names.binary_search_by(|known| (**known).cmp(name));
        at.map_or(0, |at| amount(self.cells[FIXED + at]))
    }
}

/// What a room has of the resource of a column.
fn column(names: &[Box<str>], room: &Room, at: usize) -> i64 {
    cell(match at {
        0 => room.resources.cpu_milli,
        1 => room.resources.memory_bytes,
        2 => room.pods,
        _ => room.resources.units(&names[at - FIXED]),
    })
}

fn cell(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn amount(cell: i64) -> u64 {
    u64::try_from(cell).unwrap_or(0)
}
