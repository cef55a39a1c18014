//! What the neighbours of the API server do to it: users, the profiler, Spark, the webhook, kubelets and controllers.

use std::rc::Rc;

use kompass_core::names::SCHEDULER;
use kompass_core::{Node, Outcome, Phase, Pod, Resources, Role};

use super::api::{Api, FOREIGN, OTHER_GATE, has_ended, is_silent};
use super::peers;
use crate::job::Job;
use crate::neighbourly;
use crate::objects::{self, GIB};

impl Api {
    pub(crate) fn submit(&mut self, job: Job, profiled: bool, gated: bool, other_gate: bool) {
        let mut pod = objects::driver(&job, job.name.clone(), self.now_ms);
        if !gated {
            pod.gates.clear();
        }
        if other_gate {
            pod.gates.push(OTHER_GATE.into());
        }
        pod.profile = profiled.then(|| job.profile());
        self.jobs.insert(pod.uid.clone(), job);
        self.put(pod);
    }

    pub(crate) fn profile(&mut self, uid: &str) {
        let profile = self.jobs[uid].profile();
        self.change(uid, |pod| pod.profile = Some(profile));
    }

    /// A pod that is neither driver nor executor; bound already if another scheduler did so.
    pub(crate) fn plain(&mut self, namespace: &str, cpu: u64, node: Option<&str>) {
        let mut pod = self.plain_pod(namespace, cpu);
        if let Some(node) = node {
            (pod.scheduler, pod.node, pod.phase) = (FOREIGN.into(), Some(node.into()), Phase::Running);
        }
        self.put(pod);
    }

    /// A pod that says it is an executor of this driver's, from a namespace where it can't be.
    pub(crate) fn stranger(&mut self, driver: &str) {
        let requests = self.jobs[driver].executor.resources();
        let pod = self.plain_pod("other", 1);
        self.put(Pod {
            requests,
            role: Some(Role::Executor),
            owner_pod_uid: Some(driver.into()),
            ..pod
        });
    }

    /// An executor more of a run of a job in client mode; the pod where its driver runs is none of Spark's.
    pub(crate) fn client(&mut self, job: usize) {
        self.serial += 1;
        let (name, run) = (format!("job-{job}"), self.client_runs[job]);
        let mut pod = objects::client(&name, run, self.serial, 1_000, self.now_ms);
        pod.owner_pod_uid = (job == 0).then(|| "notebook".into());
        self.put(pod);
    }

    /// Such a run ends.
    pub(crate) fn end_client(&mut self, job: usize) {
        let prefix = format!("client-job-{job}-{}-", self.client_runs[job]);
        for uid in self.uids(|pod| pod.uid.starts_with(&prefix)) {
            self.delete(&uid);
        }
        self.client_runs[job] += 1;
    }

    fn plain_pod(&mut self, namespace: &str, cpu: u64) -> Pod {
        self.serial += 1;
        let uid = format!("plain-{}", self.serial);
        let mut pod = Pod {
            uid: uid.clone(),
            namespace: namespace.into(),
            name: uid,
            created_ms: self.now_ms,
            scheduler: SCHEDULER.into(),
            requests: Resources::from_mib(cpu * 1000, GIB),
            ..Pod::default()
        };
        peers::label_other(&mut pod, self.serial);
        pod
    }

    /// Whether the next pod of others gets on with those that are bound near the node.
    pub(crate) fn lets_next(&self, node: &str) -> bool {
        let mut pod = Pod::default();
        peers::label_other(&mut pod, self.serial + 1);
        self.lets(&pod, node, &[])
    }

    /// Whether a pod gets on with those that are bound near the node, and with these that are about to be.
    pub(crate) fn lets(&self, pod: &Pod, node: &str, soon: &[(&Pod, &str)]) -> bool {
        let bound = self.pods.values().filter(|pod| !has_ended(pod));
        let bound = bound.filter_map(|pod| Some((&**pod, pod.node.as_deref()?)));
        let there: Vec<(&Pod, &Node)> = bound
            .chain(soon.iter().copied())
            .filter(|(other, _)| other.uid != pod.uid)
            .filter_map(|(other, at)| Some((other, &**self.nodes.get(at)?)))
            .collect();
        self.nodes
            .get(node)
            .is_some_and(|node| neighbourly::lets(pod, node, &there))
    }

