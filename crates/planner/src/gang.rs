//! A gang: one driver, its slots, and where it stands.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use kompass_core::profile::RuntimeEstimate;
use kompass_core::wait::WaitCode;
use kompass_core::{GangPlan, JobProfile, PodTerm, Resources, Spacing};
use rustc_hash::FxHashMap;

use crate::action::OrderId;
use crate::arena::Id;
use crate::classes::ClassId;
use crate::forecast::ExpectedStart;
use crate::nodes::NodeId;
use crate::pods::PodId;
use crate::queue::Listed;
use crate::slots::Slots;
use crate::terms::KindId;

/// Points to a gang.
pub(crate) type GangId = Id<Gang>;

/// A gang whose Spark container has not ended.
#[derive(Debug)]
pub(crate) struct Gang {
    pub(crate) driver: PodId,
    pub(crate) namespace: Arc<str>,
    pub(crate) queue: Arc<str>,
    /// What its driver says about its queue.
    pub(crate) queue_label: Option<Box<str>>,
    pub(crate) priority: i32,
    pub(crate) created_ms: i64,
    /// Order of arrival here: creation times have whole seconds only.
    pub(crate) arrival: u64,
    pub(crate) profile_key: Option<String>,
    /// The keys of its kin, from the profile.
    pub(crate) wider_keys: Vec<String>,
    /// The predictor's estimate of its run time, from the profile.
    pub(crate) estimate: Option<RuntimeEstimate>,
    /// How long after its creation its driver is given up unless it runs, milliseconds.
    pub(crate) start_within_ms: Option<i64>,
    /// How it stands among the waiting gangs of equal needs.
    pub(crate) listed: Option<Listed>,
    /// Arrival of the head that it overtook.
    pub(crate) overtook: Option<u64>,
    /// What the pods need; `None` while there is no profile.
    pub(crate) shape: Option<Shape>,
    /// The scheduler could not use this node for the driver: not planned there again at once.
    pub(crate) avoid: Option<NodeId>,
    /// Class of the driver's own rules.
    pub(crate) driver_class: ClassId,
    /// Of which kind the driver was, and its affinity to other pods, when its class was made.
    pub(crate) driver_kind: KindId,
    pub(crate) driver_together: Vec<PodTerm>,
    /// KOMPASS's gate is closed.
    pub(crate) gated: bool,
    /// Another gate is closed.
    pub(crate) foreign_gate: bool,
    pub(crate) stage: Stage,
    /// The plan that is reserved.
    pub(crate) held: Option<Held>,
    pub(crate) slots: Slots,
    /// Slots of the minimum that were given up, because nobody has claimed them.
    pub(crate) unclaimed: u64,
    /// The free slots keep what a real executor requests, not what the profile says.
    pub(crate) corrected: bool,
    /// The plan annotation as last seen.
    pub(crate) written: Option<GangPlan>,
    /// A written plan up to this time was given up and is not believed again.
    pub(crate) disowned_ms: Option<i64>,
    /// The plan that is being written to an ungated driver: its time and when the order was given.
    pub(crate) writing: Option<(OrderId, i64, i64)>,
    pub(crate) executors: BTreeSet<PodId>,
    pub(crate) waiting: Waiting,
    pub(crate) demand: DemandState,
    /// Marker pods asked for, by node: the order and when.
    pub(crate) markers: FxHashMap<NodeId, (OrderId, i64)>,
    /// The last vain attempt to place executors beyond the minimum.
    pub(crate) extras: Option<crate::extras::Tried>,
    pub(crate) times: Times,
    pub(crate) sums: Sums,
}

/// What the pods of a gang need besides the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) executor: Resources,
    pub(crate) class: ClassId,
    /// The executors' rules about each other, where they have any.
    pub(crate) spacing: Option<Arc<Spacing>>,
    /// Of which kind executors are.
    pub(crate) kind: KindId,
    /// Their affinity to others' pods.
    pub(crate) together: Vec<PodTerm>,
    /// Executors that are reserved.
    pub(crate) minimum: u64,
    pub(crate) max: Option<u64>,
    pub(crate) dynamic: bool,
    /// Pause between two batches of executors that Spark is told to make; 0 where it isn't.
    pub(crate) batch_delay_ms: i64,
}

