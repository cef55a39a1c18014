//! Nodes that are alike: the same room, zone, taints and use. A large cluster has thousands of nodes and some hundreds of
//! kinds of them, and to a gang without rules about labels the nodes of a kind are all the same: the packing looks at the
//! kinds.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use super::{NodeId, Room};

/// Below this much free CPU, thousandths, a node is in no batch: pods that ask for less are looked after node by node.
pub(crate) const LEAST_CPU_MILLI: u64 = 100;

/// What lies alike, besides the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lie {
    pub(crate) zone: u32,
    /// Equal for nodes of equal taints.
    pub(crate) taints: u32,
    pub(crate) in_use: bool,
}

/// Nodes that are alike.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) lie: Lie,
    /// Of each; pods no more than could ever matter.
    pub(crate) room: Room,
    /// In order: which of them is taken does not depend on how they came here.
    pub(crate) nodes: Vec<NodeId>,
}

/// All batches.
#[derive(Debug, Default)]
pub(crate) struct Alike {
    /// Those without nodes are unused.
    batches: Vec<Batch>,
    unused: Vec<u32>,
    by_hash: FxHashMap<u64, Vec<u32>>,
    /// By node index: its batch.
    places: Vec<Option<u32>>,
}

impl Alike {
    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter().filter(|batch| !batch.nodes.is_empty())
    }

    pub(crate) fn count(&self) -> usize {
        self.batches.len() - self.unused.len()
    }

    /// The node has this much room now.
    pub(crate) fn change(&mut self, node: NodeId, lie: Lie, room: &Room) {
        if self.places.len() <= node.index() {
            self.places.resize(node.index() + 1, None);
        }
        let cpu_milli = room.resources.cpu_milli;
        // A batch's pods ask for `LEAST_CPU_MILLI` at least, so that more pods than this have no room anyway. Without the
        // bound nodes of equal room would differ by pods that ask for nothing.
        let pods = room.pods.min(cpu_milli / LEAST_CPU_MILLI + 1);
        let same =
            |batch: &Batch| batch.lie == lie && batch.room.pods == pods && batch.room.resources == room.resources;
        if let Some(batch) = self.places[node.index()] {
            if same(&self.batches[batch as usize]) {
                return;
            }
            self.leave(node);
        }
        if cpu_milli < LEAST_CPU_MILLI || pods == 0 {
            return;
        }
        let hash = hash(lie, pods, room);
        let known = self.by_hash.entry(hash).or_default();
        let batch = known.iter().copied().find(|&batch| same(&self.batches[batch as usize]));
        let batch = batch.unwrap_or_else(|| {
            let batch = Batch {
                lie,
                room: Room {
                    resources: room.resources.clone(),
                    pods,
                },
                nodes: Vec::new(),
            };
            let index = if let Some(index) = self.unused.pop() {
                self.batches[index as usize] = batch;
                index
            } else {
                self.batches.push(batch);
                u32::try_from(self.batches.len() - 1).expect("fewer than 2^32 nodes")
            };
            known.push(index);
            index
        });
        let nodes = &mut self.batches[batch as usize].nodes;
        let at = nodes.partition_point(|&known| known < node);
        nodes.insert(at, node);
        self.places[node.index()] = Some(batch);
    }

    fn leave(&mut self, node: NodeId) {
        let Some(batch) = self.places[node.index()].take() else {
            return;
        };
        let nodes = &mut self.batches[batch as usize].nodes;
        if let Ok(at) = nodes.binary_search(&node) {
            nodes.remove(at);
        }
        if nodes.is_empty() {
            self.forget(batch);
        }
    }

    fn forget(&mut self, batch: u32) {
        self.unused.push(batch);
        let gone = &self.batches[batch as usize];
        let hash = hash(gone.lie, gone.room.pods, &gone.room);
        if let Some(listed) = self.by_hash.get_mut(&hash) {
            listed.retain(|&index| index != batch);
            if listed.is_empty() {
                self.by_hash.remove(&hash);
            }
        }
    }
}

fn hash(lie: Lie, pods: u64, room: &Room) -> u64 {
    let mut hasher = FxHasher::default();
    lie.hash(&mut hasher);
    pods.hash(&mut hasher);
    room.resources.hash(&mut hasher);
    hasher.finish()
}
