//! A gang's executor slots: how many on which node, how many of them hold an executor, how many lack a node.
//!
//! Free slots are charged to their node; a slot that holds an executor is charged by the executor itself.

use kompass_core::Resources;

use crate::nodes::{Charge, NodeId, Nodes, Owner};
use crate::terms::{Count, KindId};

/// Slots of one gang.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots {
    pub(crate) groups: Vec<Group>,
    /// Slots of the minimum that have no room at present.
    pub(crate) missing: u64,
    /// What each free slot keeps.
    pub(crate) request: Resources,
    /// Host ports that each free slot keeps.
    pub(crate) ports: Box<[u16]>,
    /// Of which kind the pods are that the free slots are kept for.
    pub(crate) kind: KindId,
    /// Free slots of all groups.
    free: u64,
}

/// Slots on one node. The total is above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) node: NodeId,
    pub(crate) total: u64,
    pub(crate) taken: u64,
}

impl Group {
    pub(crate) fn free(&self) -> u64 {
        self.total - self.taken
    }
}

impl Slots {
    /// All slots, the missing ones too.
    pub(crate) fn total(&self) -> u64 {
        self.groups.iter().map(|group| group.total).sum::<u64>() + self.missing
    }

    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    pub(crate) fn free_on(&self, node: NodeId) -> u64 {
        self.group(node).map_or(0, Group::free)
    }

    pub(crate) fn group(&self, node: NodeId) -> Option<&Group> {
        self.groups.iter().find(|group| group.node == node)
    }

    /// Reserves `count` more slots on the node.
    pub(crate) fn reserve(&mut self, nodes: &mut Nodes, node: NodeId, count: u64) {
        if count > 0 {
            nodes.charge(node, self.charge(), count);
            self.group_mut(node).total += count;
            self.free += count;
        }
    }

    /// Reserves what a packing has found, where there were no slots before.
    pub(crate) fn seed(&mut self, nodes: &mut Nodes, found: &[(NodeId, u64)]) {
        for &(node, count) in found {
            nodes.charge(node, self.charge(), count);
            self.groups.push(Group {
                node,
                total: count,
                taken: 0,
            });
            self.free += count;
        }
    }

    /// Adds a slot that holds an executor already.
    pub(crate) fn add_taken(&mut self, node: NodeId) {
        let group = self.group_mut(node);
        group.total += 1;
        group.taken += 1;
    }

    /// Gives a free slot of the node to an executor, which has to be charged by the caller. Tells whether there was one.
    pub(crate) fn take(&mut self, nodes: &mut Nodes, node: NodeId) -> bool {
        let taken = self.occupy(node);
        if taken {
            nodes.discharge(node, self.charge(), 1);
        }
        taken
    }

    /// The same for an executor that is charged as much as the slot was: to the node nothing changes, and nobody who
    /// waits for room has to be looked at.
    pub(crate) fn hand_over(&mut self, nodes: &mut Nodes, node: NodeId, to: Charge<'_>) -> bool {
        let kind = to.kind;
        let same = self.charge() == Charge { kind: self.kind, ..to } && self.occupy(node);
        if same {
            let one = Count {
                all: 1,
                ..Count::default()
            };
            nodes.change_kind(node, self.kind, kind, one);
        }
        same
    }

    fn occupy(&mut self, node: NodeId) -> bool {
        let mut free = self.groups.iter_mut();
        let Some(group) = free.find(|group| group.node == node && group.free() > 0) else {
            return false;
        };
        group.taken += 1;
        self.free -= 1;
        true
    }

    /// An executor has left its slot (and is no longer charged): the slot is kept for another, or is missing where the
    /// node is gone.
    pub(crate) fn give_back(&mut self, nodes: &mut Nodes, node: NodeId) {
        let Some(group) = self
            .groups
            .iter_mut()
            .find(|group| group.node == node && group.taken > 0)
        else {
            return;
        };
        group.taken -= 1;
        if nodes.node(node).is_some() {
            self.free += 1;
            nodes.charge(node, self.charge(), 1);
        } else {
            group.total -= 1;
            self.missing += 1;
            self.tidy();
        }
    }

    /// Takes up to `count` free slots of the node away, for good. Returns how many.
    pub(crate) fn cut(&mut self, nodes: &mut Nodes, node: NodeId, count: u64) -> u64 {
        let Some(group) = self.groups.iter_mut().find(|group| group.node == node) else {
            return 0;
        };
        let count = count.min(group.free());
        if count > 0 {
            group.total -= count;
            self.free -= count;
            nodes.discharge(node, self.charge(), count);
            self.tidy();
        }
        count
    }

    /// Like [`Self::cut`], but the slots are missing afterwards.
    pub(crate) fn lose(&mut self, nodes: &mut Nodes, node: NodeId, count: u64) -> u64 {
        let lost = self.cut(nodes, node, count);
        self.missing += lost;
        lost
    }

    /// Gives everything back; executors keep their own charge.
    pub(crate) fn clear(&mut self, nodes: &mut Nodes) {
        for group in std::mem::take(&mut self.groups) {
            if group.free() > 0 {
                nodes.discharge(group.node, self.charge(), group.free());
            }
        }
        (self.missing, self.free) = (0, 0);
    }

    /// From now on a free slot keeps this much, and these host ports.
    pub(crate) fn resize(&mut self, nodes: &mut Nodes, request: &Resources, ports: &[u16]) {
        for group in self.groups.iter().filter(|group| group.free() > 0) {
            nodes.charge(group.node, charge(request, ports, self.kind), group.free());
            nodes.discharge(group.node, self.charge(), group.free());
        }
        self.request.clone_from(request);
        if *self.ports != *ports {
            self.ports = ports.into();
        }
    }

    /// From now on free slots are kept for pods of this kind.
    pub(crate) fn keep_for(&mut self, nodes: &mut Nodes, kind: KindId) {
        for group in self.groups.iter().filter(|group| group.free() > 0) {
            let free = Count {
                all: group.free(),
                ..Count::default()
            };
            nodes.change_kind(group.node, self.kind, kind, free);
        }
        self.kind = kind;
    }

    fn charge(&self) -> Charge<'_> {
        charge(&self.request, &self.ports, self.kind)
    }

    fn group_mut(&mut self, node: NodeId) -> &mut Group {
        let at = self
            .groups
            .iter()
            .position(|group| group.node == node)
            .unwrap_or_else(|| {
                self.groups.push(Group {
                    node,
                    total: 0,
                    taken: 0,
                });
                self.groups.len() - 1
            });
        &mut self.groups[at]
    }

    fn tidy(&mut self) {
        self.groups.retain(|group| group.total > 0);
    }
}

fn charge<'a>(request: &'a Resources, ports: &'a [u16], kind: KindId) -> Charge<'a> {
    Charge {
        requests: request,
        ports,
        owner: Owner::Ours,
        kind,
    }
}
