//! Gangs among the pods of others: their rules about these, and what becomes of a plan when those change.

use std::collections::BTreeMap;

use kompass_core::names::{
    GANG_LABEL, SPARK_APP_LABEL, SPARK_EXECUTOR_ID_LABEL, SPARK_RESOURCE_PROFILE_LABEL, SPARK_ROLE_LABEL,
};
use kompass_core::{Constraints, JobProfile, Pod};

use crate::classes::ClassId;
use crate::gang::{Gang, GangId};
use crate::nodes::NodeId;
use crate::planner::Planner;
use crate::pods::PodId;
use crate::terms::{KindId, Own};

/// Labels that an application's pods have in common.
const COMMON_LABELS: [&str; 3] = [SPARK_APP_LABEL, "spark-app-name", "spark-version"];

/// The labels that executors of a driver will have, as far as they are known.
pub(crate) fn executor_labels(profile: &JobProfile, driver: &Pod) -> BTreeMap<String, String> {
    let mut labels = profile.executor_labels.clone();
    let common = COMMON_LABELS.iter().filter_map(|key| driver.labels.get_key_value(*key));
    labels.extend(common.map(|(key, value)| (key.clone(), value.clone())));
    let own = [
        (SPARK_ROLE_LABEL, "executor"),
        (SPARK_EXECUTOR_ID_LABEL, ""),
        (SPARK_RESOURCE_PROFILE_LABEL, "0"),
        (GANG_LABEL, &driver.uid),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

impl Planner {
    /// A pod was seen that may bring rules about pods that were there before: gangs are judged by them from now on.
    pub(crate) fn follow_news(&mut self) {
        if !self.nodes.take_news() {
            return;
        }
        for id in self.gangs.ids() {
            let gang = &self.gangs[id];
            let concerns = self.nodes.has_terms(gang.driver_kind)
                || gang
                    .shape
                    .as_ref()
                    .is_some_and(|shape| self.nodes.has_terms(shape.kind));
            if concerns {
                self.reclass(id);
            }
        }
    }

    fn reclass(&mut self, id: GangId) {
        self.unlist(id);
        let gang = &mut self.gangs[id];
        let rules = self.nodes.class_rules(gang.driver_class).clone();
        let class = self
            .nodes
            .acquire_class(&rules, gang.driver_kind, &gang.driver_together);
        let old = std::mem::replace(&mut gang.driver_class, class);
        self.nodes.release_class(old);
        let mut changed = class != old;
        if let Some(shape) = &mut gang.shape {
            let rules = self.nodes.class_rules(shape.class).clone();
            let class = self.nodes.acquire_class(&rules, shape.kind, &shape.together);
            let old = std::mem::replace(&mut shape.class, class);
            self.nodes.release_class(old);
            changed |= class != old;
        }
        if changed {
            gang.waiting.verdict = None;
            self.doubt(id);
        }
        self.list(id);
    }

    /// Room that is kept for the gang may be no good any more.
    pub(crate) fn doubt(&mut self, id: GangId) {
        let gang = &self.gangs[id];
        if !self.has_peer_rules(gang) {
            return;
        }
        let driver = self.reserved_for_driver(id);
        let nodes: Vec<NodeId> = gang.slots.groups.iter().map(|group| group.node).chain(driver).collect();
        self.nodes.doubt(&nodes);
    }

    /// Whether any of its pods have rules about those of others.
    pub(crate) fn has_peer_rules(&self, gang: &Gang) -> bool {
        let executors = gang.shape.as_ref().map(|shape| shape.class);
        let classes = [Some(gang.driver_class), executors];
        classes
            .into_iter()
            .flatten()
            .any(|class| self.nodes.has_peer_rules(class))
    }

    /// The gang's pods and reservations, as terms count them.
    pub(crate) fn own(&self, id: GangId) -> Own {
        let mut own = Own::default();
        let gang = &self.gangs[id];
        let driver = &self.pods.all[gang.driver];
        let at = self
            .reserved_for_driver(id)
            .or_else(|| driver.seat().map(|seat| seat.0));
        if let Some(node) = at {
            self.nodes.note_own(&mut own, node, driver.peer, 1);
        }
        for group in &gang.slots.groups {
            self.nodes.note_own(&mut own, group.node, gang.slots.kind, group.free());
        }
        for &executor in &gang.executors {
            let pod = &self.pods.all[executor];
            if let Some((node, _)) = pod.seat() {
                self.nodes.note_own(&mut own, node, pod.peer, 1);
            }
        }
        own
    }

    /// The class of a gang's executors with these rules about nodes, where its own pods keep nobody away: how they lie to
    /// each other is the packing's affair. To be released.
    pub(crate) fn acquire_executor_class(&mut self, id: GangId, rules: &Constraints) -> ClassId {
        let gang = &self.gangs[id];
        let own = self.has_peer_rules(gang).then(|| self.own(id));
        // Without a profile nothing is known of its executors.
        let Some(shape) = &gang.shape else {
            return self.nodes.acquire_class(rules, KindId::NONE, &[]);
        };
        self.nodes
            .acquire_class_besides(rules, shape.kind, &shape.together, own.as_ref())
    }

    /// Whether the pods on the node and on others near it let an executor of the gang go there.
    pub(crate) fn peers_let(&self, gang: GangId, node: NodeId) -> bool {
        let gang_of = &self.gangs[gang];
        let Some(shape) = &gang_of.shape else { return true };
        !self.nodes.has_peer_rules(shape.class) || self.nodes.stands(shape.class, node, &self.own(gang))
    }

    /// Whether a pod beside the slots and what is there or kept there keep off each other.
    pub(crate) fn is_kept_off(&self, id: PodId, node: NodeId) -> bool {
        let pod = &self.pods.all[id];
        if !self.nodes.has_terms(pod.peer) {
            return false;
        }
        let own = pod.gang().map(|gang| self.own(gang));
        self.nodes.keeps_off(pod.peer, node, own.as_ref())
    }

    /// Whether pods of one gang keep those of another away, wherever they are.
    pub(crate) fn keep_apart(&self, one: &Gang, other: &Gang) -> bool {
        let kinds = |gang: &Gang| {
            let executors = gang.shape.as_ref().map(|shape| shape.kind);
            [Some(gang.driver_kind), executors]
        };
        let others = kinds(other);
        let conflicts = |kind| {
            let others = others.into_iter().flatten();
            others.into_iter().any(|other| self.nodes.conflict(kind, other))
        };
        kinds(one).into_iter().flatten().any(conflicts)
    }

    /// Gives up what is kept on nodes where the pods that are there now keep it away.
    pub(crate) fn give_up_kept_off(&mut self, now_ms: i64) {
        let doubtful = self.nodes.take_doubtful();
        if doubtful.is_empty() {
            return;
        }
        self.attend();
        let is_doubtful = |node: NodeId| doubtful.binary_search(&node).is_ok();
        for id in self.attention.reserving.iter().copied().collect::<Vec<_>>() {
            let gang = &self.gangs[id];
            let driver = self.reserved_for_driver(id).filter(|&node| is_doubtful(node));
            let slots = gang.slots.groups.iter().filter(|group| group.free() > 0);
            let slots: Vec<NodeId> = slots
                .map(|group| group.node)
                .filter(|&node| is_doubtful(node))
                .collect();
            if !self.has_peer_rules(gang) || (driver.is_none() && slots.is_empty()) {
                continue;
            }
            let own = self.own(id);
            let binding = gang.binding().is_some();
            if driver.is_some_and(|node| !binding && !self.nodes.stands(gang.driver_class, node, &own)) {
                self.drop_plan(id, now_ms);
                continue;
            }
            let Some(class) = gang.shape.as_ref().map(|shape| shape.class) else {
                continue;
            };
            let lost = slots.into_iter().filter(|&node| !self.nodes.stands(class, node, &own));
            let lost: Vec<NodeId> = lost.collect();
            for &node in &lost {
                let free = self.gangs[id].slots.free_on(node);
                self.gangs[id].slots.lose(&mut self.nodes, node, free);
            }
            if !lost.is_empty() {
                self.lost_slots(id, now_ms);
            }
        }
    }
}
