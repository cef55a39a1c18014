//! The planner's state and its feeding.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kompass_core::{Node, Pod};
use rustc_hash::FxHashMap;

use crate::attention::Attention;
use crate::backfill::Ahead;
use crate::client::Clients;
use crate::ends::Ends;
use crate::gang::GangId;
use crate::gangs::Gangs;
use crate::headroom::Headroom;
use crate::nodes::{Charge, NodeId, Nodes, Owner};
use crate::pods::{self, Kind, Place, PodId, Pods, Seat};
use crate::policy::Policy;
use crate::promise::Promises;
use crate::queue::Queues;
use crate::quota::{Quota, Quotas};
use crate::runtimes::Runtimes;
use crate::share::Shares;
use crate::terms::Count;
use crate::{Config, FinishedGang, OrderId};

/// The planner. See the crate's documentation for its life.
#[derive(Debug)]
pub struct Planner {
    pub(crate) config: Config,
    pub(crate) nodes: Nodes,
    pub(crate) pods: Pods,
    pub(crate) gangs: Gangs,
    pub(crate) attention: Attention,
    pub(crate) queues: Queues,
    pub(crate) quotas: Quotas,
    pub(crate) policy: Policy,
    pub(crate) shares: Shares,
    pub(crate) promises: Promises,
    /// Gangs that have an expected start.
    pub(crate) told: Vec<GangId>,
    pub(crate) headroom: Headroom,
    /// Executors of client mode.
    pub(crate) clients: Clients,
    /// Since when gangs have had a free slot and an executor beside their slots.
    pub(crate) idle: BTreeMap<GangId, i64>,
    /// How long gangs have run of late.
    pub(crate) runtimes: Runtimes,
    /// When those that hold room are expected to end.
    pub(crate) ends: Ends,
    /// By queue: what is kept of the head that waits for room.
    pub(crate) ahead: FxHashMap<Arc<str>, Ahead>,
    pub(crate) synced: bool,
    /// Leading, and no new driver plan before this time.
    pub(crate) lead: Option<i64>,
    /// It leads, and does not plan yet.
    pub(crate) holds_back: bool,
    /// When the scheduler last asked anything.
    pub(crate) scheduler_ms: Option<i64>,
    pub(crate) arrivals: u64,
    pub(crate) last_order: OrderId,
    /// Orders whose failure matters.
    pub(crate) in_flight: FxHashMap<OrderId, (Target, i64)>,
    /// Assumed pods by the time at which they are given up; may hold entries that are no longer so.
    pub(crate) assumed: BTreeSet<(i64, PodId)>,
    /// Binds that have begun and not ended, by the pod's UID.
    pub(crate) binds: FxHashMap<Box<str>, u32>,
    /// Executors whose gate is closed.
    pub(crate) gated: BTreeSet<PodId>,
    /// Executors pinned to nodes, ungated and not bound.
    pub(crate) pinned: BTreeSet<PodId>,
    /// When pinned executors were last looked at.
    pub(crate) looked_ms: Option<i64>,
    pub(crate) markers: BTreeSet<PodId>,
    /// Stand-ins by the gang's UID.
    pub(crate) stand_ins: BTreeMap<Box<str>, BTreeSet<PodId>>,
    /// When the end of a demand was last ordered, by the gang's UID.
    pub(crate) releases: BTreeMap<Box<str>, Option<i64>>,
    pub(crate) finished: Vec<FinishedGang>,
    /// The classes of rules that gangs with a claim on room have; extras stay off these nodes.
    pub(crate) claims: crate::extras::Claims,
    /// Something was fed or answered since the last decision.
    pub(crate) changed: bool,
    /// When to decide again even if nothing is fed.
    pub(crate) wake_ms: Option<i64>,
}

/// What an order was about, by UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Gate(Arc<str>),
    ExecutorGate(Arc<str>),
    Plan(Arc<str>),
    Demand(Arc<str>),
    Marker(Arc<str>, NodeId),
}

