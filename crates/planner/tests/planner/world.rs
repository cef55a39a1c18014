//! A model of everything around the planner, in one thread and without time of its own.

use std::collections::{BTreeMap, VecDeque};

use kompass_core::names::{GANG_GATE, SCHEDULER};
use kompass_core::{Node, Outcome, Phase, Pod, PodRules, Resources, Role, WaitReason};
use kompass_planner::{Action, BindResult, Config, Failure, FilterAnswer, FinishedGang, GangView, Order, Planner};

use crate::job::Job;
use crate::neighbourly;
pub(crate) use crate::objects::GIB;
use crate::objects::{self, pin};

/// What the watch has still to tell.
#[derive(Debug, Clone)]
enum Event {
    Node(Node),
    NodeGone(String),
    Pod(Box<Pod>),
    PodGone(String),
}

/// The cluster and its planner.
#[allow(clippy::struct_excessive_bools, reason = "each switches one fault")]
pub(crate) struct World {
    pub(crate) planner: Planner,
    pub(crate) config: Config,
    pub(crate) now_ms: i64,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) jobs: BTreeMap<String, Job>,
    /// The watch is slow: events wait for `deliver`.
    pub(crate) slow: bool,
    events: VecDeque<Event>,
    /// Executors pinned by the webhook, and gated above the minimum.
    pub(crate) webhook: bool,
    pub(crate) reasons: Vec<(String, WaitReason)>,
    pub(crate) finished: Vec<FinishedGang>,
    pub(crate) orders: Vec<Action>,
    /// Each write goes wrong in this way.
    pub(crate) failure: Option<Failure>,
    /// With `failure` unknown: the write was done all the same.
    pub(crate) lost_answer: bool,
    version: u64,
    serial: u64,
    pub(crate) foreign_broke: bool,
}

impl World {
    pub(crate) fn new(nodes: &[(&str, u64, u64)]) -> Self {
        Self::with(Config::default(), nodes)
    }

    /// Nodes of so many CPUs and GiB.
    pub(crate) fn with(config: Config, nodes: &[(&str, u64, u64)]) -> Self {
        let mut planner = Planner::new(config.clone());
        planner.synced(0);
        planner.take_over(0);
        let mut world = Self {
            planner,
            config,
            now_ms: 1_000_000,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            jobs: BTreeMap::new(),
            slow: false,
            events: VecDeque::new(),
            webhook: false,
            reasons: vec![],
            finished: vec![],
            orders: vec![],
            failure: None,
            lost_answer: false,
            version: 0,
            serial: 0,
            foreign_broke: false,
        };
        for &(name, cpus, gib) in nodes {
            world.add_node(name, cpus, gib);
        }
        world
    }

    pub(crate) fn add_node(&mut self, name: &str, cpus: u64, gib: u64) {
        self.add_node_in(name, cpus, gib, "a");
    }

    pub(crate) fn add_node_in(&mut self, name: &str, cpus: u64, gib: u64, zone: &str) {
        self.put_node(objects::node(name, cpus, gib, zone, &format!("pool-{zone}")));
    }

    pub(crate) fn put_node(&mut self, node: Node) {
        self.nodes.insert(node.name.clone(), node.clone());
        self.tell(Event::Node(node));
    }

