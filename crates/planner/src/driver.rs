//! What a driver pod's events mean: gangs come, are let in, run and end.

use std::collections::BTreeSet;
use std::sync::Arc;

use kompass_core::names::{GANG_GATE, SCHEDULER};
use kompass_core::{Outcome, Phase, Pod, PodRules, Role};
use rustc_hash::FxHashMap;

use crate::finished::FinishedGang;
use crate::gang::{self, DemandState, Gang, GangId, Open, Shape, Stage, Sums, Times, Waiting};
use crate::nodes::NodeId;
use crate::peers;
use crate::planner::Planner;
use crate::pods::{Kind, Place, PodId, Seat};
use crate::runtimes::Known;
use crate::slots::Slots;

impl Planner {
    /// A driver was listed, added or changed.
    pub(crate) fn driver_seen(&mut self, id: PodId, pod: &Pod, now_ms: i64) {
        if let Some((outcome, ended_ms)) = ended(pod, now_ms) {
            if let Kind::Driver(Some(gang)) = self.pods.all[id].kind {
                self.gangs[gang].times.started_ms = pod.started_ms.or(self.gangs[gang].times.started_ms);
                self.end_gang(gang, outcome, ended_ms);
            }
            self.place_seen(id, pod);
            return;
        }
        let gang = match self.pods.all[id].kind {
            Kind::Driver(Some(gang)) => gang,
            _ => self.new_gang(id, pod),
        };
        self.describe(gang, pod, now_ms);
        let stage = self.gangs[gang].stage;
        if let Some(name) = &pod.node {
            let node = self.nodes.intern(name);
            let since_ms = if self.synced {
                now_ms
            } else {
                pod.started_ms.unwrap_or(now_ms)
            };
            self.driver_bound(gang, node, since_ms, now_ms);
        } else if !self.gangs[gang].gated {
            match stage {
                Stage::Waiting | Stage::Opening { .. } => {
                    self.set_stage(gang, Stage::Open(Open::new(now_ms)));
                    self.gangs[gang].waiting.refusals = 0;
                    self.believe_if_newer(gang, now_ms);
                }
                Stage::Open(_) => self.believe_if_newer(gang, now_ms),
                Stage::Bound => {}
            }
        }
    }

    /// A driver pod is gone.
    pub(crate) fn driver_gone(&mut self, id: PodId, now_ms: i64) {
        if let Kind::Driver(Some(gang)) = self.pods.all[id].kind {
            self.end_gang(gang, Outcome::Deleted, now_ms);
        }
    }

    /// A driver that had ended before it was first seen tells how long jobs like it run: so a planner knows that after a
    /// restart, as far as their pods are still there.
    pub(crate) fn remember_run(&mut self, pod: &Pod) {
        let (Some(Role::Driver), Some(started_ms)) = (pod.role, pod.started_ms) else {
            return;
        };
        if let Some((outcome, ended_ms)) = pod.ended
            && pod.scheduler == SCHEDULER
        {
            let job = pod.profile.as_ref().map(|profile| profile.profile_key.as_str());
            let queue = self.policy.queue(&pod.namespace, pod.queue.as_deref());
            self.learn_end(job, &queue, outcome, ended_ms.saturating_sub(started_ms));
        }
    }

    /// How long a gang ran, if that tells something. A run that was cut off, because the job failed or was deleted, is a
    /// lower bound: it counts only where it is longer than all that is expected of gangs like it. A job that fails soon
    /// would else look like a short one that may pass a head.
    fn learn_end(&mut self, job: Option<&str>, queue: &str, outcome: Outcome, run_ms: i64) {
        let longest_ms = match self.runtimes.known(None, job, queue, self.config.unknown_run_ms).0 {
            Known::Runs(runs) => runs.last().copied().unwrap_or(0),
            known @ (Known::Told(_) | Known::Nothing(_)) => known.p90_ms(),
        };
        if outcome == Outcome::Succeeded || run_ms > longest_ms {
            self.learn(job, queue, run_ms);
        }
    }