    /// Spark's driver creates an executor, if the quota allows it; with so many more CPUs where a stage asks for it.
    pub(crate) fn executor(&mut self, driver: &str, more: u64) {
        let mut pod = objects::executor(&self.jobs[driver], driver, self.serial + 1, self.now_ms);
        pod.requests.cpu_milli += more * 1000;
        if !self.quota_takes(&pod.namespace, pod.requests.cpu_milli) {
            return;
        }
        self.serial += 1;
        if self.webhook {
            let plan = self.pods[driver].plan.as_ref();
            objects::admit(&mut pod, plan, self.executors_of(driver).map(|pod| &**pod));
        }
        self.put(pod);
    }

    fn quota_takes(&self, namespace: &str, cpu_milli: u64) -> bool {
        let hard = self.quotas.get(namespace);
        hard.is_none_or(|&hard| self.quota_used(namespace) + cpu_milli <= hard)
    }

    /// How many executors a driver wants to have.
    pub(crate) fn wanted(&self, driver: &str) -> u64 {
        let job = &self.jobs[driver];
        if job.dynamic {
            job.max.unwrap_or(job.executors)
        } else {
            job.asks.unwrap_or(job.executors)
        }
    }

    /// Bound pods start, if there is room; else their kubelet refuses them.
    pub(crate) fn kubelets(&mut self) {
        let new = |pod: &Pod| {
            pod.node.is_some() && pod.phase == Phase::Pending && !is_silent(pod) && pod.marker_for.is_none()
        };
        for uid in self.uids(new) {
            let Some(pod) = self.pods.get(&uid) else { continue };
            let Some(node) = pod.node.as_ref().and_then(|node| self.nodes.get(node)) else {
                continue;
            };
            let runs = |other: &&Rc<Pod>| other.node == pod.node && (other.phase == Phase::Running || is_silent(other));
            let taken: u64 = self.pods.values().filter(runs).map(|pod| pod.requests.cpu_milli).sum();
            let starts = taken + pod.requests.cpu_milli <= node.allocatable.cpu_milli;
            let now_ms = self.now_ms;
            self.change(&uid, |pod| {
                if starts {
                    (pod.phase, pod.started_ms) = (Phase::Running, Some(now_ms));
                } else {
                    pod.phase = Phase::Failed;
                }
            });
        }
    }

    /// A kubelet falls silent about a pod, or speaks again.
    pub(crate) fn silence(&mut self, uid: &str) {
        self.change(uid, |pod| {
            pod.phase = match pod.phase {
                Phase::Running => Phase::Pending,
                _ => Phase::Running,
            };
        });
    }

    /// A pod gets a CPU more, where its node and the quota have one, or one less.
    pub(crate) fn resize(&mut self, uid: &str) {
        let pod = &self.pods[uid];
        let job = pod.owner_pod_uid.as_ref().and_then(|driver| self.jobs.get(driver));
        let least = job.map_or(1000, |job| job.executor.cpu_milli);
        let node = pod.node.as_ref().and_then(|node| self.nodes.get(node));
        let has = node.is_some_and(|node| self.bound_on(&node.name) + 1000 <= node.allocatable.cpu_milli);
        if pod.requests.cpu_milli > least {
            self.change(uid, |pod| pod.requests.cpu_milli -= 1000);
        } else if has && self.quota_takes(&pod.namespace, 1000) {
            self.change(uid, |pod| pod.requests.cpu_milli += 1000);
        }
    }

    /// The job has ended; `sidecar`: its pod lives on.
    pub(crate) fn end(&mut self, driver: &str, sidecar: bool) {
        let now_ms = self.now_ms;
        self.change(driver, |pod| {
            pod.ended = Some((Outcome::Succeeded, now_ms));
            if !sidecar {
                pod.phase = Phase::Succeeded;
            }
        });
    }

    /// What is over is cleared away: pods that leave, have ended, or lost their driver.
    pub(crate) fn reap(&mut self) {
        let over = |pod: &Pod| {
            let orphan = || {
                pod.owner_pod_uid
                    .as_ref()
                    .and_then(|driver| self.pods.get(driver))
                    .is_some_and(|driver| driver.ended.is_some())
            };
            let lost = pod.node.as_ref().is_some_and(|node| !self.nodes.contains_key(node));
            pod.deleting || has_ended(pod) || pod.ended.is_some() || orphan() || lost
        };
        for uid in self.uids(over) {
            self.delete(&uid);
        }
    }
}