impl Planner {
    /// A planner that knows nothing, is not synced and does not lead.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            nodes: Nodes::default(),
            pods: Pods::default(),
            gangs: Gangs::default(),
            attention: Attention::default(),
            queues: Queues::default(),
            quotas: Quotas::default(),
            policy: Policy::default(),
            shares: Shares::default(),
            promises: Promises::default(),
            told: Vec::new(),
            headroom: Headroom::default(),
            clients: Clients::default(),
            idle: BTreeMap::new(),
            runtimes: Runtimes::default(),
            ends: Ends::default(),
            ahead: FxHashMap::default(),
            synced: false,
            lead: None,
            holds_back: false,
            scheduler_ms: None,
            arrivals: 0,
            last_order: 0,
            in_flight: FxHashMap::default(),
            assumed: BTreeSet::new(),
            binds: FxHashMap::default(),
            gated: BTreeSet::new(),
            pinned: BTreeSet::new(),
            looked_ms: None,
            markers: BTreeSet::new(),
            stand_ins: BTreeMap::new(),
            releases: BTreeMap::new(),
            finished: Vec::new(),
            claims: crate::extras::Claims::default(),
            changed: false,
            wake_ms: None,
        }
    }

    /// A node was listed, added or changed. As all feeding: may be repeated, in any order with the others.
    pub fn apply_node(&mut self, node: Node) {
        let name = node.name.clone();
        if self.nodes.apply(node) {
            self.changed = true;
            self.node_seen(&name);
        }
    }

    /// A node is gone.
    pub fn delete_node(&mut self, name: &str) {
        self.changed |= self.nodes.remove(name);
    }

    /// A resource quota was listed, added or changed.
    pub fn apply_quota(&mut self, namespace: &str, name: &str, quota: Quota) {
        self.changed |= self.quotas.apply(namespace, name, quota);
    }

    /// A resource quota is gone.
    pub fn delete_quota(&mut self, namespace: &str, name: &str) {
        self.changed |= self.quotas.remove(namespace, name);
    }

    /// A pod was listed, added or changed: all pods of the cluster, KOMPASS's or not. An older resource version than
    /// the one known is ignored, and so is a pod whose deletion was seen.
    pub fn apply_pod(&mut self, pod: &Pod, now_ms: i64) {
        if self.pods.is_gone(&pod.uid) {
            return;
        }
        self.changed = true;
        let id = match self.pods.all.id(&pod.uid) {
            Some(id) if pods::is_older(&pod.resource_version, &self.pods.all[id].version) => return,
            Some(id) => {
                self.update(id, pod);
                id
            }
            None => {
                self.remember_run(pod);
                self.insert(pod)
            }
        };
        match &self.pods.all[id].kind {
            Kind::Driver(_) => self.driver_seen(id, pod, now_ms),
            Kind::Executor(_) => self.executor_seen(id, pod, now_ms),
            Kind::Foreign | Kind::Plain | Kind::Marker { .. } | Kind::StandIn { .. } => self.place_seen(id, pod),
        }
        self.daemon_seen(id, pod);
        self.client_seen(id, pod);
        self.follow_news();
    }

    /// A pod object is gone.
    pub fn delete_pod(&mut self, uid: &str, now_ms: i64) {
        if let Some(id) = self.pods.all.id(uid) {
            self.changed = true;
            self.daemon_gone(uid);
            self.quotas.leave(&self.pods.all[id]);
            match &self.pods.all[id].kind {
                Kind::Driver(_) => self.driver_gone(id, now_ms),
                Kind::Executor(_) => self.executor_gone(id, now_ms),
                Kind::Marker { .. } => _ = self.markers.remove(&id),
                Kind::StandIn { gang, .. } => {
                    if let Some(pods) = self.stand_ins.get_mut(gang) {
                        pods.remove(&id);
                        if pods.is_empty() {
                            self.stand_ins.remove(gang);
                        }
                    }
                }
                Kind::Foreign | Kind::Plain => {}
            }
            self.pods.all[id].put(Place::Nowhere, &mut self.nodes);
            self.client_gone(id);
            self.nodes.release_kind(self.pods.all[id].peer);
        }
        self.pods.bury(uid);
    }

    /// The pods were listed anew (a watch had to start over): those for which `listed` is false by UID are gone.
    pub fn retain_pods(&mut self, listed: impl Fn(&str) -> bool, now_ms: i64) {
        let uids = self.pods.all.iter().map(|(id, _)| self.pods.all.uid(id).clone());
        for uid in uids.filter(|uid| !listed(uid)).collect::<Vec<_>>() {
            self.delete_pod(&uid, now_ms);
        }
    }

    /// The same for nodes, by name.
    pub fn retain_nodes(&mut self, listed: impl Fn(&str) -> bool) {
        let names = self
            .nodes
            .ids()
            .filter(|&id| self.nodes.node(id).is_some())
            .map(|id| self.nodes.name(id).clone());
        for name in names.filter(|name| !listed(name)).collect::<Vec<_>>() {
            self.delete_node(&name);
        }
    }

    /// The same for resource quotas, by namespace and name.
    pub fn retain_quotas(&mut self, listed: impl Fn(&str, &str) -> bool) {
        for (namespace, name) in self.quotas.names() {
            if !listed(&namespace, &name) {
                self.delete_quota(&namespace, &name);
            }
        }
    }

    /// All watches have listed: plans are believed from the drivers' annotations. Nothing is decided before. Further
    /// calls do nothing.
    pub fn synced(&mut self, now_ms: i64) {
        if !std::mem::replace(&mut self.synced, true) {
            self.changed = true;
            self.rebuild(now_ms);
        }
    }

    /// The lease is held: from now on `decide` gives orders. No new driver plan is made before `earliest_ms` (lease
    /// start + the Bind deadline of the one who held it before).
    pub fn take_over(&mut self, earliest_ms: i64) {
        self.lead = Some(earliest_ms);
        self.finished.clear();
        self.changed = true;
    }

    /// The lease is lost: no more orders; Filter only answers what is planned already.
    pub fn step_down(&mut self) {
        self.lead = None;
        self.holds_back = false;
        self.promises.give_up();
        self.release_all_aside();
        self.gangs.touch_all();
    }

    /// Whether `take_over` was called after the last `step_down`.
    pub fn leads(&self) -> bool {
        self.lead.is_some()
    }

    /// Whether new plans may be made.
    pub(crate) fn may_plan(&self, now_ms: i64) -> bool {
        self.synced && self.lead.is_some_and(|earliest_ms| now_ms >= earliest_ms)
    }

    fn insert(&mut self, pod: &Pod) -> PodId {
        let namespace = self.pods.namespace(&pod.namespace);
        let peer = self.nodes.acquire_kind(&namespace, &pod.labels, &pod.pod_rules.apart);
        let entry = pods::entry(pod, namespace, peer);
        self.quotas.enter(&entry);
        let id = self.pods.all.insert(&pod.uid, entry);
        match &self.pods.all[id].kind {
            Kind::Marker { .. } => _ = self.markers.insert(id),
            Kind::StandIn { gang, .. } => {
                let gang = gang.clone();
                self.stand_ins.entry(gang).or_default().insert(id);
            }
            Kind::Foreign | Kind::Plain | Kind::Driver(_) | Kind::Executor(_) => {}
        }
        id
    }

    /// Takes over what may change in a pod's life, with its charges.
    fn update(&mut self, id: PodId, pod: &Pod) {
        let entry = &mut self.pods.all[id];
        let terminal = pod.is_terminal();
        if entry.requests != pod.requests || entry.terminal != terminal {
            self.quotas.leave(entry);
            if entry.requests != pod.requests {
                self.recharge(id, pod);
            }
            let entry = &mut self.pods.all[id];
            entry.terminal = terminal;
            self.quotas.enter(entry);
        }
        self.relabel(id, pod);
        let entry = &mut self.pods.all[id];
        entry.deleting = pod.deleting;
        if *entry.version != *pod.resource_version {
            entry.version = pod.resource_version.as_str().into();
        }
    }

    /// The labels may have changed: then the pod is of another kind where it takes room.
    fn relabel(&mut self, id: PodId, pod: &Pod) {
        let entry = &self.pods.all[id];
        let rules = &pod.pod_rules.apart;
        if self.nodes.is_kind(entry.peer, &entry.namespace, &pod.labels, rules) {
            return;
        }
        let namespace = entry.namespace.clone();
        let new = self.nodes.acquire_kind(&namespace, &pod.labels, rules);
        let reserved = self.driver_room(id);
        let entry = &mut self.pods.all[id];
        let old = std::mem::replace(&mut entry.peer, new);
        if let Some(node) = reserved.or_else(|| entry.seat().map(|seat| seat.0)) {
            let count = Count {
                all: 1,
                foreign: u64::from(entry.owner == Owner::Foreign),
                bound: u64::from(entry.is_bound()),
            };
            self.nodes.change_kind(node, old, new, count);
        }
        self.nodes.release_kind(old);
    }

    /// Where room is reserved for the pod, if it is a driver that isn't bound.
    fn driver_room(&self, id: PodId) -> Option<NodeId> {
        match self.pods.all[id].kind {
            Kind::Driver(Some(gang)) => self.reserved_for_driver(gang),
            _ => None,
        }
    }

    /// The requests have changed (an in-place resize): what was charged with the old ones is charged with the new ones.
    fn recharge(&mut self, id: PodId, pod: &Pod) {
        let reserved = self.driver_room(id);
        let entry = &mut self.pods.all[id];
        let old = std::mem::replace(&mut entry.requests, pod.requests.clone());
        if let Some(node) = reserved.or_else(|| entry.seat().map(|seat| seat.0)) {
            // The new charge first: a node without any charge may be forgotten.
            self.nodes.charge(node, entry.charge(), 1);
            self.nodes.discharge(
                node,
                Charge {
                    requests: &old,
                    ..entry.charge()
                },
                1,
            );
        }
    }

    /// Where a pod that is neither driver nor executor takes room.
    pub(crate) fn place_seen(&mut self, id: PodId, pod: &Pod) {
        let place = self.seen_place(id, pod);
        self.pods.all[id].put(place, &mut self.nodes);
    }

    /// The place that the watch tells. What is assumed stays so until the pod is bound: the event may be older than the
    /// answer to Filter. A pod once bound stays bound.
    pub(crate) fn seen_place(&mut self, id: PodId, pod: &Pod) -> Place {
        match (&pod.node, self.pods.all[id].place) {
            _ if pod.is_terminal() => Place::Nowhere,
            (None, place) => place,
            (Some(name), Place::Bound { node, seat }) if **self.nodes.name(node) == **name => {
                Place::Bound { node, seat }
            }
            (Some(name), Place::Assumed { node, seat, .. }) if **self.nodes.name(node) == **name => {
                Place::Bound { node, seat }
            }
            (Some(name), _) => Place::Bound {
                node: self.nodes.intern(name),
                seat: Seat::Extra,
            },
        }
    }
}
