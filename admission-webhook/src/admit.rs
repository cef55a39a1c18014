//! What admission does to a pod: pure, from the pod (and what is known of its gang) to a patch.
//!
//! Fail direction: anything unexpected admits the pod unchanged, with a warning. Nothing here refuses a pod.

mod affinity;
mod client;
mod driver;
mod executor;

use json_patch::PatchOperation;
use kompass_core::names;
use serde_json::{Value, json};

pub use self::affinity::{MAX_PINNED_NODES, pin};
pub use self::client::client_executor;
pub use self::driver::driver;
pub use self::executor::{Gang, Placement, executor, placement};
use crate::patch::{self, Editor};

/// The scheduler that pods get from the API server when they name none.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// Settings of admission.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Scheduler names beside the default one whose pods KOMPASS takes over.
    pub takeover: Vec<String>,
    /// Leave executors without a driver pod to others.
    pub ignore_client_mode: bool,
}

/// What was decided about a pod.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// In a few fixed words, for logs and metrics.
    pub outcome: Outcome,
    /// The patch; empty for a pod that stays as it is.
    pub operations: Vec<PatchOperation>,
    /// For the user, shown by clients.
    pub warnings: Vec<String>,
}

/// What became of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A driver, gated.
    Gated,
    /// An executor, pinned to free slots of its gang.
    Pinned,
    /// An executor beyond its gang's minimum, gated.
    Surplus,
    /// An executor of a gang without a plan, or with nothing to pin to.
    Unpinned,
    /// An executor without a driver pod.
    Client,
    /// Labelled `kompass.dev/enabled=false`.
    OptedOut,
    /// Another scheduler is asked for, or the node is chosen already.
    Foreign,
    /// Neither driver nor an executor with a driver of KOMPASS's.
    NotOurs,
    /// Of a shape that the Kubernetes API does not have.
    Malformed,
}

impl Outcome {
    /// The value of the metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gated => "gated",
            Self::Pinned => "pinned",
            Self::Surplus => "surplus",
            Self::Unpinned => "unpinned",
            Self::Client => "client",
            Self::OptedOut => "opted-out",
            Self::Foreign => "foreign",
            Self::NotOurs => "not-ours",
            Self::Malformed => "malformed",
        }
    }
}

impl Verdict {
    /// The pod stays as it is.
    pub fn unchanged(outcome: Outcome) -> Self {
        Self {
            outcome,
            operations: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The pod stays as it is since it can't be read.
    pub fn malformed(error: &patch::Error) -> Self {
        let warnings = vec![format!("kompass: pod admitted unchanged: {error}")];
        Self {
            outcome: Outcome::Malformed,
            operations: Vec::new(),
            warnings,
        }
    }

    /// What was edited.
    fn edited(outcome: Outcome, editor: Editor) -> Self {
        Self {
            outcome,
            operations: editor.into_operations(),
            warnings: Vec::new(),
        }
    }
}

/// Decides about a pod that is neither driver nor executor, though it may carry the label of one.
pub fn other(pod: Value) -> Verdict {
    let mut editor = Editor::new(pod);
    strip(&mut editor);
    editor.remove(&["metadata", "labels", names::GANG_LABEL]);
    Verdict::edited(Outcome::NotOurs, editor)
}

/// Removes what only KOMPASS may write: at its creation a pod has neither plan nor profile, whoever says so.
fn strip(editor: &mut Editor) {
    for annotation in [names::PROFILE_ANNOTATION, names::PLAN_ANNOTATION] {
        editor.remove(&["metadata", "annotations", annotation]);
    }
    for label in [names::STAND_IN_LABEL, names::MARKER_LABEL] {
        editor.remove(&["metadata", "labels", label]);
    }
}

/// Why KOMPASS leaves a pod to others; `None` if it doesn't.
fn left_alone(editor: &Editor, rules: &Rules) -> Option<Outcome> {
    if editor.text(&["metadata", "labels", names::ENABLED_LABEL]) == Some("false") {
        return Some(Outcome::OptedOut);
    }
    // A pod with a node does not pass the scheduler, and a gate on it would make it invalid.
    if editor.text(&["spec", "nodeName"]).is_some_and(|node| !node.is_empty()) {
        return Some(Outcome::Foreign);
    }
    let scheduler = editor.text(&["spec", "schedulerName"]).unwrap_or_default();
    let ours = scheduler.is_empty()
        || scheduler == DEFAULT_SCHEDULER
        || scheduler == names::SCHEDULER
        || rules.takeover.iter().any(|name| name == scheduler);
    (!ours).then_some(Outcome::Foreign)
}

/// The edits common to all pods that KOMPASS places.
fn place(editor: &mut Editor) -> Result<(), patch::Error> {
    editor.set(&["spec", "schedulerName"], json!(names::SCHEDULER))?;
    for (annotation, value) in [
        (names::KARPENTER_DO_NOT_DISRUPT, "true"),
        (names::AUTOSCALER_SAFE_TO_EVICT, "false"),
    ] {
        // A value of the user's own is respected: Karpenter also takes a duration.
        if editor.get(&["metadata", "annotations", annotation]).is_none() {
            editor.set(&["metadata", "annotations", annotation], json!(value))?;
        }
    }
    Ok(())
}

/// Closes the gang's gate.
fn gate(editor: &mut Editor) -> Result<(), patch::Error> {
    if is_gated(editor) {
        Ok(())
    } else {
        editor.push(&["spec", "schedulingGates"], json!({"name": names::GANG_GATE}))
    }
}

/// Whether the gang's gate is closed.
fn is_gated(editor: &Editor) -> bool {
    let gates = editor.get(&["spec", "schedulingGates"]).and_then(Value::as_array);
    gates.is_some_and(|gates| gates.iter().any(|gate| gate["name"] == names::GANG_GATE))
}

#[cfg(test)]
mod tests;
