//! One planner process: what it was told, what it has under way, and what the model holds it to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use kompass_core::names::GANG_GATE;
use kompass_core::{GangPlan, Node, Pod, Role};
use kompass_planner::{BindResult, Config, Limits, Order, Planner, Quota};

use super::api::{Api, Event, NODES, PODS, QUOTAS, has_ended};
use super::kept::GivenUp;

/// A Bind under way.
#[derive(Debug, Clone)]
pub(crate) struct Bind {
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) plan: Option<GangPlan>,
    pub(crate) deadline_ms: i64,
}

/// How long a promise is kept is not told.
pub(crate) const UNTOLD: i64 = 0;

/// Room promised to a pod: Filter has answered a node, or its gate was ordered to be opened.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) node: String,
    pub(crate) until_ms: i64,
    pub(crate) binding: bool,
    /// May have been taken back since: others took room.
    pub(crate) doubtful: bool,
}

/// What a planner was told, kept here by the same rules: newer versions only, and what is gone stays so.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) nodes: BTreeMap<String, Rc<Node>>,
    pub(crate) pods: BTreeMap<String, Rc<Pod>>,
    pub(crate) quotas: BTreeMap<String, (u64, u64)>,
    gone: BTreeSet<String>,
    /// Drivers with executors of another size than their profiles say: how large their slots are is the planner's affair.
    pub(crate) odd: BTreeSet<String>,
    /// In which order drivers were told of.
    pub(crate) arrivals: BTreeMap<String, usize>,
    /// When room that is nobody's of KOMPASS's last changed.
    pub(crate) capacity_ms: i64,
}

/// A planner process.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) planner: Planner,
    pub(crate) cursors: [usize; 3],
    pub(crate) told: Told,
    pub(crate) orders: VecDeque<Order>,
    pub(crate) binds: Vec<Bind>,
    pub(crate) promises: BTreeMap<String, Promise>,
    /// Pods whose Bind has ended without an answer.
    pub(crate) unsure: BTreeSet<String>,
    /// Nodes that others have changed, or taken room on, since the last decision.
    pub(crate) disturbed: BTreeSet<String>,
    /// No plan before this time.
    pub(crate) leads_from_ms: Option<i64>,
    /// Gangs that wait as heads, and how many of other queues have started meanwhile.
    pub(crate) overtaken: BTreeMap<String, u64>,
    /// Drivers whose gate the API server refused to open.
    pub(crate) refused: BTreeMap<String, u32>,
    /// Plans that were given up, by driver.
    pub(crate) given_up: BTreeMap<String, GivenUp>,
    /// Stand-ins and markers that are for nobody, and since when.
    pub(crate) spare: BTreeMap<String, i64>,
}

impl Replica {
    /// A new process lists everything, in some order.
    pub(crate) fn start(config: &Config, api: &Api, seed: u8) -> Self {
        let mut replica = Self {
            planner: Planner::new(config.clone()),
            cursors: [0; 3],
            told: Told::default(),
            orders: VecDeque::new(),
            binds: Vec::new(),
            promises: BTreeMap::new(),
            unsure: BTreeSet::new(),
            disturbed: BTreeSet::new(),
            leads_from_ms: None,
            overtaken: BTreeMap::new(),
            refused: BTreeMap::new(),
            given_up: BTreeMap::new(),
            spare: BTreeMap::new(),
        };
        replica.list(api, seed);
        replica.planner.synced(api.now_ms);
        replica
    }

