//! Plans: reserving one, giving it up, writing it, and believing one that another planner (or this one before a
//! restart) has written.

use kompass_core::{GangPlan, plan};

use crate::gang::{Gang, GangId, Held, Open, Stage};
use crate::nodes::NodeId;
use crate::pack::Placement;
use crate::planner::Planner;
use crate::pods::{Place, Seat};

/// A plan that was found good, in terms of nodes known.
struct Believed {
    driver: Option<NodeId>,
    executors: Vec<(NodeId, u64)>,
}

impl Planner {
    /// Reserves what a packing has found, for a driver that isn't bound.
    pub(crate) fn hold(&mut self, id: GangId, placement: &Placement, now_ms: i64) {
        let Some(node) = placement.driver else { return };
        let gang = &mut self.gangs[id];
        let planned_ms = now_ms.max(
            gang.written
                .as_ref()
                .map_or(i64::MIN, |plan| plan.planned_ms.saturating_add(1)),
        );
        gang.held = Some(Held { node, planned_ms });
        gang.times.planned_ms = Some(now_ms);
        if let Some(shape) = &gang.shape {
            gang.slots.request.clone_from(&shape.executor);
            gang.slots.ports = shape.ports().into();
            gang.slots.kind = shape.kind;
        }
        gang.slots.seed(&mut self.nodes, &placement.executors);
        self.nodes.charge(node, self.pods.all[gang.driver].charge(), 1);
        gang.waiting.verdict = None;
        gang.waiting.lacking_ms = None;
        gang.waiting.overtaken = 0;
        gang.waiting.backfilled = 0;
        if let Stage::Open(open) = &mut gang.stage {
            *open = Open::new(now_ms);
        }
        self.reseat(id);
    }

    /// Gives a plan up whose driver isn't bound.
    pub(crate) fn drop_plan(&mut self, id: GangId, now_ms: i64) {
        self.release_driver(id);
        self.unseat(id);
        let gang = &mut self.gangs[id];
        gang.disowned_ms = gang.held.take().map(|held| held.planned_ms).max(gang.disowned_ms);
        gang.slots.clear(&mut self.nodes);
        if let Stage::Open(open) = &mut gang.stage {
            open.since_ms = now_ms;
            (open.absent_ms, open.checked_ms) = (None, None);
        }
    }

    /// The driver's reserved room is free.
    pub(crate) fn release_driver(&mut self, id: GangId) {
        if let Some(node) = self.reserved_for_driver(id) {
            self.nodes
                .discharge(node, self.pods.all[self.gangs[id].driver].charge(), 1);
        }
    }

    /// The reserved plan as it is written on the driver.
    pub(crate) fn render(&self, id: GangId) -> Option<GangPlan> {
        let gang = &self.gangs[id];
        let held = gang.held?;
        let executors = gang
            .slots
            .groups
            .iter()
            .map(|group| (self.nodes.name(group.node).to_string(), group.total))
            .collect();
        Some(GangPlan {
            version: plan::VERSION,
            uid: self.gangs.uid(id).to_string(),
            driver: self.nodes.name(held.node).to_string(),
            executors,
            planned_ms: held.planned_ms,
            unclaimed: gang.unclaimed,
        })
    }

    /// Whether the written plan says something else than the reserved one.
    pub(crate) fn is_unwritten(&self, id: GangId) -> bool {
        let gang = &self.gangs[id];
        let Some(held) = gang.held else { return false };
        let Some(written) = &gang.written else {
            return gang.minimum() > 0 || !gang.is_bound();
        };
        // The same nodes again are news to a planner that has given the written plan up.
        written.planned_ms != held.planned_ms
            || written.unclaimed != gang.unclaimed
            || *written.driver != **self.nodes.name(held.node)
            || written.executors.len() != gang.slots.groups.len()
            || written
                .executors
                .iter()
                .zip(&gang.slots.groups)
                .any(|((node, count), group)| *count != group.total || **node != **self.nodes.name(group.node))
    }

    /// Whether the plan would be too long for an annotation: 8 characters and the count around each name.
    pub(crate) fn is_too_long(&self, placement: &Placement) -> bool {
        let names = placement
            .executors
            .iter()
            .map(|&(node, _)| self.nodes.name(node).len() + 16);
        names.sum::<usize>() + 512 > plan::MAX_ANNOTATION_BYTES
    }

    /// All watches have listed: believes what is written. Where plans don't fit together, the repair takes from those
    /// whose driver isn't bound, and from the youngest.
    pub(crate) fn rebuild(&mut self, now_ms: i64) {
        for id in self.gangs.ids() {
            match self.gangs[id].stage {
                Stage::Bound => {
                    let driver = self.gangs[id].driver;
                    if let Some((node, _)) = self.pods.all[driver].seat() {
                        self.settle_bound(id, node, now_ms);
                    }
                }
                Stage::Open(_) => self.believe_if_newer(id, now_ms),
                Stage::Waiting | Stage::Opening { .. } => {}
            }
        }
    }

