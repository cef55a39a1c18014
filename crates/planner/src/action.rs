//! What the planner asks the edge to do. Every action may be repeated without harm, and most are confirmed by what
//! the watch shows afterwards; only failures are reported back.

use kompass_core::{Constraints, GangPlan, Resources, Role, WaitReason};

use crate::finished::FinishedGang;

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: a precondition of every write.
    pub uid: String,
}

/// The number of an [`Order`], for [`Planner::action_failed`](crate::Planner::action_failed).
pub type OrderId = u64;

/// An action and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Unique within one planner.
    pub id: OrderId,
    /// What is to be done.
    pub action: Action,
}

/// What came out of one [`Planner::decide`](crate::Planner::decide).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// To be carried out, in this order where two concern the same pod.
    pub orders: Vec<Order>,
    /// The budget of one call was used up: call again soon, after letting waiting Filter calls through.
    pub again: bool,
}

/// Something for the edge to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the plan annotation on the driver and remove the gate `kompass.dev/gang`, in one patch that holds only for
    /// this UID and resource version. The driver is not pinned to its node: it could not be planned again.
    OpenGate {
        /// The driver.
        driver: PodRef,
        /// The version that the decision was made on.
        resource_version: String,
        /// The plan, already reserved.
        plan: GangPlan,
    },
    /// Remove the gate of an executor, in one patch that holds only for this UID and resource version, and pin it to
    /// the node (required affinity on `metadata.name`, added to every term of its own).
    OpenExecutorGate {
        /// The executor.
        executor: PodRef,
        /// The version that the decision was made on.
        resource_version: String,
        /// Where room is kept for it.
        node: String,
    },
    /// Write the changed plan of a driver whose gate is open (a patch with the UID as precondition).
    Replan {
        /// The driver.
        driver: PodRef,
        /// The whole new plan.
        plan: GangPlan,
    },
    /// Make a lack of nodes visible to autoscalers, all members at once. Replaces an earlier demand of the gang.
    Demand(Demand),
    /// End the demand of a gang (by the driver's UID; the driver may be gone).
    ReleaseDemand {
        /// UID of the driver.
        gang: String,
    },
    /// Bind a marker pod to a node of the gang's plan that has no other pod of KOMPASS's yet.
    PlaceMarker {
        /// The driver.
        gang: PodRef,
        /// The node.
        node: String,
    },
    /// Delete a marker pod.
    RemoveMarker {
        /// The marker.
        marker: PodRef,
    },
    /// Delete an executor that can run nowhere (all nodes that it is pinned to are gone or full); Spark makes another.
    DeleteExecutor {
        /// The executor.
        executor: PodRef,
    },
    /// Tell why a gang waits, as an event on the driver. Given when the kind of reason changes; where many change at
    /// once the edge limits the rate and drops the older ones of a driver.
    Explain {
        /// The driver.
        driver: PodRef,
        /// The reason.
        reason: WaitReason,
    },
    /// Read the pod from the API server and answer with [`Planner::checked`](crate::Planner::checked).
    Check {
        /// The pod.
        pod: PodRef,
    },
    /// A gang has ended: for the metrics and the predictor.
    Finished(Box<FinishedGang>),
}

/// A lack of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The driver.
    pub gang: PodRef,
    /// What lacks room: groups of equal pods.
    pub members: Vec<Member>,
    /// When the demand has to end by itself, milliseconds since 1970.
    pub deadline_ms: i64,
}

/// Equal pods of a demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What they stand for.
    pub role: Role,
    /// How many, above zero.
    pub count: u64,
    /// Requests of each.
    pub requests: Resources,
    /// Hard rules about their nodes.
    pub constraints: Constraints,
}

/// How an action failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Certainly not written: the object has changed (409, failed precondition).
    Conflict,
    /// Certainly not written: the object is gone (404).
    Gone,
    /// Certainly not written for another reason (403, 422, too many requests, connection refused).
    Refused,
    /// Not known whether it was written (time-out, connection lost, 5xx).
    Unknown,
}