    /// Moves a gang to another stage, in and out of its queue.
    pub(crate) fn set_stage(&mut self, id: GangId, stage: Stage) {
        self.unlist(id);
        let gang = &mut self.gangs[id];
        let key = gang.key(id);
        match (gang.stage == Stage::Waiting, stage == Stage::Waiting) {
            (true, false) => self.queues.remove(&gang.queue, key),
            (false, true) => {
                self.queues.insert(&gang.queue, key);
                gang.waiting.unjudge();
            }
            _ => {}
        }
        gang.stage = stage;
        self.list(id);
    }

    /// Lists a gang that waits among those of equal needs.
    pub(crate) fn list(&mut self, id: GangId) {
        let gang = &self.gangs[id];
        if gang.stage != Stage::Waiting || gang.listed.is_some() {
            return;
        }
        if let Some(need) = self.need(id) {
            let run_ms = self.runtime(&self.gangs[id]).p90_ms();
            let gang = &mut self.gangs[id];
            gang.listed = self.queues.list(&gang.queue, gang.key(id), &need, run_ms);
        }
    }

    pub(crate) fn unlist(&mut self, id: GangId) {
        let gang = &mut self.gangs[id];
        if let Some(listed) = gang.listed.take() {
            self.queues.unlist(&gang.queue, gang.key(id), listed);
        }
    }

    /// The node where room is reserved for a driver that isn't bound.
    pub(crate) fn reserved_for_driver(&self, id: GangId) -> Option<NodeId> {
        let gang = &self.gangs[id];
        gang.held.filter(|_| !gang.is_bound()).map(|held| held.node)
    }

    fn new_gang(&mut self, id: PodId, pod: &Pod) -> GangId {
        self.arrivals += 1;
        let kind = self.pods.all[id].peer;
        let gang = Gang {
            driver: id,
            namespace: self.pods.all[id].namespace.clone(),
            queue: self.policy.queue(&pod.namespace, pod.queue.as_deref()),
            queue_label: None,
            priority: pod.priority,
            created_ms: pod.created_ms,
            arrival: self.arrivals,
            profile_key: None,
            wider_keys: Vec::new(),
            estimate: None,
            start_within_ms: None,
            listed: None,
            overtook: None,
            shape: None,
            avoid: None,
            driver_class: self
                .nodes
                .acquire_class(&pod.constraints, kind, &pod.pod_rules.together),
            driver_kind: kind,
            driver_together: pod.pod_rules.together.clone(),
            gated: true,
            foreign_gate: false,
            stage: Stage::Waiting,
            held: None,
            slots: Slots::default(),
            unclaimed: 0,
            corrected: false,
            written: None,
            disowned_ms: None,
            writing: None,
            executors: BTreeSet::new(),
            waiting: Waiting::default(),
            demand: DemandState::default(),
            markers: FxHashMap::default(),
            extras: None,
            times: Times {
                whole: pod.node.is_none(),
                ..Times::default()
            },
            sums: Sums::default(),
        };
        let key = gang.queue.clone();
        let gang = self.gangs.insert(&pod.uid, gang);
        self.queues.insert(&key, self.gangs[gang].key(gang));
        self.pods.all[id].kind = Kind::Driver(Some(gang));
        for executor in self.pods.awaiting_driver.remove(pod.uid.as_str()).unwrap_or_default() {
            self.link(executor, gang);
        }
        gang
    }

    /// Puts a gang into the queue where it belongs now.
    pub(crate) fn enqueue(&mut self, id: GangId) {
        self.unlist(id);
        self.arrange(id, self.gangs[id].priority);
        self.list(id);
    }

    /// Queue and priority of a gang that is not listed.
    fn arrange(&mut self, id: GangId, priority: i32) {
        let gang = &mut self.gangs[id];
        let queue = self.policy.queue(&gang.namespace, gang.queue_label.as_deref());
        if gang.priority == priority && gang.queue == queue {
            return;
        }
        let waits = gang.stage == Stage::Waiting;
        if waits {
            self.queues.remove(&gang.queue, gang.key(id));
        }
        (gang.priority, gang.queue) = (priority, queue);
        if waits {
            self.queues.insert(&gang.queue, gang.key(id));
            gang.waiting.unjudge();
        }
    }

