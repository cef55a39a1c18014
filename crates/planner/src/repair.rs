//! Broken plans: nodes that die, shrink or are cordoned, and room that others took. What is reserved on them is given
//! up, the youngest plan first, and looked for elsewhere.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::config::Zones;
use crate::decide::Turn;
use crate::gang::{GangId, Lack};
use crate::nodes::NodeId;
use crate::pack::{Ask, View, pack};
use crate::planner::Planner;
use crate::pods::{Place, PodId, Seat};

impl Planner {
    /// Gives up what can't be kept on nodes that became worse.
    pub(crate) fn repair(&mut self, now_ms: i64) {
        for node in self.nodes.take_worse() {
            if self.nodes.node(node).is_none() {
                self.give_up_gone(node, now_ms);
            } else {
                if !self.nodes.usable(node) {
                    self.give_up_drivers(node, now_ms);
                    self.touch_holders(node);
                }
                if self.nodes.over(node) {
                    self.shed(node, now_ms);
                }
            }
        }
        self.give_up_kept_off(now_ms);
    }

    /// The node is gone: free slots on it are missing, drivers planned there have no plan.
    fn give_up_gone(&mut self, node: NodeId, now_ms: i64) {
        self.give_up_drivers(node, now_ms);
        for id in self.gangs.ids() {
            let free = self.gangs[id].slots.free_on(node);
            if free > 0 {
                self.gangs[id].slots.lose(&mut self.nodes, node, free);
                self.lost_slots(id, now_ms);
            }
        }
    }

    /// Free slots there lack a node for now.
    fn touch_holders(&mut self, node: NodeId) {
        for id in self.gangs.ids() {
            if self.gangs[id].slots.free_on(node) > 0 {
                self.gangs.touch(id);
            }
        }
    }

    fn give_up_drivers(&mut self, node: NodeId, now_ms: i64) {
        for id in self.gangs.ids() {
            if self.reserved_for_driver(id) == Some(node) && self.gangs[id].binding().is_none() {
                self.drop_plan(id, now_ms);
            }
        }
    }

    /// More is charged than the node has: takes from what isn't bound yet until it fits.
    fn shed(&mut self, node: NodeId, now_ms: i64) {
        for (id, seat) in self.assumed_on(node) {
            if !self.nodes.over(node) {
                return;
            }
            if seat == Seat::Extra {
                self.vacate(id, now_ms);
            }
        }
        let mut holders: Vec<GangId> = self.gangs.ids();
        holders.retain(|&id| self.reserved_for_driver(id) == Some(node) || self.gangs[id].slots.free_on(node) > 0);
        holders.sort_by_key(|&id| {
            let gang = &self.gangs[id];
            let promised = gang.is_bound() || gang.binding().is_some();
            (
                promised,
                Reverse(gang.held.map(|held| held.planned_ms)),
                Reverse(gang.key(id)),
            )
        });
        for id in holders {
            if !self.nodes.over(node) {
                return;
            }
            if self.gangs[id].is_bound() || self.gangs[id].binding().is_some() {
                while self.nodes.over(node) && self.gangs[id].slots.lose(&mut self.nodes, node, 1) > 0 {}
                self.lost_slots(id, now_ms);
            } else {
                self.drop_plan(id, now_ms);
            }
        }
        for (id, _) in self.assumed_on(node) {
            if !self.nodes.over(node) {
                return;
            }
            self.vacate(id, now_ms);
            if let Some(gang) = self.pods.all[id].gang() {
                self.gangs[gang].slots.lose(&mut self.nodes, node, 1);
                self.lost_slots(gang, now_ms);
            }
        }
    }

    /// Pods assumed on the node whose Bind isn't under way.
    fn assumed_on(&self, node: NodeId) -> Vec<(PodId, Seat)> {
        let on = |id: PodId| match self.pods.all.get(id)?.place {
            Place::Assumed {
                node: at,
                seat,
                binding: false,
                ..
            } if at == node => Some((id, seat)),
            _ => None,
        };
        self.assumed.iter().rev().filter_map(|&(_, id)| on(id)).collect()
    }

    /// A gang has lost slots. One without a bound driver is planned again as a whole.
    pub(crate) fn lost_slots(&mut self, id: GangId, now_ms: i64) {
        let gang = &mut self.gangs[id];
        gang.waiting.verdict = None;
        if !gang.is_bound() && gang.binding().is_none() && gang.held.is_some() {
            self.drop_plan(id, now_ms);
        }
        self.settle(id);
    }

