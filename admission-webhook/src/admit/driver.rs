//! A driver: taken over, gated, marked with what makes two runs the same job.

use kompass_core::names;
use serde_json::{Value, json};

use super::guard::{Guard, guard};
use super::manager::{self, Manager, Stance};
use super::{Outcome, Rules, Verdict, excluded, gate, is_foreign, strip, ungate};
use crate::patch::{self, Editor};

/// Decides about the driver pod `pod`, whose profile key is `key`.
pub fn driver(pod: Value, key: &str, rules: &Rules) -> Verdict {
    let manager = manager::of(&pod, rules);
    let mut editor = Editor::new(pod);
    match edit(&mut editor, key, manager, rules) {
        Ok(outcome) => {
            let manager = manager.filter(|_| matches!(outcome, Outcome::Held | Outcome::Gated));
            Verdict {
                manager: manager.map(|manager| manager.name),
                ..Verdict::edited(outcome, editor)
            }
        }
        Err(error) => Verdict::malformed(&error),
    }
}

fn edit(editor: &mut Editor, key: &str, manager: Option<&Manager>, rules: &Rules) -> Result<Outcome, patch::Error> {
    strip(editor);
    // This label is for executors; on a driver it could only mislead.
    editor.remove(&["metadata", "labels", names::GANG_LABEL]);
    if let Some(outcome) = left_alone(editor, manager, rules) {
        editor.remove(&["metadata", "labels", names::PROFILE_KEY_LABEL]);
        ungate(editor);
        return Ok(outcome);
    }
    editor.set(&["metadata", "labels", names::PROFILE_KEY_LABEL], json!(key))?;
    editor.set(&["spec", "schedulerName"], json!(names::SCHEDULER))?;
    guard(editor, Guard::Always)?;
    gate(editor)?;
    Ok(Outcome::Gated)
}

/// Why KOMPASS leaves a driver to others; `None` if it doesn't.
fn left_alone(editor: &Editor, manager: Option<&Manager>, rules: &Rules) -> Option<Outcome> {
    let held = || {
        let is_held = manager.is_some_and(|manager| manager.stance == Stance::Leave);
        is_held.then_some(Outcome::Held)
    };
    let foreign = || is_foreign(editor, rules).then_some(Outcome::Foreign);
    excluded(editor).or_else(held).or_else(foreign)
}
