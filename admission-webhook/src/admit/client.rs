//! An executor of client mode: its driver is no pod of Spark's making (a notebook, a task of a workflow, Spark Connect).
//!
//! Nobody says how many of its kind will come, so nothing holds it up. It is taken over all the same: the default scheduler
//! would put it on room that is reserved for gangs. By the key of its job the planner knows what earlier runs had.

use kompass_core::names;
use serde_json::{Value, json};

use super::guard::guard;
use super::{Outcome, Rules, Verdict, excluded, is_foreign, manager, strip};
use crate::patch::{self, Editor};

/// Decides about an executor without a driver pod, whose job has this profile key.
pub fn client_executor(pod: Value, key: Option<&str>, rules: &Rules) -> Verdict {
    let manager = manager::of(&pod, rules);
    let mut editor = Editor::new(pod);
    match edit(&mut editor, key, manager.is_some(), rules) {
        Ok(outcome) => Verdict {
            manager: manager.map(|manager| manager.name),
            ..Verdict::edited(outcome, editor)
        },
        Err(error) => Verdict::malformed(&error),
    }
}

fn edit(editor: &mut Editor, key: Option<&str>, managed: bool, rules: &Rules) -> Result<Outcome, patch::Error> {
    const KEY: [&str; 3] = ["metadata", "labels", names::PROFILE_KEY_LABEL];
    strip(editor);
    editor.remove(&["metadata", "labels", names::GANG_LABEL]);
    if let Some(outcome) = left_alone(editor, managed, rules) {
        editor.remove(&KEY);
        return Ok(outcome);
    }
    match key {
        Some(key) => editor.set(&KEY, json!(key))?,
        None => editor.remove(&KEY),
    }
    editor.set(&["spec", "schedulerName"], json!(names::SCHEDULER))?;
    guard(editor, rules.guard_executors)?;
    Ok(Outcome::Client)
}

/// Why KOMPASS leaves the executor to others; `None` if it doesn't.
fn left_alone(editor: &Editor, managed: bool, rules: &Rules) -> Option<Outcome> {
    if rules.ignore_client_mode {
        return Some(Outcome::NotOurs);
    }
    // Whoever queues the notebook queues its executors.
    let held = || managed.then_some(Outcome::Held);
    let foreign = || is_foreign(editor, rules).then_some(Outcome::Foreign);
    excluded(editor).or_else(held).or_else(foreign)
}