    /// Running gangs that lack slots have the first claim on room, the oldest first.
    pub(crate) fn place_missing(&mut self, turn: &mut Turn) {
        self.attend();
        let lacks = |id: &GangId| !self.is_doomed(*id) && self.unplaced(*id) > 0;
        let mut ids: Vec<GangId> = self.attention.short.iter().copied().filter(lacks).collect();
        ids.sort_by_key(|&id| self.gangs[id].key(id));
        for id in ids {
            if self.is_vain(id, turn) || !turn.may_pack() {
                continue;
            }
            let Some(class) = self.gangs[id].shape.as_ref().map(|shape| shape.class) else {
                continue;
            };
            let rules = self.nodes.class_rules(class).clone();
            let class = self.acquire_executor_class(id, &rules);
            let gang = &self.gangs[id];
            let near = self.nodes_of(id);
            let spacing = gang.spacing();
            let held = spacing.map_or_else(Vec::new, |_| self.executors_on(id));
            let ask = Ask {
                driver: None,
                executor: &gang.slots.request,
                class: Some(class),
                spacing,
                held: &held,
                driver_at: gang.held.map(|held| held.node),
                count: self.unplaced(id),
                partial: true,
                near: Some(&near),
                room: View::Now(None),
                zone: self.zone_of(id),
                packing: self.packing(&gang.queue),
            };
            let found = pack(&self.nodes, &ask);
            let lack = match &found {
                Some(_) => None,
                None if pack(
                    &self.nodes,
                    &Ask {
                        room: View::Empty,
                        ..ask
                    },
                )
                .is_some() =>
                {
                    Some(Lack::Now)
                }
                None => Some(Lack::Ever),
            };
            self.nodes.release_class(class);
            if let Some(placement) = found {
                for (node, count) in placement.executors {
                    self.move_slots(id, node, count);
                }
                let placed = self.unplaced(id) == 0;
                let waiting = &mut self.gangs[id].waiting;
                waiting.verdict = None;
                if placed {
                    (waiting.lacking_ms, waiting.overtaken) = (None, 0);
                } else {
                    waiting.lacking_ms.get_or_insert(turn.now_ms);
                    turn.again = true;
                }
            }
            if let Some(lack) = lack {
                self.condemn(id, lack, turn);
            }
        }
    }

    /// The zone that all of the gang has to be in, where the policy keeps gangs in one.
    pub(crate) fn zone_of(&self, id: GangId) -> Option<u32> {
        let gang = &self.gangs[id];
        let held = gang.held.filter(|_| self.packing(&gang.queue).zones() == Zones::One);
        held.map(|held| self.nodes.zone(held.node))
    }

    /// Where the gang's executors are or will be, by node in order: on slots of nodes in use, and beside them.
    pub(crate) fn executors_on(&self, id: GangId) -> Vec<(NodeId, u64)> {
        let gang = &self.gangs[id];
        let free = |group: &&crate::slots::Group| group.free() > 0 && self.nodes.usable(group.node);
        let free = gang.slots.groups.iter().filter(free);
        let mut on: BTreeMap<NodeId, u64> = free.map(|group| (group.node, group.free())).collect();
        for &executor in &gang.executors {
            if let Some((node, _)) = self.pods.all[executor].seat() {
                *on.entry(node).or_default() += 1;
            }
        }
        on.into_iter().collect()
    }

    /// Slots without a node, and free ones on nodes that no pod can go to now.
    pub(crate) fn unplaced(&self, id: GangId) -> u64 {
        let slots = &self.gangs[id].slots;
        let idle = slots.groups.iter().filter(|group| !self.nodes.usable(group.node));
        slots.missing + idle.map(crate::slots::Group::free).sum::<u64>()
    }

    /// Which nodes are the gang's, by node index.
    pub(crate) fn nodes_of(&self, id: GangId) -> Vec<bool> {
        let mut near = vec![false; self.nodes.free().len()];
        let gang = &self.gangs[id];
        gang.held.iter().for_each(|held| near[held.node.index()] = true);
        gang.slots
            .groups
            .iter()
            .for_each(|group| near[group.node.index()] = true);
        near
    }

    /// Reserves `count` slots on a node in place of missing ones, then of free ones on nodes out of use.
    fn move_slots(&mut self, id: GangId, node: NodeId, count: u64) {
        let slots = &mut self.gangs[id].slots;
        slots.reserve(&mut self.nodes, node, count);
        let found = count.min(slots.missing);
        slots.missing -= found;
        let mut left = count - found;
        for group in slots.groups.clone() {
            if !self.nodes.usable(group.node) {
                left -= slots.cut(&mut self.nodes, group.node, left);
            }
        }
        debug_assert_eq!(left, 0, "not more slots are placed than lack a node");
    }
}
