//! What is kept of a pod: little, since all pods of the cluster are here.

use std::collections::VecDeque;
use std::sync::Arc;

use kompass_core::names::{GANG_GATE, SCHEDULER};
use kompass_core::{Constraints, Pod, Resources, Role};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::action::{OrderId, PodRef};
use crate::arena::{Arena, Id};
use crate::gang::GangId;
use crate::nodes::{Charge, NodeId, Nodes, Owner};
use crate::terms::{KindId, Step};

/// Points to a pod.
pub(crate) type PodId = Id<PodEntry>;

/// A pod.
#[derive(Debug)]
pub(crate) struct PodEntry {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Box<str>,
    pub(crate) version: Box<str>,
    pub(crate) requests: Resources,
    pub(crate) ports: Box<[u16]>,
    pub(crate) owner: Owner,
    /// By which rules of pods about other pods are judged.
    pub(crate) peer: KindId,
    pub(crate) deleting: bool,
    /// Succeeded or failed: counts nowhere any more.
    pub(crate) terminal: bool,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

/// Where a pod takes room. Whatever is not `Nowhere` is charged to the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere (a driver's room before it is bound is its plan's).
    #[default]
    Nowhere,
    /// Answered to Filter, or promised with an opened gate; not seen bound yet.
    Assumed {
        node: NodeId,
        seat: Seat,
        /// Given up at this time.
        until_ms: i64,
        /// A Bind is under way: not given up without a check.
        binding: bool,
    },
    /// Bound.
    Bound { node: NodeId, seat: Seat },
}

/// What an executor sits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// A slot of its gang's plan.
    Slot,
    /// Room that nobody has reserved; every other pod too.
    Extra,
}

/// What a pod is to the planner.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Another scheduler's.
    Foreign,
    /// KOMPASS's scheduler places it, but it is of no gang.
    Plain,
    /// The driver of a gang; `None` once the gang has ended.
    Driver(Option<GangId>),
    /// An executor with an owner pod.
    Executor(Box<Executor>),
    /// Keeps a node. `asked_ms`: when its deletion was last ordered.
    Marker { asked_ms: Option<i64> },
    /// Stands for a member of a gang that lacks nodes; by the gang's driver UID.
    StandIn { gang: Box<str>, created_ms: i64 },
}

/// What more is kept of an executor.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of the pod that don't depend on one another"
)]
pub(crate) struct Executor {
    /// UID of the owning pod.
    pub(crate) driver: Arc<str>,
    /// The gang, once its driver is known.
    pub(crate) gang: Option<GangId>,
    /// Its gang has ended.
    pub(crate) orphan: bool,
    /// `spark-exec-id`; `u64::MAX` where it is no number.
    pub(crate) number: u64,
    pub(crate) created_ms: i64,
    /// KOMPASS's gate is closed.
    pub(crate) gated: bool,
    /// Another gate is closed.
    pub(crate) foreign_gate: bool,
    /// Rules about nodes, while it is not bound.
    pub(crate) constraints: Constraints,
    /// It has begun to run.
    pub(crate) started: bool,
    /// Of the job's own size, not of a stage's.
    pub(crate) is_usual: bool,
    /// When it was first known to be bound.
    pub(crate) bound_ms: Option<i64>,
    /// The order that opens its gate.
    pub(crate) opening: Option<OrderId>,
    /// No order for it before this time, unless its version differs from this one.
    pub(crate) rest: Option<(i64, Box<str>)>,
    /// Since when it can run nowhere.
    pub(crate) stuck_ms: Option<i64>,
}

/// All pods, and the indexes over them.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    pub(crate) all: Arena<PodEntry>,
    /// Executors that came before their driver, by its UID.
    pub(crate) awaiting_driver: FxHashMap<Arc<str>, FxHashSet<PodId>>,
    namespaces: FxHashSet<Arc<str>>,
    gone: FxHashSet<Arc<str>>,
    gone_order: VecDeque<Arc<str>>,
}

/// UIDs of deleted pods that are remembered: events of the past may still be on their way.
const GONE_MAX: usize = 16_384;

impl Pods {
    /// One shared copy of each namespace's name.
    pub(crate) fn namespace(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.namespaces.insert(name.clone());
        name
    }

    pub(crate) fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    /// Forgets the pod and remembers that it is gone.
    pub(crate) fn bury(&mut self, uid: &str) {
        let known = self.all.id(uid).and_then(|id| self.all.remove(id));
        let uid = known.unwrap_or_else(|| uid.into());
        if self.gone.insert(uid.clone()) {
            self.gone_order.push_back(uid);
        }
        if self.gone_order.len() > GONE_MAX
            && let Some(oldest) = self.gone_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }

    pub(crate) fn reference(&self, id: PodId) -> PodRef {
        let pod = &self.all[id];
        PodRef {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: self.all.uid(id).to_string(),
        }
    }
}

