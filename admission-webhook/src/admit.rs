//! What admission does to a pod: pure, from the pod (and what is known of its gang) to a patch.
//!
//! Fail direction: anything unexpected admits the pod unchanged, with a warning. Nothing here refuses a pod.

mod affinity;
mod client;
mod driver;
mod executor;
mod guard;
pub mod manager;

use json_patch::PatchOperation;
use kompass_core::names;
use serde_json::{Value, json};

pub use self::affinity::{MAX_PINNED_NODES, pin};
pub use self::client::client_executor;
pub use self::driver::driver;
pub use self::executor::{Gang, Placement, executor, placement};
pub use self::guard::Guard;
use crate::patch::{self, Editor};

/// Settings of admission.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Scheduler names beside the default one whose pods KOMPASS takes over.
    pub takeover: Vec<String>,
    /// Leave executors without a driver pod to others.
    pub ignore_client_mode: bool,
    /// How executors are guarded against disruption.
    pub guard_executors: Guard,
}

impl Rules {
    /// Whether pods of this scheduler are taken over by configuration.
    pub fn takes_over(&self, scheduler: &str) -> bool {
        self.takeover.iter().any(|name| name == scheduler)
    }

    /// Whether pods of this scheduler are KOMPASS's to place; an empty name stands for the default one.
    pub fn places(&self, scheduler: &str) -> bool {
        ["", names::DEFAULT_SCHEDULER, names::SCHEDULER].contains(&scheduler) || self.takes_over(scheduler)
    }
}

/// Whether decisions take effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// They do.
    #[default]
    Enforce,
    /// They are only told, in logs and metrics: every pod stays as it is.
    Shadow,
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
    /// The other queue manager that holds the pod, or decides about it before KOMPASS does.
    pub manager: Option<&'static str>,
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
    /// A scheduler that KOMPASS does not know is asked for, or the node is chosen already.
    Foreign,
    /// A driver that another queue manager holds.
    Held,
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
            Self::Held => "held",
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
            manager: None,
        }
    }

    /// The pod stays as it is since it can't be read.
    pub fn malformed(error: &patch::Error) -> Self {
        let warnings = vec![format!("kompass: pod admitted unchanged: {error}")];
        Self {
            outcome: Outcome::Malformed,
            operations: Vec::new(),
            warnings,
            manager: None,
        }
    }

    /// What was edited.
    fn edited(outcome: Outcome, editor: Editor) -> Self {
        Self {
            outcome,
            operations: editor.into_operations(),
            warnings: Vec::new(),
            manager: None,
        }
    }
}

/// Decides about a pod that is neither driver nor executor, though it may carry the label of one.
pub fn other(pod: Value) -> Verdict {
    let mut editor = Editor::new(pod);
    strip(&mut editor);
    for label in [names::GANG_LABEL, names::PROFILE_KEY_LABEL] {
        editor.remove(&["metadata", "labels", label]);
    }
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

/// Why nobody's scheduler is to be changed on this pod; `None` if that is not so.
fn excluded(editor: &Editor) -> Option<Outcome> {
    if editor.text(&["metadata", "labels", names::ENABLED_LABEL]) == Some("false") {
        return Some(Outcome::OptedOut);
    }
    // A pod with a node does not pass the scheduler, and a gate on it would make it invalid.
    let has_node = editor.text(&["spec", "nodeName"]).is_some_and(|node| !node.is_empty());
    has_node.then_some(Outcome::Foreign)
}

/// Whether the pod asks for a scheduler whose pods are not KOMPASS's.
fn is_foreign(editor: &Editor, rules: &Rules) -> bool {
    !rules.places(editor.text(&["spec", "schedulerName"]).unwrap_or_default())
}

/// Closes the gang's gate.
fn gate(editor: &mut Editor) -> Result<(), patch::Error> {
    if is_gated(editor) {
        Ok(())
    } else {
        editor.push(&["spec", "schedulingGates"], json!({"name": names::GANG_GATE}))
    }
}

/// Takes the gang's gate away from a pod that is left to others: nobody would ever open it. It is there when another
/// webhook gave the pod away after us, and we are asked again.
fn ungate(editor: &mut Editor) {
    editor.remove_items(&["spec", "schedulingGates"], |gate| gate["name"] == names::GANG_GATE);
}

/// Whether the gang's gate is closed.
fn is_gated(editor: &Editor) -> bool {
    let gates = editor.get(&["spec", "schedulingGates"]).and_then(Value::as_array);
    gates.is_some_and(|gates| gates.iter().any(|gate| gate["name"] == names::GANG_GATE))
}

#[cfg(test)]
mod tests;