    pub(crate) fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let mut node = self.nodes[name].clone();
        change(&mut node);
        self.put_node(node);
    }

    /// The node dies, and its pods are removed with it.
    pub(crate) fn kill_node(&mut self, name: &str) {
        self.nodes.remove(name);
        self.tell(Event::NodeGone(name.into()));
        let lost: Vec<String> = self
            .pods
            .values()
            .filter(|pod| pod.node.as_deref() == Some(name))
            .map(|pod| pod.uid.clone())
            .collect();
        for uid in lost {
            self.delete(&uid);
        }
    }

    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
        if !self.slow {
            self.deliver(usize::MAX);
        }
    }

    /// The watch tells up to `count` events.
    pub(crate) fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            let Some(event) = self.events.pop_front() else { break };
            match event {
                Event::Node(node) => self.planner.apply_node(node),
                Event::NodeGone(name) => self.planner.delete_node(&name),
                Event::Pod(pod) => self.planner.apply_pod(&pod, self.now_ms),
                Event::PodGone(uid) => self.planner.delete_pod(&uid, self.now_ms),
            }
        }
    }

    pub(crate) fn put(&mut self, mut pod: Pod) {
        self.version += 1;
        pod.resource_version = self.version.to_string();
        self.pods.insert(pod.uid.clone(), pod.clone());
        self.tell(Event::Pod(Box::new(pod)));
    }

    pub(crate) fn change(&mut self, uid: &str, change: impl FnOnce(&mut Pod)) {
        let Some(mut pod) = self.pods.get(uid).cloned() else {
            return;
        };
        change(&mut pod);
        self.put(pod);
    }

    /// The pod object goes; a driver's executors and stand-ins go with it.
    pub(crate) fn delete(&mut self, uid: &str) {
        if self.pods.remove(uid).is_some() {
            self.tell(Event::PodGone(uid.into()));
        }
        let owned: Vec<String> = self
            .pods
            .values()
            .filter(|pod| pod.owner_pod_uid.as_deref() == Some(uid))
            .map(|pod| pod.uid.clone())
            .collect();
        for uid in &owned {
            self.delete(uid);
        }
    }

    /// spark-submit: the driver comes gated and without a profile.
    pub(crate) fn submit_bare(&mut self, job: Job) -> String {
        self.serial += 1;
        let uid = job.name.clone();
        let pod = objects::driver(&job, format!("{}-driver", job.name), self.now_ms);
        self.jobs.insert(uid.clone(), job);
        self.put(pod);
        uid
    }

    /// The profiler has read the configuration.
    pub(crate) fn profile(&mut self, uid: &str) {
        let profile = self.jobs[uid].profile();
        self.change(uid, |pod| pod.profile = Some(profile));
    }

    pub(crate) fn submit(&mut self, job: Job) -> String {
        let uid = self.submit_bare(job);
        self.profile(&uid);
        uid
    }

    /// Spark's driver creates one executor more.
    pub(crate) fn executor(&mut self, driver: &str) -> String {
        self.serial += 1;
        let mut pod = objects::executor(&self.jobs[driver], driver, self.serial, self.now_ms);
        if self.webhook {
            let plan = self.pods.get(driver).and_then(|pod| pod.plan.as_ref());
            let others = self.executors(driver);
            objects::admit(&mut pod, plan, others.iter().map(|uid| &self.pods[uid]));
        }
        let uid = pod.uid.clone();
        self.put(pod);
        uid
    }

    pub(crate) fn executors(&self, driver: &str) -> Vec<String> {
        let of = |pod: &&Pod| pod.owner_pod_uid.as_deref() == Some(driver) && !pod.is_terminal();
        self.pods.values().filter(of).map(|pod| pod.uid.clone()).collect()
    }

    /// The planner decides until it has nothing more to say, and its orders are carried out.
    pub(crate) fn decide(&mut self) {
        for _ in 0..200 {
            let decision = self.planner.decide(self.now_ms);
            let quiet = decision.orders.is_empty() && !decision.again;
            for order in decision.orders {
                self.carry_out(&order);
            }
            if quiet || self.slow {
                let wake_ms = self.planner.next_wake();
                assert!(
                    !quiet || wake_ms.is_none_or(|at_ms| at_ms > self.now_ms),
                    "woken again at once"
                );
                return;
            }
        }
        panic!(
            "the planner never comes to rest: {:#?}",
            &self.orders[self.orders.len().saturating_sub(4)..]
        );
    }

    fn carry_out(&mut self, order: &Order) {
        self.orders.push(order.action.clone());
        let written = match (&order.action, self.failure) {
            (Action::Check { .. } | Action::Explain { .. } | Action::Finished(_), _) | (_, None) => true,
            (_, Some(Failure::Unknown)) => self.lost_answer,
            (_, Some(_)) => false,
        };
        let result = if written { self.write(&order.action) } else { Ok(()) };
        let failure = match result {
            Err(failure) => Some(failure),
            Ok(())
                if matches!(
                    order.action,
                    Action::Check { .. } | Action::Explain { .. } | Action::Finished(_)
                ) =>
            {
                None
            }
            Ok(()) => self.failure,
        };
        if let Some(failure) = failure {
            self.planner.action_failed(order.id, failure, self.now_ms);
        }
    }

    fn write(&mut self, action: &Action) -> Result<(), Failure> {
        match action {
            Action::OpenGate {
                driver,
                resource_version,
                plan,
            } => {
                self.same(&driver.uid, resource_version)?;
                let plan = plan.clone();
                self.change(&driver.uid, |pod| {
                    pod.gates.retain(|gate| gate != GANG_GATE);
                    pod.plan = Some(plan);
                });
            }
            Action::OpenExecutorGate {
                executor,
                resource_version,
                node,
            } => {
                self.same(&executor.uid, resource_version)?;
                self.change(&executor.uid, |pod| {
                    pod.gates.retain(|gate| gate != GANG_GATE);
                    pin(pod, vec![node.clone()]);
                });
            }
            Action::Replan { driver, plan } => {
                self.pods.get(&driver.uid).ok_or(Failure::Gone)?;
                let plan = plan.clone();
                self.change(&driver.uid, |pod| pod.plan = Some(plan));
            }
            Action::Demand(demand) => {
                self.release(&demand.gang.uid);
                for member in &demand.members {
                    for number in 0..member.count {
                        self.serial += 1;
                        let gang = &demand.gang.uid;
                        let uid = format!("stand-in-{gang}-{:?}-{number}-{}", member.role, self.serial);
                        self.put(objects::stand_in(uid, gang, member, self.now_ms));
                    }
                }
            }
            Action::ReleaseDemand { gang } => self.release(gang),
            Action::PlaceMarker { gang, node } => {
                self.serial += 1;
                let uid = format!("marker-{}-{node}-{}", gang.uid, self.serial);
                self.put(objects::marker(uid, &gang.uid, node, self.now_ms));
            }
            Action::RemoveMarker { marker } => self.delete(&marker.uid),
            Action::DeleteExecutor { executor } => self.delete(&executor.uid),
            Action::Explain { driver, reason } => self.reasons.push((driver.uid.clone(), reason.clone())),
            Action::Check { pod } => {
                let pod_now = self.pods.get(&pod.uid).cloned();
                self.planner.checked(&pod.uid, pod_now.as_ref(), self.now_ms);
            }
            Action::Finished(gang) => self.finished.push((**gang).clone()),
        }
        Ok(())
    }

    fn same(&self, uid: &str, version: &str) -> Result<(), Failure> {
        let pod = self.pods.get(uid).ok_or(Failure::Gone)?;
        if pod.resource_version == version {
            Ok(())
        } else {
            Err(Failure::Conflict)
        }
    }

    fn release(&mut self, gang: &str) {
        let these: Vec<String> = self.stand_ins(gang).iter().map(|pod| pod.uid.clone()).collect();
        for uid in &these {
            self.delete(uid);
        }
    }

    pub(crate) fn stand_ins(&self, gang: &str) -> Vec<&Pod> {
        self.pods
            .values()
            .filter(|pod| pod.stand_in_for.as_deref() == Some(gang))
            .collect()
    }

    /// The nodes that pass kube-scheduler's own filters for a pod.
    pub(crate) fn feasible(&self, pod: &Pod) -> Vec<String> {
        let open = |node: &&Node| node.ready && !node.cordoned && !node.deleting && pod.constraints.allow(node);
        let fits = |node: &&Node| {
            let mut used = self.used(&node.name);
            used.add(&pod.requests);
            used.fits(&node.allocatable)
        };
        let bound = self
            .pods
            .values()
            .filter(|other| other.uid != pod.uid && other.holds_room());
        let there: Vec<(&Pod, &Node)> = bound
            .filter_map(|pod| Some((pod, self.nodes.get(pod.node.as_ref()?)?)))
            .collect();
        self.nodes
            .values()
            .filter(open)
            .filter(fits)
            .filter(|node| neighbourly::lets(pod, node, &there))
            .map(|node| node.name.clone())
            .collect()
    }

    pub(crate) fn used(&self, node: &str) -> Resources {
        self.pods
            .values()
            .filter(|pod| pod.node.as_deref() == Some(node) && pod.holds_room())
            .fold(Resources::default(), |mut sum, pod| {
                sum.add(&pod.requests);
                sum
            })
    }

    pub(crate) fn filter(&mut self, uid: &str, nodes: &[String]) -> FilterAnswer {
        let pod = self.pods[uid].clone();
        self.planner.filter(&pod, nodes, self.now_ms)
    }

    /// One round of kube-scheduler over one pod. Tells whether it was bound.
    pub(crate) fn schedule(&mut self, uid: &str) -> bool {
        let Some(pod) = self.pods.get(uid).cloned() else {
            return false;
        };
        if pod.node.is_some()
            || !pod.gates.is_empty()
            || pod.scheduler != SCHEDULER
            || pod.is_terminal()
            || pod.deleting
        {
            return false;
        }
        let nodes = self.feasible(&pod);
        if nodes.is_empty() {
            return false;
        }
        let FilterAnswer::Node(node) = self.filter(uid, &nodes) else {
            return false;
        };
        assert!(nodes.contains(&node), "{uid}: {node} was not in the list");
        self.bind(uid, &node)
    }

    /// The extender binds.
    pub(crate) fn bind(&mut self, uid: &str, node: &str) -> bool {
        let Ok(order) = self.planner.bind_started(uid, node, self.now_ms) else {
            return false;
        };
        if self.failure == Some(Failure::Refused) {
            self.planner.bind_done(uid, node, &BindResult::Failed, self.now_ms);
            return false;
        }
        if self.pods[uid].role == Some(Role::Driver) {
            let gang = self.gang(uid);
            let reserved = gang.plan.as_ref().map_or(0, kompass_core::GangPlan::executor_count);
            assert_eq!(
                (reserved, gang.slots_missing),
                (gang.executors_min.unwrap_or(0), 0),
                "a driver without its gang"
            );
        }
        let plan = order.plan;
        self.change(uid, |pod| {
            pod.node = Some(node.into());
            pod.plan = plan.or_else(|| pod.plan.take());
        });
        let result = if self.failure == Some(Failure::Unknown) {
            BindResult::Unknown
        } else {
            BindResult::Bound
        };
        self.planner.bind_done(uid, node, &result, self.now_ms);
        let allocatable = &self.nodes[node].allocatable;
        assert!(
            self.foreign_broke || self.used(node).fits(allocatable),
            "{node} is overbooked by {uid}"
        );
        true
    }

    /// kube-scheduler goes over all pods, the kubelets start what is bound.
    pub(crate) fn schedule_all(&mut self) {
        let uids: Vec<String> = self.pods.keys().cloned().collect();
        for uid in uids {
            self.schedule(&uid);
        }
        self.run_pods();
    }

    fn run_pods(&mut self) {
        let new = |pod: &&Pod| pod.node.is_some() && pod.phase == Phase::Pending;
        let started: Vec<String> = self.pods.values().filter(new).map(|pod| pod.uid.clone()).collect();
        let now_ms = self.now_ms;
        for uid in started {
            self.change(&uid, |pod| (pod.phase, pod.started_ms) = (Phase::Running, Some(now_ms)));
        }
    }

    /// Spark's drivers create what executors they lack.
    pub(crate) fn spark(&mut self) {
        for driver in self.running() {
            let alive = self
                .executors(&driver)
                .iter()
                .filter(|&uid| !self.pods[uid].deleting)
                .count() as u64;
            let job = &self.jobs[&driver];
            let wanted = if job.dynamic {
                job.max.unwrap_or(job.executors + 4)
            } else {
                job.asks.unwrap_or(job.executors)
            };
            for _ in alive..wanted {
                self.executor(&driver);
            }
        }
    }

    /// One driver creates so many executors.
    pub(crate) fn spark_only(&mut self, driver: &str, count: usize) {
        for _ in 0..count {
            self.executor(driver);
        }
    }

    /// Drivers that run.
    pub(crate) fn running(&self) -> Vec<String> {
        let runs = |pod: &&Pod| {
            pod.role == Some(Role::Driver) && pod.phase == Phase::Running && pod.ended.is_none() && !pod.deleting
        };
        self.pods.values().filter(runs).map(|pod| pod.uid.clone()).collect()
    }

    /// The job is done; its executors go.
    pub(crate) fn end(&mut self, driver: &str) {
        self.end_as(driver, Outcome::Succeeded);
    }

    /// The same with another outcome.
    pub(crate) fn end_as(&mut self, driver: &str, outcome: Outcome) {
        let now_ms = self.now_ms;
        self.change(driver, |pod| {
            pod.ended = Some((outcome, now_ms));
            pod.phase = match outcome {
                Outcome::Succeeded => Phase::Succeeded,
                Outcome::Failed | Outcome::Deleted => Phase::Failed,
            };
        });
        for uid in self.executors(driver) {
            self.delete(&uid);
        }
    }

    /// Some rounds of everybody.
    pub(crate) fn settle(&mut self) {
        for _ in 0..4 {
            self.deliver(usize::MAX);
            self.decide();
            self.schedule_all();
            self.deliver(usize::MAX);
        }
        self.check();
    }

    pub(crate) fn tick(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    pub(crate) fn check(&mut self) {
        self.deliver(usize::MAX);
        self.decide();
        self.planner
            .check_invariants(true)
            .unwrap_or_else(|text| panic!("{text}"));
    }

    /// A new process: it knows nothing but what the API server has.
    pub(crate) fn restart(&mut self, seed: u64) {
        self.events.clear();
        self.planner = Planner::new(self.config.clone());
        let mut pods: Vec<Pod> = self.pods.values().cloned().collect();
        pods.sort_by_key(|pod| {
            pod.uid.bytes().fold(seed, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
        });
        let (first, second) = pods.split_at(pods.len() / 2);
        for pod in first {
            self.planner.apply_pod(pod, self.now_ms);
        }
        self.nodes
            .values()
            .for_each(|node| self.planner.apply_node(node.clone()));
        for pod in second {
            self.planner.apply_pod(pod, self.now_ms);
        }
        self.planner.synced(self.now_ms);
        self.planner.take_over(self.now_ms);
    }

    pub(crate) fn gang(&self, uid: &str) -> GangView {
        self.planner
            .gangs()
            .into_iter()
            .find(|gang| gang.uid == uid)
            .unwrap_or_else(|| panic!("no gang {uid}"))
    }

    pub(crate) fn node_of(&self, uid: &str) -> Option<String> {
        self.pods.get(uid)?.node.clone()
    }

    /// The nodes of a gang's plan: the driver's, and executors by node.
    pub(crate) fn plan(&self, uid: &str) -> (String, Vec<(String, u64)>) {
        let plan = self.gang(uid).plan.unwrap_or_else(|| panic!("{uid} has no plan"));
        (plan.driver, plan.executors)
    }

    /// A pod of another scheduler's, bound by it.
    pub(crate) fn foreign(&mut self, node: &str, cpu_milli: u64, memory_mib: u64) -> String {
        self.serial += 1;
        let uid = format!("foreign-{}", self.serial);
        self.put(Pod {
            uid: uid.clone(),
            namespace: "other".into(),
            name: uid.clone(),
            node: Some(node.into()),
            phase: Phase::Running,
            requests: Resources::from_mib(cpu_milli, memory_mib),
            scheduler: "default-scheduler".into(),
            ..Pod::default()
        });
        uid
    }

    /// One of another scheduler's, of this application and with these rules about other pods.
    pub(crate) fn foreign_app(&mut self, node: &str, app: &str, rules: PodRules) -> String {
        let uid = self.foreign(node, 100, 64);
        self.change(&uid, |pod| {
            pod.labels.insert("app".into(), app.into());
            pod.pod_rules = rules;
        });
        uid
    }

    /// A pod that KOMPASS's scheduler places, of no gang.
    pub(crate) fn plain(&mut self, app: &str) -> String {
        self.serial += 1;
        let uid = format!("plain-{}", self.serial);
        self.put(Pod {
            uid: uid.clone(),
            namespace: "other".into(),
            name: uid.clone(),
            requests: Resources::from_mib(100, 64),
            scheduler: SCHEDULER.into(),
            labels: [("app".into(), app.into())].into(),
            ..Pod::default()
        });
        uid
    }
}
