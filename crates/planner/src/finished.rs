//! What is kept of a gang that has ended.

use kompass_core::{Outcome, Resources};
use serde::Serialize;

/// A gang that has ended. Times are milliseconds since 1970, `None` where not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FinishedGang {
    /// The driver's namespace.
    pub namespace: String,
    /// The driver's name.
    pub name: String,
    /// The driver's UID.
    pub uid: String,
    /// The queue it waited in.
    pub queue: String,
    /// Identity of "the same job"; `None` without a profile.
    pub profile_key: Option<String>,
    /// The keys of its kin, from narrow to wide; empty without a profile.
    pub wider_keys: Vec<String>,
    /// The driver's requests.
    pub driver: Resources,
    /// Requests of one executor; `None` without a profile.
    pub executor: Option<Resources>,
    /// Executors of the minimum.
    pub executors_min: u64,
    /// Executors at most; `None` without a limit.
    pub executors_max: Option<u64>,
    /// When the driver was created.
    pub submitted_ms: i64,
    /// When its profile was first seen.
    pub profiled_ms: Option<i64>,
    /// When the plan was made that it started with.
    pub planned_ms: Option<i64>,
    /// When the driver was bound.
    pub bound_ms: Option<i64>,
    /// When its first executor was bound.
    pub first_executor_ms: Option<i64>,
    /// When the driver's Spark container began.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: i64,
    /// From submission to the driver's bind (or to the end, where it was never bound).
    pub wait_ms: i64,
    /// From the driver's start (or bind) to the end.
    pub run_ms: Option<i64>,
    /// Time of all executors together, from bind to end, in milliseconds.
    pub executor_ms: u64,
    /// Most executors bound at once.
    pub executors_peak: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The whole life was watched by this planner; otherwise executors that ended earlier are missing in the sums.
    pub whole: bool,
}