impl Shape {
    /// Host ports of each executor.
    pub(crate) fn ports(&self) -> &[u16] {
        self.spacing.as_ref().map_or(&[], |spacing| &spacing.host_ports)
    }
}

/// Where a gang stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Gated, in its queue, nothing is reserved.
    Waiting,
    /// The order to open the gate is on its way. The plan may have been lost since.
    Opening { order: OrderId, since_ms: i64 },
    /// The gate is open, the driver is not bound.
    Open(Open),
    /// The driver is bound.
    Bound,
}

/// An ungated driver on its way to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    /// Since when it has its present plan, or none.
    pub(crate) since_ms: i64,
    /// Filter did not have the planned node in its list since then.
    pub(crate) absent_ms: Option<i64>,
    /// When a check was last ordered.
    pub(crate) checked_ms: Option<i64>,
    /// The scheduler makes nothing of its plan: it takes part again when Filter asks for it.
    pub(crate) stuck: bool,
    /// A Bind to this node is under way.
    pub(crate) binding: Option<NodeId>,
}

impl Open {
    pub(crate) fn new(since_ms: i64) -> Self {
        Self {
            since_ms,
            absent_ms: None,
            checked_ms: None,
            stuck: false,
            binding: None,
        }
    }
}

/// A plan that is reserved; the executors' part is in the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// The driver's node. Charged while the driver isn't bound.
    pub(crate) node: NodeId,
    pub(crate) planned_ms: i64,
}

/// Why and for how long a gang lacks room.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting {
    pub(crate) code: Option<WaitCode>,
    /// The code last told in an event.
    pub(crate) told: Option<WaitCode>,
    /// Who goes before it, where that is not just its queue.
    pub(crate) behind: Option<Behind>,
    /// When it is expected to start, and what it was told first.
    pub(crate) expected: Option<ExpectedStart>,
    pub(crate) promised: Option<ExpectedStart>,
    pub(crate) verdict: Option<Verdict>,
    /// Since when it has lacked room, without pause.
    pub(crate) lacking_ms: Option<i64>,
    /// Its driver is soon given up by whoever has submitted it.
    pub(crate) pressed: bool,
    /// Gangs that started although this one was before them, since it began to lack room, and applications of client mode
    /// for which room was set aside.
    pub(crate) overtaken: u64,
    /// Gangs of its queue that started before it by backfill, since it became the head.
    pub(crate) backfilled: u64,
    /// No order for it before this time, unless its version differs from this one.
    pub(crate) rest: Option<(i64, Box<str>)>,
    /// Refusals in a row.
    pub(crate) refusals: u32,
}

/// Who goes before a gang although it is not of its queue, or not in it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Behind {
    /// A started driver of its queue has lost its room.
    Lost,
    /// This gang was passed so often, or has so little time left, that nothing starts before it.
    Overdue(GangId),
    /// A queue that stays within its guarantee.
    Guaranteed,
}

impl Waiting {
    /// It has another place in a queue: only a head has a claim on room, and whether it is one is still to be seen. Who
    /// went before it went so in the other place.
    pub(crate) fn unjudge(&mut self) {
        (self.code, self.behind) = (None, None);
        (self.verdict, self.lacking_ms) = (None, None);
    }
}

/// The last vain attempt to find room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    /// `Nodes::grown` then.
    pub(crate) grown: u64,
    /// `Nodes::capacity` then.
    pub(crate) capacity: u64,
    pub(crate) at_ms: i64,
    pub(crate) lack: Lack,
}

/// What kind of lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// It fits once KOMPASS's own pods have gone: waiting helps, others wait behind it.
    Now,
    /// It does not fit even then.
    Ever,
    /// No node satisfies the rules of its pods.
    Match,
}

