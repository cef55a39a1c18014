//! Room on fresh nodes for the pods of DaemonSets that have still to come.
//!
//! A node that has just joined looks empty. Within seconds the DaemonSets of the cluster put their pods there, and a plan
//! that has taken all of it is broken. So a fresh node keeps room for each DaemonSet that is seen on other nodes and may
//! come: what their pods ask for, by the selectors and tolerations that they have (the DaemonSet's own affinity can't be
//! seen in them, so that sometimes too much is kept for a while).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kompass_core::{Constraints, Pod, Resources};
use rustc_hash::FxHashMap;

use crate::decide::Turn;
use crate::nodes::{NodeId, Room};
use crate::planner::Planner;
use crate::pods::PodId;

/// DaemonSets that are remembered.
const DAEMONS_MAX: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Headroom {
    /// By the DaemonSet's UID.
    daemons: BTreeMap<Arc<str>, Daemon>,
    /// Their pods by UID: whose it is, and where.
    pods: FxHashMap<Box<str>, (Arc<str>, Option<NodeId>)>,
    /// Fresh nodes, and until when they are.
    fresh: BTreeMap<NodeId, i64>,
    /// DaemonSets or fresh nodes have changed.
    changed: bool,
}

/// What is known of a DaemonSet from its pods.
#[derive(Debug)]
struct Daemon {
    requests: Resources,
    rules: Constraints,
    /// How many pods it has, and on which nodes.
    pods: u64,
    nodes: FxHashMap<NodeId, u32>,
}

impl Headroom {
    /// A pod of a DaemonSet is there, and takes room on this node.
    fn see(&mut self, owner: &str, pod: &Pod, node: Option<NodeId>) {
        let owner = match self.daemons.get_key_value(owner) {
            Some((owner, _)) => owner.clone(),
            None if self.daemons.len() < DAEMONS_MAX => owner.into(),
            None => return,
        };
        // The controller has put the name of the node in place of the terms.
        let rules = Constraints {
            required_terms: None,
            ..pod.constraints.clone()
        };
        let known = self.pods.insert(pod.uid.as_str().into(), (owner.clone(), node));
        let daemon = self.daemons.entry(owner).or_insert_with(|| Daemon {
            requests: Resources::default(),
            rules: Constraints::default(),
            pods: 0,
            nodes: FxHashMap::default(),
        });
        daemon.pods += u64::from(known.is_none());
        let before = known.and_then(|known| known.1);
        if before != node {
            if let Some(node) = before {
                daemon.leave(node);
            }
            if let Some(node) = node {
                *daemon.nodes.entry(node).or_insert(0) += 1;
            }
            self.changed = true;
        }
        if daemon.requests != pod.requests || daemon.rules != rules {
            (daemon.requests, daemon.rules) = (pod.requests.clone(), rules);
            self.changed = true;
        }
    }

    fn forget(&mut self, uid: &str) {
        let Some((owner, node)) = self.pods.remove(uid) else {
            return;
        };
        let Some(daemon) = self.daemons.get_mut(&owner) else {
            return;
        };
        daemon.pods -= 1;
        if let Some(node) = node {
            daemon.leave(node);
        }
        if daemon.pods == 0 {
            self.daemons.remove(&owner);
        }
        self.changed = true;
    }
}

impl Daemon {
    fn leave(&mut self, node: NodeId) {
        if let Some(pods) = self.nodes.get_mut(&node) {
            *pods -= 1;
            if *pods == 0 {
                self.nodes.remove(&node);
            }
        }
    }
}

impl Planner {
    /// A pod was seen; those of DaemonSets tell what fresh nodes have to expect.
    pub(crate) fn daemon_seen(&mut self, id: PodId, pod: &Pod) {
        if let Some(owner) = &pod.daemon_set {
            let node = self.pods.all[id].seat().map(|seat| seat.0);
            self.headroom.see(owner, pod, node);
        }
    }

    /// A pod is gone.
    pub(crate) fn daemon_gone(&mut self, uid: &str) {
        self.headroom.forget(uid);
    }

    /// A node was seen.
    pub(crate) fn node_seen(&mut self, name: &str) {
        let Some(id) = self.nodes.find(name) else { return };
        if let Some(node) = self.nodes.node(id) {
            let until_ms = node.created_ms.saturating_add(self.config.fresh_node_ms);
            self.headroom.fresh.insert(id, until_ms);
            self.headroom.changed = true;
        }
    }

    /// Keeps room on fresh nodes for what has still to come there.
    pub(crate) fn keep_headroom(&mut self, turn: &mut Turn) {
        let now_ms = turn.now_ms;
        let Headroom { fresh, changed, .. } = &mut self.headroom;
        let old: Vec<NodeId> = fresh
            .iter()
            .filter(|&(&id, &until_ms)| until_ms <= now_ms || self.nodes.node(id).is_none())
            .map(|(&id, _)| id)
            .collect();
        for id in old {
            fresh.remove(&id);
            self.nodes.keep(id, Room::default());
        }
        if let Some(&until_ms) = fresh.values().min() {
            turn.wake_at(until_ms);
        }
        if !std::mem::take(changed) {
            return;
        }
        let fresh: BTreeSet<NodeId> = fresh.keys().copied().collect();
        for id in fresh {
            let room = self.expected_on(id);
            self.nodes.keep(id, room);
        }
    }

    /// What DaemonSets will put on a node.
    fn expected_on(&self, id: NodeId) -> Room {
        let mut room = Room::default();
        let Some(node) = self.nodes.node(id) else { return room };
        for daemon in self.headroom.daemons.values() {
            if !daemon.nodes.contains_key(&id) && daemon.rules.allow(node) {
                room.resources.add(&daemon.requests);
                room.pods += 1;
            }
        }
        room
    }
}
