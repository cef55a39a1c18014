//! What KOMPASS knows of nodes and pods: the few fields that decisions need, filled in by the Kubernetes edge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::constraints::Constraints;
use crate::peers::PodRules;
use crate::plan::GangPlan;
use crate::profile::JobProfile;
use crate::resources::Resources;

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `status.allocatable` without `pods`.
    pub allocatable: Resources,
    /// `status.allocatable.pods`: how many pods the node takes.
    pub max_pods: u64,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// The `Ready` condition is true.
    pub ready: bool,
    /// The node is being deleted.
    pub deleting: bool,
    /// `metadata.creationTimestamp` in milliseconds since 1970.
    pub created_ms: i64,
    /// Since when it is ready (or not), milliseconds since 1970; 0 if that is not told.
    pub ready_changed_ms: i64,
    /// `spec.providerID`, such as `aws:///eu-central-1a/i-0123456789abcdef0`; empty if nobody has given it one.
    pub provider_id: String,
}

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Taint {
    /// Name.
    pub key: String,
    /// Value, often empty.
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
}

/// What a taint does to pods without a toleration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TaintEffect {
    /// None may come.
    NoSchedule,
    /// Better not; no hard rule.
    PreferNoSchedule,
    /// None may come, those there are evicted.
    NoExecute,
}

/// What a pod is to Spark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The application's driver.
    Driver,
    /// One of its executors.
    Executor,
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have started; gated and unscheduled pods too.
    #[default]
    Pending,
    /// At least one container runs.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
}

/// How a driver's Spark container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Exit code 0.
    Succeeded,
    /// Any other exit code, or the pod failed as a whole.
    Failed,
    /// The pod was deleted before its end was seen: how long it would have run is unknown.
    Deleted,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.resourceVersion`, opaque.
    pub resource_version: String,
    /// `metadata.creationTimestamp` in milliseconds since 1970 (Kubernetes keeps whole seconds).
    pub created_ms: i64,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// `status.phase`.
    pub phase: Phase,
    /// `spec.schedulerName`.
    pub scheduler: String,
    /// Names of `spec.schedulingGates`.
    pub gates: Vec<String>,
    /// `spec.priority`.
    pub priority: i32,
    /// Effective requests: sum over containers and restartable init containers, at least each plain init container,
    /// plus pod overhead; of a resized pod the larger of asked and allocated.
    pub requests: Resources,
    /// `hostPort`s of the containers.
    pub host_ports: Vec<u16>,
    /// Hard rules about the node.
    pub constraints: Constraints,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Hard rules about other pods.
    pub pod_rules: PodRules,
    /// Spark role by label, `None` for every other pod.
    pub role: Option<Role>,
    /// UID of the pod that is the controller owner (an executor's driver). For an executor that a StatefulSet or a
    /// `ReplicaSet` owns, the driver that admission found for it.
    pub owner_pod_uid: Option<String>,
    /// UID of the DaemonSet that is the controller owner.
    pub daemon_set: Option<String>,
    /// Label `spark-app-selector` of a Spark pod.
    pub app_selector: Option<String>,
    /// `spark-exec-id`.
    pub executor_id: Option<String>,
    /// Label `spark-exec-resourceprofile-id`: other than 0, the executor is of a stage's own size.
    pub resource_profile_id: Option<String>,
    /// Label `kompass.dev/gang`.
    pub gang_label: Option<String>,
    /// Label `kompass.dev/queue`.
    pub queue: Option<String>,
    /// Label `kompass.dev/profile-key`.
    pub profile_key: Option<String>,
    /// Label `kompass.dev/stand-in-for`.
    pub stand_in_for: Option<String>,
    /// Label `kompass.dev/marker-for`.
    pub marker_for: Option<String>,
    /// The annotation `kompass.dev/job-profile`, where it is there and readable.
    pub profile: Option<JobProfile>,
    /// The annotation `kompass.dev/gang-plan`, where it is there and readable.
    pub plan: Option<GangPlan>,
    /// How and when the Spark container (or the whole pod) ended, milliseconds since 1970.
    pub ended: Option<(Outcome, i64)>,
    /// When the Spark container began to run, milliseconds since 1970.
    pub started_ms: Option<i64>,
}

impl Pod {
    /// Whether it uses its node's room: bound, and not ended.
    pub fn holds_room(&self) -> bool {
        self.node.is_some() && !self.is_terminal()
    }

    /// Succeeded or failed as a whole.
    pub fn is_terminal(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Whether a scheduling gate of this name is closed.
    pub fn has_gate(&self, gate: &str) -> bool {
        self.gates.iter().any(|known| known == gate)
    }
}
