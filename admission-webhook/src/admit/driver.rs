//! A driver: taken over, gated, marked with what makes two runs the same job.

use kompass_core::names;
use serde_json::{Value, json};

use super::{Outcome, Rules, Verdict, gate, left_alone, place, strip};
use crate::patch::{self, Editor};

/// Decides about the driver pod `pod`, whose profile key is `key`.
pub fn driver(pod: Value, key: &str, rules: &Rules) -> Verdict {
    let mut editor = Editor::new(pod);
    match edit(&mut editor, key, rules) {
        Ok(outcome) => Verdict::edited(outcome, editor),
        Err(error) => Verdict::malformed(&error),
    }
}

fn edit(editor: &mut Editor, key: &str, rules: &Rules) -> Result<Outcome, patch::Error> {
    strip(editor);
    // This label is for executors; on a driver it could only mislead.
    editor.remove(&["metadata", "labels", names::GANG_LABEL]);
    if let Some(outcome) = left_alone(editor, rules) {
        editor.remove(&["metadata", "labels", names::PROFILE_KEY_LABEL]);
        return Ok(outcome);
    }
    editor.set(&["metadata", "labels", names::PROFILE_KEY_LABEL], json!(key))?;
    place(editor)?;
    gate(editor)?;
    Ok(Outcome::Gated)
}