    /// Brings the plan of a gang with a bound driver up to what is written, and its slots up to the minimum.
    pub(crate) fn settle_bound(&mut self, id: GangId, node: NodeId, now_ms: i64) {
        if self.is_newer(id) {
            let given_up = self.gangs[id].written.as_ref().map(|plan| plan.unclaimed);
            let believed = self.believe(id);
            // Also before the profile is known.
            self.gangs[id].unclaimed = given_up.filter(|_| believed.is_some()).unwrap_or(0);
            self.unseat(id);
            let gang = &mut self.gangs[id];
            gang.slots.clear(&mut self.nodes);
            let planned_ms = gang.written.as_ref().map_or(now_ms, |plan| plan.planned_ms);
            gang.held = Some(Held { node, planned_ms });
            gang.times.planned_ms.get_or_insert(planned_ms);
            self.set_request(id);
            if let Some(believed) = believed {
                self.gangs[id].slots.seed(&mut self.nodes, &believed.executors);
            }
            self.want_minimum(id);
            self.reseat(id);
            self.correct(id);
            self.doubt(id);
        } else if self.gangs[id].held.is_none_or(|held| held.node != node) {
            let gang = &mut self.gangs[id];
            let planned_ms = gang.held.map_or(now_ms, |held| held.planned_ms);
            gang.held = Some(Held { node, planned_ms });
            self.set_request(id);
            self.want_minimum(id);
            self.reseat(id);
            self.correct(id);
        }
    }

    /// Takes over the written plan of an ungated driver, if it is newer than the reserved one and to be believed.
    pub(crate) fn believe_if_newer(&mut self, id: GangId, now_ms: i64) {
        if !self.synced || !self.is_newer(id) || self.gangs[id].binding().is_some() {
            return;
        }
        let Some(Believed {
            driver: Some(driver),
            executors,
        }) = self.believe(id)
        else {
            return;
        };
        let planned: u64 = executors.iter().map(|(_, count)| count).sum();
        if planned != self.gangs[id].minimum() {
            return;
        }
        let planned_ms = self.gangs[id].written.as_ref().map_or(0, |plan| plan.planned_ms);
        self.drop_plan(id, now_ms);
        self.hold(
            id,
            &Placement {
                driver: Some(driver),
                executors,
            },
            now_ms,
        );
        if let Some(held) = &mut self.gangs[id].held {
            held.planned_ms = planned_ms;
        }
        self.gangs[id].times.planned_ms = Some(planned_ms);
        // The node may have been closed since, and others may have come.
        self.nodes.suspect(driver);
        self.doubt(id);
    }

    /// All slots up to the minimum exist, if only as missing ones.
    pub(crate) fn want_minimum(&mut self, id: GangId) {
        self.set_request(id);
        let gang = &mut self.gangs[id];
        let placed: u64 = gang.slots.groups.iter().map(|group| group.total).sum();
        gang.slots.missing = gang.minimum().saturating_sub(placed);
    }

    fn set_request(&mut self, id: GangId) {
        let gang = &mut self.gangs[id];
        if let Some(shape) = &gang.shape
            && !gang.corrected
            && (gang.slots.request != shape.executor || *gang.slots.ports != *shape.ports())
        {
            gang.slots.resize(&mut self.nodes, &shape.executor, shape.ports());
        }
        if let Some(shape) = &gang.shape {
            gang.slots.keep_for(&mut self.nodes, shape.kind);
        }
    }

    /// No executor sits on a slot any more; their own charges stay.
    fn unseat(&mut self, id: GangId) {
        for &executor in &self.gangs[id].executors {
            match &mut self.pods.all[executor].place {
                Place::Nowhere => {}
                Place::Assumed { seat, .. } | Place::Bound { seat, .. } => *seat = Seat::Extra,
            }
        }
    }

    fn is_newer(&self, id: GangId) -> bool {
        let gang = &self.gangs[id];
        let known_ms = gang.held.map(|held| held.planned_ms).max(gang.disowned_ms);
        match &gang.written {
            None => known_ms.is_none(),
            Some(written) => known_ms.is_none_or(|known_ms| written.planned_ms > known_ms),
        }
    }

    /// The written plan, if it is this driver's and agrees with its profile. Nodes that are gone are left out.
    fn believe(&self, id: GangId) -> Option<Believed> {
        let gang: &Gang = &self.gangs[id];
        let written = gang.written.as_ref()?;
        let distinct = |at: usize| {
            written.executors[..at]
                .iter()
                .all(|(node, _)| *node != written.executors[at].0)
        };
        let sum = written
            .executors
            .iter()
            .try_fold(0_u64, |sum, (_, count)| sum.checked_add(*count));
        let whole = (0..written.executors.len()).all(distinct) && written.executors.iter().all(|(_, count)| *count > 0);
        let most = gang.shape.as_ref().map_or(0, |shape| shape.minimum);
        let within = |sum: u64| sum.checked_add(written.unclaimed).is_some_and(|sum| sum <= most);
        if *written.uid != **self.gangs.uid(id) || !whole || !sum.is_some_and(within) {
            return None;
        }
        let known = |name: &str| self.nodes.find(name).filter(|&node| self.nodes.node(node).is_some());
        Some(Believed {
            driver: known(&written.driver),
            executors: written
                .executors
                .iter()
                .filter_map(|(name, count)| Some((known(name)?, *count)))
                .collect(),
        })
    }
}