    /// Takes over what the pod says about its gang.
    fn describe(&mut self, id: GangId, pod: &Pod, now_ms: i64) {
        self.unlist(id);
        let gang = &mut self.gangs[id];
        gang.queue_label = pod.queue.as_deref().map(Into::into);
        self.arrange(id, pod.priority);
        let gang = &mut self.gangs[id];
        gang.gated = pod.has_gate(GANG_GATE);
        gang.foreign_gate = pod.gates.iter().any(|gate| gate != GANG_GATE);
        gang.times.started_ms = gang.times.started_ms.or(pod.started_ms);
        gang.written.clone_from(&pod.plan);
        if let (Some((order, planned_ms, _)), Some(written)) = (gang.writing, &gang.written)
            && written.planned_ms >= planned_ms
        {
            gang.writing = None;
            self.in_flight.remove(&order);
        }
        let kind = self.pods.all[gang.driver].peer;
        let together = &pod.pod_rules.together;
        if *self.nodes.class_rules(gang.driver_class) != pod.constraints
            || gang.driver_kind != kind
            || gang.driver_together != *together
        {
            (gang.driver_kind, gang.driver_together) = (kind, together.clone());
            let class = self.nodes.acquire_class(&pod.constraints, kind, together);
            self.nodes
                .release_class(std::mem::replace(&mut gang.driver_class, class));
            gang.waiting.verdict = None;
            self.doubt(id);
        }
        self.reshape(id, pod, now_ms);
        self.list(id);
    }

    /// Takes over the profile. The shape of a gang that has a plan stays as it was planned.
    fn reshape(&mut self, id: GangId, pod: &Pod, now_ms: i64) {
        let gang = &mut self.gangs[id];
        let Some(profile) = &pod.profile else { return };
        gang.estimate = profile.runtime;
        gang.start_within_ms = profile.start_within_ms.and_then(|ms| i64::try_from(ms).ok());
        let planned = gang.held.is_some() || gang.is_bound();
        if gang.shape.is_some() && planned {
            return;
        }
        let executor = profile.executor.resources();
        let minimum = gang::minimum(profile, self.config.dynamic_floor);
        let (max, dynamic) = (profile.executors_max, profile.dynamic_allocation);
        let spacing = Some(&profile.executor_spacing).filter(|spacing| !spacing.is_none());
        let batch_delay_ms = profile.executor_batch_delay_ms.unwrap_or(0);
        let batch_delay_ms = i64::try_from(batch_delay_ms).unwrap_or(i64::MAX);
        let labels = peers::executor_labels(profile, pod);
        let PodRules { apart, together } = &profile.executor_pod_rules;
        if let Some(old) = &gang.shape
            && old.executor == executor
            && (old.minimum, old.max, old.dynamic) == (minimum, max, dynamic)
            && old.batch_delay_ms == batch_delay_ms
            && *self.nodes.class_rules(old.class) == profile.executor_constraints
            && old.spacing.as_deref() == spacing
            && old.together == *together
            && self.nodes.is_kind(old.kind, &gang.namespace, &labels, apart)
        {
            return;
        }
        let kind = self.nodes.acquire_kind(&gang.namespace, &labels, apart);
        let class = self.nodes.acquire_class(&profile.executor_constraints, kind, together);
        if let Some(old) = gang.shape.replace(Shape {
            executor,
            class,
            spacing: spacing.cloned().map(Arc::new),
            kind,
            together: together.clone(),
            minimum,
            max,
            dynamic,
            batch_delay_ms,
        }) {
            self.nodes.release_class(old.class);
            gang.slots.keep_for(&mut self.nodes, kind);
            self.nodes.release_kind(old.kind);
        }
        gang.profile_key = Some(profile.profile_key.clone());
        gang.wider_keys.clone_from(&profile.wider_keys);
        gang.times.profiled_ms.get_or_insert(now_ms);
        gang.waiting.verdict = None;
        if planned {
            // Planned as a driver alone, because the profile did not come in time.
            let gang = &self.gangs[id];
            if gang.is_bound() || gang.binding().is_some() {
                self.want_minimum(id);
                self.settle(id);
            } else {
                self.drop_plan(id, now_ms);
            }
        }
    }