    /// The watches have to start over: everything is listed anew, and what is not in the lists is gone.
    pub(crate) fn list(&mut self, api: &Api, seed: u8) {
        let now_ms = api.now_ms;
        let pods: Vec<&Rc<Pod>> = api.pods.values().collect();
        let (second, first) = pods.split_at(usize::from(seed) % (pods.len() + 1));
        for pod in first {
            self.tell_pod(pod, now_ms);
        }
        for node in api.nodes.values() {
            self.tell(&Event::Node(node.clone()), now_ms);
        }
        for pod in second {
            self.tell_pod(pod, now_ms);
        }
        for (namespace, &hard) in &api.quotas {
            self.tell(&Event::Quota(namespace.clone(), Some((hard, 0))), now_ms);
        }
        self.planner.retain_pods(|uid| api.pods.contains_key(uid), now_ms);
        self.planner.retain_nodes(|name| api.nodes.contains_key(name));
        self.planner
            .retain_quotas(|namespace, _| api.quotas.contains_key(namespace));
        let gone: Vec<String> = self
            .told
            .pods
            .keys()
            .filter(|uid| !api.pods.contains_key(*uid))
            .cloned()
            .collect();
        for uid in &gone {
            self.told.delete(uid);
        }
        self.told.nodes.retain(|name, _| api.nodes.contains_key(name));
        self.told
            .quotas
            .retain(|namespace, _| api.quotas.contains_key(namespace));
        self.told.capacity_ms = now_ms;
        self.cursors = [api.log[NODES].len(), api.log[PODS].len(), api.log[QUOTAS].len()];
    }

    /// One watch tells up to `count` events.
    pub(crate) fn deliver(&mut self, api: &Api, kind: usize, count: usize) {
        let from = self.cursors[kind];
        let until = api.log[kind].len().min(from.saturating_add(count));
        self.cursors[kind] = until;
        for event in &api.log[kind][from..until] {
            self.tell(event, api.now_ms);
        }
    }

    pub(crate) fn deliver_all(&mut self, api: &Api) {
        for kind in [NODES, PODS, QUOTAS] {
            self.deliver(api, kind, usize::MAX);
        }
    }

    /// A Bind of the pod may be under way.
    pub(crate) fn binds(&self, uid: &str) -> bool {
        self.binds.iter().any(|bind| bind.uid == uid) || self.unsure.contains(uid)
    }

    fn tell(&mut self, event: &Event, now_ms: i64) {
        match event {
            Event::Node(node) => {
                self.told.nodes.insert(node.name.clone(), node.clone());
                self.disturbed.insert(node.name.clone());
                self.told.capacity_ms = now_ms;
                self.planner.apply_node((**node).clone());
            }
            Event::NodeGone(name) => {
                self.told.nodes.remove(name);
                self.told.capacity_ms = now_ms;
                self.planner.delete_node(name);
            }
            Event::Pod(pod) => self.tell_pod(pod, now_ms),
            Event::PodGone(uid) => {
                if self.told.pods.get(uid).is_some_and(|pod| pod.role.is_none()) {
                    self.told.capacity_ms = now_ms;
                }
                self.told.delete(uid);
                self.planner.delete_pod(uid, now_ms);
            }
            Event::Quota(namespace, Some((hard, used))) => {
                self.told.quotas.insert(namespace.clone(), (*hard, *used));
                let limits = |cpu_milli| Limits {
                    cpu_milli: Some(cpu_milli),
                    ..Limits::default()
                };
                let quota = Quota {
                    hard: limits(*hard),
                    used: limits(*used),
                };
                self.planner.apply_quota(namespace, "quota", quota);
            }
            Event::Quota(namespace, None) => {
                self.told.quotas.remove(namespace);
                self.planner.delete_quota(namespace, "quota");
            }
        }
    }

    pub(crate) fn tell_pod(&mut self, pod: &Rc<Pod>, now_ms: i64) {
        self.note(pod, now_ms);
        self.planner.apply_pod(pod, now_ms);
    }

    /// Keeps what the planner is told, by whatever way.
    pub(crate) fn note(&mut self, pod: &Rc<Pod>, now_ms: i64) {
        // A plan that another planner has made, and that this one may take over now: perhaps it did not when it first heard
        // of it, for want of its nodes.
        let again = pod.node.is_none() && !pod.has_gate(GANG_GATE);
        if let Some(plan) = &pod.plan
            && (again || self.held(pod).as_ref() != Some(plan))
        {
            let nodes = plan.executors.iter().map(|(node, _)| node);
            self.disturbed.extend(nodes.chain([&plan.driver]).cloned());
        }
        let promised = |node: &String| self.promises.get(&pod.uid).is_some_and(|promise| promise.node == *node);
        // Where it was promised nothing changes by it; a Bind to another node may be under way.
        if let Some(node) = &pod.node
            && self.told.pods.get(&pod.uid).is_none_or(|known| known.node.is_none())
            && !promised(node)
        {
            self.disturbed.insert(node.clone());
        }
        if self
            .told
            .pods
            .get(&pod.uid)
            .is_some_and(|known| known.requests != pod.requests)
        {
            self.disturbed.extend(pod.node.clone());
        }
        self.told.apply(pod, now_ms);
    }

