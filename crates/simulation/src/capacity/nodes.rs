//! The nodes of a replay, and where the members of gangs are placed: best fit by dominant share.

use std::collections::{BTreeSet, VecDeque};

use kompass_capacity::{Members, Shape};

use super::queue::fit;

/// A busy node in the order in which room is looked for: the most used first. Nodes with the same use are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// Parts of the node that are free by its dominant share.
    free: u64,
    cpu_milli: u64,
    memory_mib: u64,
    node: u32,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Requested by its pods.
    cpu_milli: u64,
    memory_mib: u64,
    pods: u64,
    asked_ms: i64,
    /// Since when it was empty before the pods that it has.
    empty_ms: i64,
}

/// Pods of one gang on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The node's number, counted over the replay.
    pub node: u32,
    /// How many pods.
    pub pods: u64,
    /// What each requests.
    pub cpu_milli: u64,
    /// What each requests.
    pub memory_mib: u64,
}

/// Free room of so many nodes that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) cpu_milli: u64,
    pub(super) memory_mib: u64,
    pub(super) nodes: u64,
}

/// All nodes that there are at a moment of a replay.
#[derive(Debug)]
pub(super) struct Nodes {
    shape: Shape,
    /// Every node that there ever was, by its number.
    all: Vec<Node>,
    /// With pods, but for those that are full where [`Self::full_are_of_use`] is not set.
    busy: BTreeSet<Key>,
    /// Whether a pod may fit on a node of which one resource is all requested, because it requests none of that.
    full_are_of_use: bool,
    /// Ready and without pods, with the time since when; that of the longest is first.
    empty: VecDeque<(i64, u32)>,
    /// Asked for, with the time at which they will be ready.
    launching: VecDeque<(i64, u32)>,
    /// Pods that running gangs have.
    placed: Vec<Placed>,
}

impl Nodes {
    /// None yet. `full_are_of_use` says whether there are pods that request none of a resource.
    pub(super) const fn new(shape: Shape, full_are_of_use: bool) -> Self {
        Self {
            shape,
            all: Vec::new(),
            busy: BTreeSet::new(),
            full_are_of_use,
            empty: VecDeque::new(),
            launching: VecDeque::new(),
            placed: Vec::new(),
        }
    }

    /// Ready nodes without a pod.
    pub(super) fn empty(&self) -> u64 {
        self.empty.len() as u64
    }

    /// Of the busy nodes: how many, what is free on all of them, on the one with the most, and on the next; parts of a
    /// node beside the dominant share. Full ones count where they are of use.
    pub(super) fn free_on_busy(&self) -> (u64, u64, u64, u64) {
        let mut most = self.busy.iter().rev().map(|key| key.free);
        let (first, next) = (most.next().unwrap_or(0), most.next().unwrap_or(0));
        let free = self.busy.iter().map(|key| key.free).sum();
        (self.busy.len() as u64, free, first, next)
    }

    /// Nodes that were asked for and aren't ready.
    pub(super) fn launching(&self) -> u64 {
        self.launching.len() as u64
    }

    /// Asks for a node that will be ready at a time not before that of the one asked for last; its number.
    pub(super) fn launch(&mut self, now_ms: i64, ready_ms: i64) -> u32 {
        let node = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(Node {
            cpu_milli: 0,
            memory_mib: 0,
            pods: 0,
            asked_ms: now_ms,
            empty_ms: ready_ms,
        });
        self.launching.push_back((ready_ms, node));
        node
    }

    /// When the next node will be ready.
    pub(super) fn next_ready_ms(&self) -> Option<i64> {
        self.launching.front().map(|&(ready_ms, _)| ready_ms)
    }

    /// The node that was asked for first is ready.
    pub(super) fn ready(&mut self) {
        self.empty.extend(self.launching.pop_front());
    }

    /// Gives back the node that has been empty for longest, if that is since `since_ms` or before; its number and when
    /// it was asked for.
    pub(super) fn give_back(&mut self, since_ms: i64) -> Option<(u32, i64)> {
        let &(_, node) = self.empty.front().filter(|(since, _)| *since <= since_ms)?;
        self.empty.pop_front();
        Some((node, self.all[node as usize].asked_ms))
    }

    /// When each node was asked for that has not been given back.
    pub(super) fn asked(&self) -> impl Iterator<Item = i64> {
        let busy = self.all.iter().filter(|node| node.pods > 0).map(|node| node.asked_ms);
        let empty = self.empty.iter().chain(&self.launching);
        busy.chain(empty.map(|&(_, node)| self.all[node as usize].asked_ms))
    }

    /// Places all members of a gang, each on the node with the largest dominant share on which it fits, or none. Where
    /// it is, as places in the list of all that were ever placed.
    ///
    /// Of empty nodes the one is taken that has been empty for the shortest time: so the others can be given back.
    pub(super) fn place(&mut self, members: &[Members]) -> Option<std::ops::Range<usize>> {
        let before = self.placed.len();
        for member in members {
            let mut left = member.count;
            while left > 0 {
                let Some((node, fit)) = self.best_fit(member) else {
                    // Backwards, so that nodes which were empty are so again since the same time and in the same order.
                    while self.placed.len() > before {
                        self.undo();
                    }
                    return None;
                };
                // On the fullest node a member makes it fuller still: the next one goes there too.
                let pods = fit.min(left);
                self.add(node, pods, member);
                left -= pods;
            }
        }
        Some(before..self.placed.len())
    }