    /// The driver is bound: its plan is a promise from now on.
    pub(crate) fn driver_bound(&mut self, id: GangId, node: NodeId, since_ms: i64, now_ms: i64) {
        let driver = self.gangs[id].driver;
        if !self.gangs[id].is_bound() {
            let reserved = self.reserved_for_driver(id);
            // The new charge first: a node without any charge may be forgotten.
            self.pods.all[driver].put(
                Place::Bound {
                    node,
                    seat: Seat::Extra,
                },
                &mut self.nodes,
            );
            if let Some(reserved) = reserved {
                self.nodes.discharge(reserved, self.pods.all[driver].charge(), 1);
            }
            self.set_stage(id, Stage::Bound);
            let gang = &mut self.gangs[id];
            gang.waiting = Waiting::default();
            gang.times.bound_ms.get_or_insert(since_ms);
        }
        if self.synced
            && let Some((node, _)) = self.pods.all[driver].seat()
        {
            self.settle_bound(id, node, now_ms);
        }
    }

    /// Everything of the gang is free, and it becomes history.
    fn end_gang(&mut self, id: GangId, outcome: Outcome, ended_ms: i64) {
        self.release_driver(id);
        self.set_stage(id, Stage::Bound);
        let executors = std::mem::take(&mut self.gangs[id].executors);
        for &executor in &executors {
            self.unlink(executor, id, ended_ms);
        }
        let gang = &mut self.gangs[id];
        gang.slots.clear(&mut self.nodes);
        self.nodes.release_class(gang.driver_class);
        if let Some(shape) = &gang.shape {
            self.nodes.release_class(shape.class);
            self.nodes.release_kind(shape.kind);
        }
        let uid = self.gangs.uid(id).clone();
        if self.gangs[id].demand.active.is_some() {
            self.releases.insert(uid.as_ref().into(), None);
        }
        let finished = self.finish(id, outcome, ended_ms);
        if let Some(run_ms) = finished.run_ms {
            self.learn_end(finished.profile_key.as_deref(), &finished.queue, outcome, run_ms);
        }
        if self.synced && self.lead.is_some() {
            self.finished.push(finished);
        }
        let driver = self.gangs[id].driver;
        self.pods.all[driver].kind = Kind::Driver(None);
        self.gangs.remove(id);
    }

    fn finish(&self, id: GangId, outcome: Outcome, ended_ms: i64) -> FinishedGang {
        let (gang, times) = (&self.gangs[id], &self.gangs[id].times);
        let driver = &self.pods.all[gang.driver];
        FinishedGang {
            namespace: gang.namespace.to_string(),
            name: driver.name.to_string(),
            uid: self.gangs.uid(id).to_string(),
            queue: gang.queue.to_string(),
            profile_key: gang.profile_key.clone(),
            wider_keys: gang.wider_keys.clone(),
            driver: driver.requests.clone(),
            executor: gang.shape.as_ref().map(|shape| shape.executor.clone()),
            executors_min: gang.shape.as_ref().map_or(0, |shape| shape.minimum),
            executors_max: gang.shape.as_ref().and_then(|shape| shape.max),
            submitted_ms: gang.created_ms,
            profiled_ms: times.profiled_ms,
            planned_ms: times.planned_ms,
            bound_ms: times.bound_ms,
            first_executor_ms: times.first_executor_ms,
            started_ms: times.started_ms,
            ended_ms,
            wait_ms: times
                .bound_ms
                .unwrap_or(ended_ms)
                .saturating_sub(gang.created_ms)
                .max(0),
            run_ms: times
                .started_ms
                .or(times.bound_ms)
                .map(|from| ended_ms.saturating_sub(from).max(0)),
            executor_ms: gang.sums.executor_ms,
            executors_peak: gang.sums.peak,
            outcome,
            whole: times.whole,
        }
    }
}

/// How and when the gang has ended, by its driver pod.
fn ended(pod: &Pod, now_ms: i64) -> Option<(Outcome, i64)> {
    pod.ended.or(match pod.phase {
        Phase::Succeeded => Some((Outcome::Succeeded, now_ms)),
        Phase::Failed => Some((Outcome::Failed, now_ms)),
        Phase::Pending | Phase::Running => None,
    })
}
