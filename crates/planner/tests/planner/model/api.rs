//! What is true: the objects of the API server, and the log of events that watches tell from.

use std::collections::BTreeMap;
use std::rc::Rc;

use kompass_core::names::GANG_GATE;
use kompass_core::{GangPlan, Node, Phase, Pod, Role};
use kompass_planner::{Action, Failure, PodRef};

use crate::job::Job;
use crate::objects::{self, pin};

/// The scheduler that knows nothing of KOMPASS.
pub(crate) const FOREIGN: &str = "default-scheduler";
/// A gate of somebody else's.
pub(crate) const OTHER_GATE: &str = "example.com/gate";

/// Jobs in client mode.
pub(crate) const CLIENT_JOBS: usize = 2;

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

/// Whether the pod takes no room any more. One of which its kubelet says nothing may still run.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    matches!(pod.phase, Phase::Succeeded | Phase::Failed)
}

/// Whether the pod has run, and its kubelet says nothing any more: phase `Unknown`, which is read as `Pending`.
pub(crate) fn is_silent(pod: &Pod) -> bool {
    pod.phase == Phase::Pending && pod.started_ms.is_some()
}

/// Whether the pod is an executor of this driver's: its owner is, and in the same namespace.
pub(crate) fn is_of(pod: &Pod, driver: &Pod) -> bool {
    pod.owner_pod_uid.as_ref() == Some(&driver.uid) && pod.namespace == driver.namespace
}

/// The API server.
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
    /// Which run of each job in client mode it is.
    pub(crate) client_runs: [u64; CLIENT_JOBS],
    /// The webhook pins executors, and gates those above the minimum.
    pub(crate) webhook: bool,
    version: u64,
    pub(crate) serial: u64,
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
        self.put_node(objects::node(&format!("n{}", self.serial), cpus, 256, zone, zone));
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
        self.uids(|pod| pod.role == Some(Role::Driver) && !has_ended(pod) && pod.ended.is_none() && which(pod))
    }

    pub(crate) fn executors_of<'a>(&'a self, driver: &str) -> impl Iterator<Item = &'a Rc<Pod>> {
        let driver = &self.pods[driver];
        let of = move |pod: &&Rc<Pod>| is_of(pod, driver) && !has_ended(pod);
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

    pub(crate) fn quota_used(&self, namespace: &str) -> u64 {
        let counted = |pod: &&Rc<Pod>| pod.namespace == namespace && !has_ended(pod);
        self.pods
            .values()
            .filter(counted)
            .map(|pod| pod.requests.cpu_milli)
            .sum()
    }

    /// Thousandths of a CPU that bound pods take on a node.
    pub(crate) fn bound_on(&self, node: &str) -> u64 {
        let on = |pod: &&Rc<Pod>| pod.node.as_deref() == Some(node) && !has_ended(pod);
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
                    pin(pod, vec![node.clone()]);
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
                        let uid = format!("stand-in-{}", self.serial);
                        self.put(objects::stand_in(uid, &demand.gang.uid, member, self.now_ms));
                    }
                }
            }
            Action::ReleaseDemand { gang } => self.release(gang),
            Action::PlaceMarker { gang, node } => {
                self.serial += 1;
                let uid = format!("marker-{}", self.serial);
                self.put(objects::marker(uid, &gang.uid, node, self.now_ms));
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
