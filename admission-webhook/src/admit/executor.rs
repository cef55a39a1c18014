//! An executor: follows its driver, gets a slot of the gang's plan, or waits as surplus.

use std::sync::Arc;

use kompass_core::{GangPlan, names};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::affinity::{MAX_PINNED_NODES, is_pinned, pin};
use super::guard::guard;
use super::{Outcome, Rules, Verdict, excluded, gate, is_foreign, is_gated, strip};
use crate::patch::{self, Editor, get};

/// What admission knows of an executor's gang.
#[derive(Debug, Clone, Default)]
pub struct Gang {
    /// UID of the driver.
    pub uid: String,
    /// `spec.schedulerName` of the driver.
    pub scheduler: String,
    /// Where the gang runs, once it is planned.
    pub plan: Option<Arc<GangPlan>>,
    /// The gang's other living executors of the plan's size: bound ones, by node.
    pub bound: FxHashMap<String, u64>,
    /// The same, not yet bound: seen by the watch, or admitted a moment ago.
    pub unbound: u64,
}

/// Where an executor may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// On one of these nodes, each with a free slot of the gang.
    Pinned(Vec<String>),
    /// Beyond the gang's minimum: wherever the planner finds unreserved room.
    Surplus,
    /// Anywhere; the extender decides.
    Anywhere,
}

/// Decides about the executor pod `pod`. `gang` is what is known of its driver: `None` if it has none, or one that is
/// not KOMPASS's.
pub fn executor(pod: Value, gang: Option<&Gang>, rules: &Rules) -> Verdict {
    let mut editor = Editor::new(pod);
    match edit(&mut editor, gang, rules) {
        Ok(outcome) => Verdict::edited(outcome, editor),
        Err(error) => Verdict::malformed(&error),
    }
}

fn edit(editor: &mut Editor, gang: Option<&Gang>, rules: &Rules) -> Result<Outcome, patch::Error> {
    strip(editor);
    // On executors it is for those of client mode.
    editor.remove(&["metadata", "labels", names::PROFILE_KEY_LABEL]);
    let followed = gang.filter(|gang| gang.scheduler == names::SCHEDULER);
    let outcome = if followed.is_some() {
        excluded(editor).or_else(|| is_foreign(editor, rules).then_some(Outcome::Foreign))
    } else {
        Some(Outcome::NotOurs)
    };
    let (Some(gang), None) = (followed, outcome) else {
        editor.remove(&["metadata", "labels", names::GANG_LABEL]);
        return Ok(outcome.unwrap_or(Outcome::NotOurs));
    };
    editor.set(&["metadata", "labels", names::GANG_LABEL], json!(gang.uid))?;
    editor.set(&["spec", "schedulerName"], json!(names::SCHEDULER))?;
    guard(editor, rules.guard_executors)?;
    // Called again after another webhook changed the pod: what was decided stands.
    if is_gated(editor) {
        return Ok(Outcome::Surplus);
    }
    if is_pinned(editor) {
        return Ok(Outcome::Pinned);
    }
    match placement(gang, editor.object()) {
        // kube-scheduler counts only domains that the pod's own affinity allows: pinned, it might find no node within the
        // skew, though the gang's slots are.
        Placement::Pinned(_) if is_spread(editor.object()) => Ok(Outcome::Unpinned),
        Placement::Pinned(nodes) => Ok(if pin(editor, &nodes)? {
            Outcome::Pinned
        } else {
            Outcome::Unpinned
        }),
        Placement::Surplus => {
            gate(editor)?;
            Ok(Outcome::Surplus)
        }
        Placement::Anywhere => Ok(Outcome::Unpinned),
    }
}

/// Where the executor `pod` of `gang` may run.
///
/// In doubt an executor is pinned, not gated: a pinned one that finds its slots taken is let through by the extender,
/// a gated one that should have run holds up its job.
pub fn placement(gang: &Gang, pod: &Value) -> Placement {
    let Some(plan) = &gang.plan else {
        return Placement::Anywhere;
    };
    if is_of_other_size(pod) {
        return Placement::Surplus;
    }
    let living = gang.bound.values().sum::<u64>().saturating_add(gang.unbound);
    if living >= plan.executor_count() {
        return Placement::Surplus;
    }
    let free: Vec<(&String, u64)> = plan
        .executors
        .iter()
        .map(|(node, slots)| (node, slots.saturating_sub(gang.bound.get(node).copied().unwrap_or(0))))
        .filter(|&(_, slots)| slots > 0)
        .collect();
    // Those that wait before this one will most likely take the first free slots, so its window begins behind them;
    // the nodes after its own are its spares.
    let slots: u64 = free.iter().map(|(_, slots)| slots).sum();
    let mut ahead = gang.unbound.checked_rem(slots).unwrap_or(0);
    let own = free.iter().position(|&(_, slots)| {
        let here = ahead < slots;
        ahead = ahead.saturating_sub(slots);
        here
    });
    let window = free
        .iter()
        .cycle()
        .skip(own.unwrap_or(0))
        .take(free.len().min(MAX_PINNED_NODES));
    let nodes: Vec<String> = window.map(|(node, _)| (*node).clone()).collect();
    if nodes.is_empty() {
        Placement::Anywhere
    } else {
        Placement::Pinned(nodes)
    }
}

/// Executors of a stage's own resource profile are not those that the plan has slots for.
fn is_of_other_size(pod: &Value) -> bool {
    get(pod, &["metadata", "labels", "spark-exec-resourceprofile-id"]).is_some_and(|id| id != "0")
}

/// Whether the pod has to be spread over some domains.
fn is_spread(pod: &Value) -> bool {
    let constraints = get(pod, &["spec", "topologySpreadConstraints"]).and_then(Value::as_array);
    let is_hard = |constraint: &Value| constraint["whenUnsatisfiable"] != "ScheduleAnyway";
    constraints.is_some_and(|constraints| constraints.iter().any(is_hard))
}