impl Verdict {
    /// Waiting helps: it has a claim on room.
    pub(crate) fn is_now(self) -> bool {
        self.lack == Lack::Now
    }
}

/// Nodes asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct DemandState {
    pub(crate) active: Option<ActiveDemand>,
    /// None before this time.
    pub(crate) rest_ms: Option<i64>,
}

/// A demand under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ActiveDemand {
    pub(crate) order: OrderId,
    pub(crate) pods: u64,
    pub(crate) asked_ms: i64,
    pub(crate) deadline_ms: i64,
}

/// Points in time, as seen here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    pub(crate) profiled_ms: Option<i64>,
    pub(crate) planned_ms: Option<i64>,
    pub(crate) bound_ms: Option<i64>,
    pub(crate) first_executor_ms: Option<i64>,
    /// When an executor was last created or began to run.
    pub(crate) last_executor_ms: Option<i64>,
    pub(crate) started_ms: Option<i64>,
    /// Seen from before its start.
    pub(crate) whole: bool,
}

/// What is summed up over a gang's life.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    /// Time of executors that have ended, milliseconds.
    pub(crate) executor_ms: u64,
    pub(crate) bound: u64,
    pub(crate) peak: u64,
}

/// Place in the order of a queue: by priority, age, arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OrderKey {
    priority: Reverse<i32>,
    created_ms: i64,
    arrival: u64,
    pub(crate) gang: GangId,
}

impl Gang {
    pub(crate) fn key(&self, id: GangId) -> OrderKey {
        OrderKey {
            priority: Reverse(self.priority),
            created_ms: self.created_ms,
            arrival: self.arrival,
            gang: id,
        }
    }

    /// The executors' rules about each other, where they have any.
    pub(crate) fn spacing(&self) -> Option<&Spacing> {
        self.shape.as_ref()?.spacing.as_deref()
    }

    /// Executors that are reserved: none without a profile.
    pub(crate) fn minimum(&self) -> u64 {
        let planned = self.shape.as_ref().map_or(0, |shape| shape.minimum);
        planned.saturating_sub(self.unclaimed)
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.stage == Stage::Bound
    }

    /// One executor more is bound, since this time.
    pub(crate) fn executor_came(&mut self, bound_ms: Option<i64>) {
        self.sums.bound += 1;
        self.sums.peak = self.sums.peak.max(self.sums.bound);
        let first = self.times.first_executor_ms.into_iter().chain(bound_ms).min();
        self.times.first_executor_ms = first;
    }

    /// A bound executor has ended.
    pub(crate) fn executor_went(&mut self, bound_ms: Option<i64>, now_ms: i64) {
        self.sums.bound = self.sums.bound.saturating_sub(1);
        let lived = bound_ms.map_or(0, |bound_ms| now_ms.saturating_sub(bound_ms));
        self.sums.executor_ms = self.sums.executor_ms.saturating_add(u64::try_from(lived).unwrap_or(0));
    }

    /// Ungated (or about to be), not bound and without a plan.
    pub(crate) fn is_unplanned(&self) -> bool {
        matches!(self.stage, Stage::Opening { .. } | Stage::Open(_)) && self.held.is_none()
    }

    pub(crate) fn is_stuck(&self) -> bool {
        matches!(self.stage, Stage::Open(open) if open.stuck)
    }

    /// Where the driver is being bound right now.
    pub(crate) fn binding(&self) -> Option<NodeId> {
        match self.stage {
            Stage::Open(open) => open.binding,
            _ => None,
        }
    }
}

/// Executors that are reserved for a job: what Spark asks for at its start, and with dynamic allocation at least
/// `floor` (but never more than its maximum), since a driver without any executor only takes room.
pub fn minimum(profile: &JobProfile, floor: u64) -> u64 {
    let floor = if profile.dynamic_allocation {
        floor.min(profile.executors_max.unwrap_or(u64::MAX))
    } else {
        0
    };
    profile.executors_at_start.max(floor)
}