impl PodEntry {
    pub(crate) fn charge(&self) -> Charge<'_> {
        Charge {
            requests: &self.requests,
            ports: &self.ports,
            owner: self.owner,
            kind: self.peer,
        }
    }

    /// The node where it is bound.
    fn bound_at(&self) -> Option<NodeId> {
        bound_node(self.place)
    }

    /// The node where it takes room, and as what.
    pub(crate) fn seat(&self) -> Option<(NodeId, Seat)> {
        match self.place {
            Place::Nowhere => None,
            Place::Assumed { node, seat, .. } | Place::Bound { node, seat } => Some((node, seat)),
        }
    }

    pub(crate) fn is_bound(&self) -> bool {
        matches!(self.place, Place::Bound { .. })
    }

    pub(crate) fn executor(&self) -> Option<&Executor> {
        match &self.kind {
            Kind::Executor(executor) => Some(executor),
            _ => None,
        }
    }

    pub(crate) fn executor_mut(&mut self) -> Option<&mut Executor> {
        match &mut self.kind {
            Kind::Executor(executor) => Some(executor),
            _ => None,
        }
    }

    /// The gang of an executor.
    pub(crate) fn gang(&self) -> Option<GangId> {
        self.executor().and_then(|executor| executor.gang)
    }

    /// The pod, which has no place, takes over room that is charged to the node already.
    pub(crate) fn inherit(&mut self, place: Place, nodes: &mut Nodes) {
        if let Place::Bound { node, .. } = place {
            nodes.count_bound(node, true);
            nodes.note_bound(node, self.peer, Step::Come);
        }
        self.place = place;
    }

    /// Moves the pod's room; slots are the caller's business.
    pub(crate) fn put(&mut self, place: Place, nodes: &mut Nodes) {
        if self.place == place {
            return;
        }
        let (old, new) = (self.seat().map(|seat| seat.0), place_node(place));
        let bound_at = self.bound_at();
        if let Some(node) = bound_at.filter(|_| bound_at != bound_node(place)) {
            nodes.note_bound(node, self.peer, Step::Go);
        }
        let counts = self.owner == Owner::Ours && !matches!(self.kind, Kind::Marker { .. });
        if old == new {
            if let (Some(node), true) = (new, counts) {
                match (self.is_bound(), matches!(place, Place::Bound { .. })) {
                    (false, true) => nodes.count_bound(node, true),
                    (true, false) => nodes.count_bound(node, false),
                    _ => {}
                }
            }
        } else {
            if let Some(node) = old {
                if counts && self.is_bound() {
                    nodes.count_bound(node, false);
                }
                nodes.discharge(node, self.charge(), 1);
            }
            if let Some(node) = new {
                nodes.charge(node, self.charge(), 1);
                if counts && matches!(place, Place::Bound { .. }) {
                    nodes.count_bound(node, true);
                }
            }
        }
        self.place = place;
        if let Some(node) = self.bound_at().filter(|&node| bound_at != Some(node)) {
            nodes.note_bound(node, self.peer, Step::Come);
        }
    }
}

fn bound_node(place: Place) -> Option<NodeId> {
    match place {
        Place::Bound { node, .. } => Some(node),
        _ => None,
    }
}

fn place_node(place: Place) -> Option<NodeId> {
    match place {
        Place::Nowhere => None,
        Place::Assumed { node, .. } | Place::Bound { node, .. } => Some(node),
    }
}

/// What the planner keeps of the pod as it is. Links (gang, place) are not set.
pub(crate) fn entry(pod: &Pod, namespace: Arc<str>, peer: KindId) -> PodEntry {
    let kind = kind(pod);
    let ours = pod.scheduler == SCHEDULER || matches!(kind, Kind::Marker { .. } | Kind::StandIn { .. });
    PodEntry {
        namespace,
        name: pod.name.as_str().into(),
        version: pod.resource_version.as_str().into(),
        requests: pod.requests.clone(),
        ports: pod.host_ports.as_slice().into(),
        owner: if ours { Owner::Ours } else { Owner::Foreign },
        peer,
        deleting: pod.deleting,
        terminal: pod.is_terminal(),
        place: Place::Nowhere,
        kind,
    }
}

fn kind(pod: &Pod) -> Kind {
    if let Some(gang) = &pod.stand_in_for {
        return Kind::StandIn {
            gang: gang.as_str().into(),
            created_ms: pod.created_ms,
        };
    }
    if pod.marker_for.is_some() {
        return Kind::Marker { asked_ms: None };
    }
    if pod.scheduler != SCHEDULER {
        return Kind::Foreign;
    }
    match (pod.role, &pod.owner_pod_uid) {
        (Some(Role::Driver), _) => Kind::Driver(None),
        (Some(Role::Executor), Some(driver)) => Kind::Executor(Box::new(Executor {
            driver: driver.as_str().into(),
            gang: None,
            orphan: false,
            number: pod
                .executor_id
                .as_deref()
                .and_then(|id| id.parse().ok())
                .unwrap_or(u64::MAX),
            created_ms: pod.created_ms,
            gated: pod.has_gate(GANG_GATE),
            foreign_gate: pod.gates.iter().any(|gate| gate != GANG_GATE),
            constraints: if pod.node.is_none() {
                pod.constraints.clone()
            } else {
                Constraints::default()
            },
            started: false,
            is_usual: pod.resource_profile_id.as_deref().is_none_or(|id| id == "0"),
            bound_ms: None,
            opening: None,
            rest: None,
            stuck_ms: None,
        })),
        _ => Kind::Plain,
    }
}

/// Whether `new` is an older version of the object than `known`. Versions that are not numbers are taken as they come.
pub(crate) fn is_older(new: &str, known: &str) -> bool {
    matches!((new.parse::<u64>(), known.parse::<u64>()), (Ok(new), Ok(known)) if new < known)
}
