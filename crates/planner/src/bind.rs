//! Bind: the moment in which a plan becomes a fact. What Filter answered is looked at again before the write.

use crate::answer::{BindOrder, BindRefusal, BindResult};
use crate::gang::{GangId, Stage};
use crate::nodes::NodeId;
use crate::planner::Planner;
use crate::pods::{Kind, Place, PodId, Seat};

impl Planner {
    /// A Bind is about to be written: the last look at the plan. To be called in the moment before the POST.
    pub fn bind_started(&mut self, uid: &str, node: &str, now_ms: i64) -> Result<BindOrder, BindRefusal> {
        let order = self.begin_bind(uid, node, now_ms)?;
        *self.binds.entry(uid.into()).or_insert(0) += 1;
        Ok(order)
    }

    fn begin_bind(&mut self, uid: &str, node: &str, now_ms: i64) -> Result<BindOrder, BindRefusal> {
        let id = self.pods.all.id(uid).ok_or(BindRefusal::UnknownPod)?;
        let target = self.nodes.find(node).filter(|&node| self.nodes.node(node).is_some());
        let target = target.ok_or(BindRefusal::NoRoomKept)?;
        self.scheduler_ms = Some(now_ms);
        if self.leads() && self.nodes.any_worse() {
            self.repair(now_ms);
            self.changed = true;
        }
        match (self.pods.all[id].place, &self.pods.all[id].kind) {
            (Place::Bound { node, .. }, _) if node == target => Ok(BindOrder::default()),
            (Place::Bound { .. }, _) => Err(BindRefusal::BoundElsewhere),
            (_, Kind::Driver(gang)) => {
                let gang = gang.ok_or(BindRefusal::NoRoomKept)?;
                self.bind_driver(gang, target)
            }
            (Place::Assumed { node, .. }, _) if node == target => {
                self.prolong(id, now_ms);
                if let Place::Assumed { binding, .. } = &mut self.pods.all[id].place {
                    *binding = true;
                }
                Ok(BindOrder::default())
            }
            (place, _) => {
                // Timed out in between, or answered by a planner before this one.
                let seat = self.room_for(id, target).ok_or(BindRefusal::NoRoomKept)?;
                if matches!(place, Place::Assumed { binding: true, .. }) {
                    return Err(BindRefusal::NoRoomKept);
                }
                self.assume(id, target, seat, now_ms);
                if let Place::Assumed { binding, .. } = &mut self.pods.all[id].place {
                    *binding = true;
                }
                Ok(BindOrder::default())
            }
        }
    }

    /// A Bind has ended. `node` is the wanted one.
    pub fn bind_done(&mut self, uid: &str, node: &str, result: &BindResult, now_ms: i64) {
        if let Some(count) = self.binds.get_mut(uid) {
            *count -= 1;
            if *count == 0 {
                self.binds.remove(uid);
            }
        }
        let Some(id) = self.pods.all.id(uid) else { return };
        self.changed = true;
        let place = match result {
            BindResult::Bound => Some(node),
            BindResult::Elsewhere(other) => Some(other.as_str()),
            BindResult::Failed | BindResult::Unknown => None,
        };
        if let Some(name) = place {
            let node = self.nodes.intern(name);
            match &self.pods.all[id].kind {
                Kind::Driver(Some(gang)) => {
                    let gang = *gang;
                    self.driver_bound(gang, node, now_ms, now_ms);
                }
                Kind::Executor(_) => self.executor_bound(id, node, now_ms, now_ms),
                _ if self.pods.all[id].terminal => {}
                _ => self.pods.all[id].put(
                    Place::Bound {
                        node,
                        seat: Seat::Extra,
                    },
                    &mut self.nodes,
                ),
            }
            self.client_moved(id);
            return;
        }
        // Another one that is under way may still be written.
        if *result == BindResult::Failed && !self.binds.contains_key(uid) {
            self.not_binding(id);
            self.prolong(id, now_ms);
            if let Kind::Driver(Some(gang)) = self.pods.all[id].kind {
                self.not_bound(gang, now_ms);
            }
        }
    }

    /// A Bind has certainly failed: the room assumed for the pod can be taken back again, and may have to be.
    pub(crate) fn not_binding(&mut self, id: PodId) {
        if let Place::Assumed { node, binding, .. } = &mut self.pods.all[id].place
            && std::mem::take(binding)
        {
            self.nodes.suspect(*node);
        }
    }

    /// A driver's Bind has certainly failed. Its plan was left alone meanwhile: what was lost counts now, and a gang that
    /// lacks a part is planned again as a whole.
    pub(crate) fn not_bound(&mut self, id: GangId, now_ms: i64) {
        let gang = &mut self.gangs[id];
        let Stage::Open(open) = &mut gang.stage else { return };
        if let Some(node) = open.binding.take() {
            self.nodes.suspect(node);
            if gang.slots.missing > 0 {
                self.drop_plan(id, now_ms);
            }
            self.doubt(id);
        }
    }

    fn bind_driver(&mut self, gang: GangId, target: NodeId) -> Result<BindOrder, BindRefusal> {
        // A Bind before this one may still be under way, and slots have been lost since: it is not begun again.
        if self.gangs[gang].held.is_none_or(|held| held.node != target) || self.gangs[gang].slots.missing > 0 {
            return Err(BindRefusal::NoRoomKept);
        }
        let plan = if self.is_unwritten(gang) {
            self.render(gang)
        } else {
            None
        };
        if let Stage::Open(open) = &mut self.gangs[gang].stage {
            open.binding = Some(target);
        }
        Ok(BindOrder { plan })
    }

    /// As what the pod could sit on the node.
    fn room_for(&self, id: PodId, node: NodeId) -> Option<Seat> {
        let pod = &self.pods.all[id];
        if pod.gang().is_some_and(|gang| self.slot_takes(gang, node, id)) {
            return Some(Seat::Slot);
        }
        let fits = self.nodes.fits(node, &pod.requests, &pod.ports) || self.aside_takes(id, node);
        (fits && !self.is_kept_off(id, node)).then_some(Seat::Extra)
    }
}