    /// The pods of a gang have ended.
    pub(super) fn release(&mut self, now_ms: i64, places: std::ops::Range<usize>) {
        for place in places {
            let ended = self.placed[place];
            self.take(ended);
            if self.all[ended.node as usize].pods == 0 {
                self.empty.push_back((now_ms, ended.node));
            }
        }
    }

    /// What was placed there.
    pub(super) fn placed(&self, places: std::ops::Range<usize>) -> &[Placed] {
        &self.placed[places]
    }

    /// Free room of the ready nodes, in the order in which it is looked for; nodes on which none of `least` (CPU and
    /// memory) fits are left out. Empty nodes are last.
    pub(super) fn rooms(&self, least: (u64, u64), rooms: &mut Vec<Room>) {
        rooms.clear();
        let mut next = self.busy.first().copied();
        while let Some(key) = next {
            let state = (key.cpu_milli, key.memory_mib);
            let room = self.room(state);
            if room.0 >= least.0 && room.1 >= least.1 {
                let alike = self.busy.range(key..=last(key)).count() as u64;
                rooms.push(Room {
                    cpu_milli: room.0,
                    memory_mib: room.1,
                    nodes: alike,
                });
            }
            next = self.after(key);
        }
        rooms.push(Room {
            cpu_milli: self.shape.cpu_milli(),
            memory_mib: self.shape.memory_mib(),
            nodes: self.empty(),
        });
    }

    /// The node for a member, and how many such members fit on it.
    fn best_fit(&self, member: &Members) -> Option<(u32, u64)> {
        let mut next = self.busy.first().copied();
        while let Some(key) = next {
            let fit = fit(
                self.room((key.cpu_milli, key.memory_mib)),
                (member.cpu_milli, member.memory_mib),
            );
            if fit > 0 {
                return Some((key.node, fit));
            }
            next = self.after(key);
        }
        let &(_, node) = self.empty.back()?;
        let all = (self.shape.cpu_milli(), self.shape.memory_mib());
        Some((node, fit(all, (member.cpu_milli, member.memory_mib))))
    }

    /// The first node that is used otherwise than this one and not more.
    fn after(&self, key: Key) -> Option<Key> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.busy.range((Excluded(last(key)), Unbounded)).next().copied()
    }

    /// Free CPU and memory of a node that is used so.
    const fn room(&self, used: (u64, u64)) -> (u64, u64) {
        (self.shape.cpu_milli() - used.0, self.shape.memory_mib() - used.1)
    }

    fn key(&self, node: u32) -> Key {
        let Node {
            cpu_milli, memory_mib, ..
        } = self.all[node as usize];
        Key {
            free: self.shape.parts() - self.shape.share(cpu_milli, memory_mib),
            cpu_milli,
            memory_mib,
            node,
        }
    }

    fn add(&mut self, node: u32, pods: u64, member: &Members) {
        if self.all[node as usize].pods > 0 {
            self.unlist(node);
        } else if let Some((since_ms, _)) = self.empty.pop_back() {
            self.all[node as usize].empty_ms = since_ms;
        }
        let used = &mut self.all[node as usize];
        used.cpu_milli += pods * member.cpu_milli;
        used.memory_mib += pods * member.memory_mib;
        used.pods += pods;
        self.list(node);
        self.placed.push(Placed {
            node,
            pods,
            cpu_milli: member.cpu_milli,
            memory_mib: member.memory_mib,
        });
    }

    /// Takes pods off a node, which stays among the busy ones if others are on it.
    fn take(&mut self, placed: Placed) {
        self.unlist(placed.node);
        let used = &mut self.all[placed.node as usize];
        used.cpu_milli -= placed.pods * placed.cpu_milli;
        used.memory_mib -= placed.pods * placed.memory_mib;
        used.pods -= placed.pods;
        if used.pods > 0 {
            self.list(placed.node);
        }
    }

    /// A node may have room.
    fn list(&mut self, node: u32) {
        let key = self.key(node);
        if key.free > 0 || self.full_are_of_use {
            self.busy.insert(key);
        }
    }

    /// A node is to change.
    fn unlist(&mut self, node: u32) {
        let key = self.key(node);
        if key.free > 0 || self.full_are_of_use {
            self.busy.remove(&key);
        }
    }

    /// Takes off what was placed last.
    fn undo(&mut self) {
        if let Some(placed) = self.placed.pop() {
            self.take(placed);
            let node = self.all[placed.node as usize];
            if node.pods == 0 {
                self.empty.push_back((node.empty_ms, placed.node));
            }
        }
    }
}

/// The largest key of nodes that are used like this one.
const fn last(key: Key) -> Key {
    Key { node: u32::MAX, ..key }
}