    /// The plan of a driver's gang, as the planner has it.
    fn held(&self, driver: &Pod) -> Option<GangPlan> {
        self.planner.gang(&driver.namespace, &driver.name)?.plan
    }

    /// The planner is told how a Bind went.
    pub(crate) fn bind_done(&mut self, bind: &Bind, result: &BindResult, now_ms: i64) {
        self.planner.bind_done(&bind.uid, &bind.node, result, now_ms);
        match result {
            BindResult::Bound => self.told.bound(&bind.uid, &bind.node),
            BindResult::Elsewhere(node) => {
                self.disturbed.insert(node.clone());
                self.told.bound(&bind.uid, node);
            }
            BindResult::Unknown => _ = self.unsure.insert(bind.uid.clone()),
            BindResult::Failed => self.not_bound(&bind.uid),
        }
    }

    /// A Bind has certainly failed: what was kept for it can be taken back again.
    pub(crate) fn not_bound(&mut self, uid: &str) {
        if self.binds.iter().any(|bind| bind.uid == uid) {
            return;
        }
        if let Some(promise) = self.promises.get_mut(uid) {
            (promise.binding, promise.until_ms) = (false, UNTOLD);
            self.disturbed.insert(promise.node.clone());
        }
        self.unsure.remove(uid);
    }
}

impl Told {
    pub(crate) fn apply(&mut self, pod: &Rc<Pod>, now_ms: i64) {
        if self.gone.contains(&pod.uid) {
            return;
        }
        if let Some(known) = self.pods.get(&pod.uid) {
            if version(pod) < version(known) {
                return;
            }
            // Once bound, it stays so, whatever an older event says.
            if pod.node.is_none() && known.node.is_some() && !has_ended(pod) {
                let mut bound = (**pod).clone();
                bound.node.clone_from(&known.node);
                self.pods.insert(pod.uid.clone(), Rc::new(bound));
                return;
            }
        }
        if pod.role.is_none() {
            self.capacity_ms = now_ms;
        }
        if pod.role == Some(Role::Driver) {
            let next = self.arrivals.len();
            self.arrivals.entry(pod.uid.clone()).or_insert(next);
        }
        self.pods.insert(pod.uid.clone(), pod.clone());
        self.note_size(pod);
    }

    fn note_size(&mut self, pod: &Pod) {
        let driver = pod.owner_pod_uid.as_ref().and_then(|uid| self.pods.get(uid));
        let profile = driver.and_then(|driver| driver.profile.as_ref());
        if let (Some(driver), Some(profile)) = (&pod.owner_pod_uid, profile)
            && pod.requests.cpu_milli != profile.executor.cpu_milli
        {
            self.odd.insert(driver.clone());
        }
    }

    pub(crate) fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    pub(crate) fn delete(&mut self, uid: &str) {
        self.pods.remove(uid);
        self.odd.remove(uid);
        self.gone.insert(uid.into());
    }

    fn bound(&mut self, uid: &str, node: &str) {
        if let Some(pod) = self.pods.get_mut(uid)
            && pod.node.is_none()
            && !has_ended(pod)
        {
            Rc::make_mut(pod).node = Some(node.into());
        }
    }

    /// Pods that take room on nodes.
    pub(crate) fn bound_pods(&self) -> impl Iterator<Item = (&str, &Rc<Pod>)> {
        let pods = self.pods.values().filter(|pod| !has_ended(pod));
        pods.filter_map(|pod| Some((pod.node.as_deref()?, pod)))
    }

    pub(crate) fn is_usable(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.ready && !node.cordoned)
    }

    pub(crate) fn is_gated(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|pod| pod.has_gate(GANG_GATE))
    }
}

pub(crate) fn version(pod: &Pod) -> u64 {
    pod.resource_version.parse().expect("the model counts versions")
}
