//! Markers: empty nodes of a plan are kept from being taken away until an executor comes.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use crate::action::Action;
use crate::decide::{Turn, WRITE_MS};
use crate::gang::GangId;
use crate::nodes::NodeId;
use crate::planner::{Planner, Target};
use crate::pods::{Kind, PodId};

impl Planner {
    /// Places markers where they lack, and removes those that are no longer needed.
    pub(crate) fn keep_nodes(&mut self, turn: &mut Turn) {
        self.attend();
        let wanted = if self.config.markers {
            self.bare_nodes(turn)
        } else {
            BTreeMap::new()
        };
        let mut seen: FxHashSet<NodeId> = FxHashSet::default();
        for id in self.markers.iter().copied().collect::<Vec<PodId>>() {
            let pod = &self.pods.all[id];
            let node = pod.seat().map(|seat| seat.0);
            match node {
                Some(node) if !pod.deleting && wanted.contains_key(&node) && !seen.contains(&node) => {
                    seen.insert(node);
                }
                _ => self.remove_marker(id, turn),
            }
        }
        for id in self.attention.marking.iter().copied().collect::<Vec<_>>() {
            self.gangs[id]
                .markers
                .retain(|node, _| wanted.get(node) == Some(&id) && !seen.contains(node));
        }
        for (node, id) in wanted {
            let asked = self.gangs[id].markers.get(&node).copied();
            if seen.contains(&node) || asked.is_some_and(|(_, at_ms)| !turn.is_due(at_ms, WRITE_MS)) {
                continue;
            }
            if turn.orders.len() >= self.config.orders_per_decide {
                turn.again = true;
                break;
            }
            let gang = self.pods.reference(self.gangs[id].driver);
            let action = Action::PlaceMarker {
                gang,
                node: self.nodes.name(node).to_string(),
            };
            let target = Target::Marker(self.gangs.uid(id).clone(), node);
            let order = self.order(turn, action, Some(target));
            self.gangs[id].markers.insert(node, (order, turn.now_ms));
            turn.wake_at(turn.now_ms.saturating_add(WRITE_MS));
        }
    }

    fn remove_marker(&mut self, id: PodId, turn: &mut Turn) {
        let pod = &mut self.pods.all[id];
        let Kind::Marker { asked_ms } = &mut pod.kind else {
            return;
        };
        if !pod.deleting && asked_ms.is_none_or(|at_ms| turn.is_due(at_ms, WRITE_MS)) {
            *asked_ms = Some(turn.now_ms);
            turn.wake_at(turn.now_ms.saturating_add(WRITE_MS));
            let marker = self.pods.reference(id);
            self.order(turn, Action::RemoveMarker { marker }, None);
        }
    }

    /// Nodes where a gang has room reserved and no pod of KOMPASS's is bound, each with one such gang.
    fn bare_nodes(&self, turn: &mut Turn) -> BTreeMap<NodeId, GangId> {
        let mut bare = BTreeMap::new();
        for &id in &self.attention.reserving {
            let gang = &self.gangs[id];
            let Some(held) = gang.held else { continue };
            if !turn.is_due(held.planned_ms, self.config.marker_after_ms) {
                continue;
            }
            let driver = (!gang.is_bound()).then_some(held.node);
            let slots = gang
                .slots
                .groups
                .iter()
                .filter(|group| group.free() > 0)
                .map(|group| group.node);
            for node in driver.into_iter().chain(slots) {
                if self.nodes.bound(node) == 0 && self.nodes.usable(node) {
                    bare.entry(node).or_insert(id);
                }
            }
        }
        bare
    }
}
