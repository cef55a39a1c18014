//! What is true: the objects of the API server, and the log of events that watches tell from.

use std::collections::BTreeMap;
use std::rc::Rc;

use kompass_core::constraints::{NodeTerm, Operator, Requirement};
use kompass_core::names::{GANG_GATE, SCHEDULER, STAND_IN_SCHEDULER};
use kompass_core::{GangPlan, Node, Outcome, Phase, Pod, Resources, Role};
use kompass_planner::{Action, Failure, PodRef};

use crate::job::Job;
use crate::world::GIB;

/// The scheduler that knows nothing of KOMPASS.
pub(crate) const FOREIGN: &str = "default-scheduler";
/// A gate of somebody else's.
pub(crate) const OTHER_GATE: &str = "example.com/gate";

/// Kinds of objects, and so of watches.
pub(crate) const NODES: usize = 0;
pub(crate) const PODS: usize = 1;
pub(crate) const QUOTAS: usize = 2;

/// What a watch tells.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Node(Rc<Node>),
    NodeGone(String),
    Pod(Rc<Pod>),
    PodGone(String),
    /// Thousandths of a CPU that the namespace may have and has; `None`: no quota.
    Quota(String, Option<(u64, u64)>),
}

/// The API server, with what its neighbours (Spark, webhook, kubelets) do to it.
#[derive(Debug, Default)]
pub(crate) struct Api {
    pub(crate) now_ms: i64,
    pub(crate) nodes: BTreeMap<String, Rc<Node>>,
    pub(crate) pods: BTreeMap<String, Rc<Pod>>,
    pub(crate) jobs: BTreeMap<String, Job>,
    pub(crate) quotas: BTreeMap<String, u64>,
    /// By kind of object: nodes, pods, quotas. Each has its own watch.
    pub(crate) log: [Vec<Event>; 3],
    /// Nodes that are gone and may come back.
    pub(crate) lost: Vec<Rc<Node>>,
    /// The webhook pins executors, and gates those above the minimum.
    pub(crate) webhook: bool,
    version: u64,
    serial: u64,
}

impl Api {
    pub(crate) fn new(webhook: bool) -> Self {
        Self {
            now_ms: 1_000_000,
            webhook,
            ..Self::default()
        }
    }

    pub(crate) fn put_node(&mut self, node: Node) {
        let node = Rc::new(node);
        self.nodes.insert(node.name.clone(), node.clone());
        self.log[NODES].push(Event::Node(node));
    }

    pub(crate) fn add_node(&mut self, cpus: u64, zone: &str) {
        self.serial += 1;
        self.put_node(Node {
            name: format!("n{}", self.serial),
            labels: [
                ("topology.kubernetes.io/zone".into(), zone.into()),
                ("pool".into(), zone.into()),
            ]
            .into(),
            allocatable: Resources::from_mib(cpus * 1000, 256 * GIB),
            max_pods: 110,
            ready: true,
            ..Node::default()
        });
    }

    pub(crate) fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let mut node = (*self.nodes[name]).clone();
        change(&mut node);
        self.put_node(node);
    }

    /// The node goes; its pods go with it, or linger until they are reaped.
    pub(crate) fn remove_node(&mut self, name: &str, linger: bool) {
        self.lost.extend(self.nodes.remove(name));
        self.log[NODES].push(Event::NodeGone(name.into()));
        if !linger {
            for uid in self.uids(|pod| pod.node.as_deref() == Some(name)) {
                self.delete(&uid);
            }
        }
    }

    pub(crate) fn put(&mut self, mut pod: Pod) {
        self.version += 1;
        pod.resource_version = self.version.to_string();
        let pod = Rc::new(pod);
        self.pods.insert(pod.uid.clone(), pod.clone());
        self.log[PODS].push(Event::Pod(pod.clone()));
        self.count_quota(&pod.namespace);
    }

    pub(crate) fn change(&mut self, uid: &str, change: impl FnOnce(&mut Pod)) {
        let Some(pod) = self.pods.get(uid) else { return };
        let mut pod = (**pod).clone();
        change(&mut pod);
        self.put(pod);
    }

    /// The object goes, and with a driver all that it owns.
    pub(crate) fn delete(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        self.log[PODS].push(Event::PodGone(uid.into()));
        self.count_quota(&pod.namespace);
        for uid in self.uids(|pod| pod.owner_pod_uid.as_deref() == Some(uid)) {
            self.delete(&uid);
        }
    }

    pub(crate) fn uids(&self, which: impl Fn(&Pod) -> bool) -> Vec<String> {
        let these = self.pods.values().filter(|pod| which(pod));
        these.map(|pod| pod.uid.clone()).collect()
    }

    /// Drivers whose gang has not ended.
    pub(crate) fn drivers(&self, which: impl Fn(&Pod) -> bool) -> Vec<String> {
        self.uids(|pod| pod.role == Some(Role::Driver) && !pod.is_terminal() && pod.ended.is_none() && which(pod))
    }

    pub(crate) fn executors_of<'a>(&'a self, driver: &'a str) -> impl Iterator<Item = &'a Rc<Pod>> {
        let of = move |pod: &&Rc<Pod>| pod.owner_pod_uid.as_deref() == Some(driver) && !pod.is_terminal();
        self.pods.values().filter(of)
    }

    pub(crate) fn set_quota(&mut self, namespace: &str, hard: Option<u64>) {
        match hard {
            Some(hard) => _ = self.quotas.insert(namespace.into(), hard),
            None => _ = self.quotas.remove(namespace),
        }
        if hard.is_none() {
            self.log[QUOTAS].push(Event::Quota(namespace.into(), None));
        }
        self.count_quota(namespace);
    }

    fn count_quota(&mut self, namespace: &str) {
        if let Some(&hard) = self.quotas.get(namespace) {
            let used = self.quota_used(namespace);
            self.log[QUOTAS].push(Event::Quota(namespace.into(), Some((hard, used))));
        }
    }

    fn quota_used(&self, namespace: &str) -> u64 {
        let counted = |pod: &&Rc<Pod>| pod.namespace == namespace && !pod.is_terminal();
        self.pods
            .values()
            .filter(counted)
            .map(|pod| pod.requests.cpu_milli)
            .sum()
    }

    pub(crate) fn submit(&mut self, job: Job, profiled: bool, gated: bool) {
        let uid = job.name.clone();
        let profile = job.profile();
        let pod = Pod {
            uid: uid.clone(),
            namespace: job.namespace.clone(),
            name: uid.clone(),
            created_ms: self.now_ms / 1000 * 1000,
            scheduler: SCHEDULER.into(),
            gates: if gated { vec![GANG_GATE.into()] } else { vec![] },
            priority: job.priority,
            requests: job.driver.resources(),
            constraints: job.constraints(),
            role: Some(Role::Driver),
            queue: job.queue.clone(),
            profile: profiled.then_some(profile),
            ..Pod::default()
        };
        self.jobs.insert(uid, job);
        self.put(pod);
    }

    pub(crate) fn profile(&mut self, uid: &str) {
        let profile = self.jobs[uid].profile();
        self.change(uid, |pod| pod.profile = Some(profile));
    }

    /// A pod that is neither driver nor executor; bound already if another scheduler did so.
    pub(crate) fn plain(&mut self, namespace: &str, cpu: u64, node: Option<&str>) {
        self.serial += 1;
        let uid = format!("plain-{}", self.serial);
        self.put(Pod {
            uid: uid.clone(),
            namespace: namespace.into(),
            name: uid,
            created_ms: self.now_ms,
            scheduler: if node.is_some() { FOREIGN } else { SCHEDULER }.into(),
            node: node.map(Into::into),
            phase: if node.is_some() { Phase::Running } else { Phase::Pending },
            requests: Resources::from_mib(cpu * 1000, GIB),
            ..Pod::default()
        });
    }

    /// Spark's driver creates an executor, if the quota allows it.
    pub(crate) fn executor(&mut self, driver: &str) {
        let job = self.jobs[driver].clone();
        let requests = job.executor.resources();
        if let Some(&hard) = self.quotas.get(&job.namespace)
            && self.quota_used(&job.namespace) + requests.cpu_milli > hard
        {
            return;
        }
        self.serial += 1;
        let uid = format!("{driver}-exec-{:03}", self.serial);
        let (pins, gated) = if self.webhook {
            self.pins(driver)
        } else {
            (vec![], false)
        };
        let mut constraints = job.constraints();
        if !pins.is_empty() {
            constraints.required_terms = Some(pins.into_iter().map(pin).collect());
        }
        self.put(Pod {
            uid: uid.clone(),
            namespace: job.namespace,
            name: uid,
            created_ms: self.now_ms / 1000 * 1000,
            scheduler: SCHEDULER.into(),
            gates: if gated { vec![GANG_GATE.into()] } else { vec![] },
            requests,
            host_ports: job.spacing.host_ports.clone(),
            constraints,
            role: Some(Role::Executor),
            owner_pod_uid: Some(driver.into()),
            executor_id: Some(self.serial.to_string()),
            ..Pod::default()
        });
    }

    /// What the webhook does: it pins to nodes with free slots, and gates where there are none.
    fn pins(&self, driver: &str) -> (Vec<String>, bool) {
        let Some(plan) = self.pods[driver].plan.as_ref() else {
            return (vec![], false);
        };
        let (mut alive, mut unbound) = (0, 0);
        let mut on: BTreeMap<&str, u64> = BTreeMap::new();
        for pod in self.executors_of(driver).filter(|pod| !pod.has_gate(GANG_GATE)) {
            alive += 1;
            match &pod.node {
                None => unbound += 1,
                Some(node) if !pod.deleting => *on.entry(node).or_default() += 1,
                Some(_) => {}
            }
        }
        let free = plan
            .executors
            .iter()
            .filter(|(node, count)| on.get(&**node).copied().unwrap_or(0) < *count)
            .map(|(node, _)| node.clone());
        let free: Vec<String> = free.take(10).collect();
        let gated = alive >= plan.executor_count() || free.is_empty() || unbound >= plan.executor_count();
        if gated { (vec![], true) } else { (free, false) }
    }

    /// How many executors a driver wants to have.
    pub(crate) fn wanted(&self, driver: &str) -> u64 {
        let job = &self.jobs[driver];
        if job.dynamic {
            job.max.unwrap_or(job.executors)
        } else {
            job.executors
        }
    }

    /// Bound pods start, if there is room; else their kubelet refuses them.
    pub(crate) fn kubelets(&mut self) {
        for uid in self.uids(|pod| pod.node.is_some() && pod.phase == Phase::Pending && pod.marker_for.is_none()) {
            let Some(pod) = self.pods.get(&uid) else { continue };
            let Some(node) = pod.node.as_ref().and_then(|node| self.nodes.get(node)) else {
                continue;
            };
            let runs = |other: &&Rc<Pod>| other.node == pod.node && other.phase == Phase::Running;
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
            pod.deleting || pod.is_terminal() || pod.ended.is_some() || orphan() || lost
        };
        for uid in self.uids(over) {
            self.delete(&uid);
        }
    }

    /// Thousandths of a CPU that bound pods take on a node.
    pub(crate) fn bound_on(&self, node: &str) -> u64 {
        let on = |pod: &&Rc<Pod>| pod.node.as_deref() == Some(node) && !pod.is_terminal();
        self.pods.values().filter(on).map(|pod| pod.requests.cpu_milli).sum()
    }

    fn same(&self, pod: &PodRef, version: &str) -> Result<(), Failure> {
        match self.pods.get(&pod.uid) {
            None => Err(Failure::Gone),
            Some(known) if known.resource_version == version => Ok(()),
            Some(_) => Err(Failure::Conflict),
        }
    }

    /// Writes what was ordered; tells the pod whose new state the answer shows.
    pub(crate) fn write(&mut self, action: &Action) -> Result<Option<String>, Failure> {
        match action {
            Action::OpenGate {
                driver,
                resource_version,
                plan,
            } => {
                self.same(driver, resource_version)?;
                self.change(&driver.uid, |pod| {
                    pod.gates.retain(|gate| gate != GANG_GATE);
                    pod.plan = Some(plan.clone());
                });
                return Ok(Some(driver.uid.clone()));
            }
            Action::OpenExecutorGate {
                executor,
                resource_version,
                node,
            } => {
                self.same(executor, resource_version)?;
                self.change(&executor.uid, |pod| {
                    pod.gates.retain(|gate| gate != GANG_GATE);
                    pod.constraints.required_terms = Some(vec![pin(node.clone())]);
                });
                return Ok(Some(executor.uid.clone()));
            }
            Action::Replan { driver, plan } => {
                self.pods.get(&driver.uid).ok_or(Failure::Gone)?;
                self.change(&driver.uid, |pod| pod.plan = Some(plan.clone()));
                return Ok(Some(driver.uid.clone()));
            }
            Action::Demand(demand) => {
                self.release(&demand.gang.uid);
                for member in &demand.members {
                    for _ in 0..member.count {
                        self.serial += 1;
                        self.put(Pod {
                            uid: format!("stand-in-{}", self.serial),
                            namespace: "kompass".into(),
                            created_ms: self.now_ms,
                            scheduler: STAND_IN_SCHEDULER.into(),
                            requests: member.requests.clone(),
                            constraints: member.constraints.clone(),
                            stand_in_for: Some(demand.gang.uid.clone()),
                            ..Pod::default()
                        });
                    }
                }
            }
            Action::ReleaseDemand { gang } => self.release(gang),
            Action::PlaceMarker { gang, node } => {
                self.serial += 1;
                self.put(Pod {
                    uid: format!("marker-{}", self.serial),
                    namespace: "kompass".into(),
                    created_ms: self.now_ms,
                    node: Some(node.clone()),
                    marker_for: Some(gang.uid.clone()),
                    ..Pod::default()
                });
            }
            Action::RemoveMarker { marker: pod } | Action::DeleteExecutor { executor: pod } => self.delete(&pod.uid),
            Action::Explain { .. } | Action::Check { .. } | Action::Finished(_) => {}
        }
        Ok(None)
    }

    fn release(&mut self, gang: &str) {
        for uid in self.uids(|pod| pod.stand_in_for.as_deref() == Some(gang)) {
            self.delete(&uid);
        }
    }

    /// The Binding is written.
    pub(crate) fn bind(&mut self, uid: &str, node: &str, plan: Option<GangPlan>) {
        self.change(uid, |pod| {
            pod.node = Some(node.into());
            pod.plan = plan.or_else(|| pod.plan.take());
        });
    }
}

fn pin(node: String) -> NodeTerm {
    NodeTerm {
        labels: vec![],
        fields: vec![Requirement {
            key: "metadata.name".into(),
            operator: Operator::In,
            values: vec![node],
        }],
    }
}
