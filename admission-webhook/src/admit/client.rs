//! An executor of client mode: its driver is no pod of Spark's making (a notebook, a task of a workflow, Spark Connect).
//!
//! Nobody knows how many of its kind will come, so nothing is reserved for it and nothing holds it up. It is taken over
//! all the same: the default scheduler would put it on room that is reserved for gangs.

use kompass_core::names;
use serde_json::Value;

use super::{Outcome, Rules, Verdict, left_alone, place, strip};
use crate::patch::{self, Editor};

/// Decides about an executor without a driver pod.
pub fn client_executor(pod: Value, rules: &Rules) -> Verdict {
    let mut editor = Editor::new(pod);
    match edit(&mut editor, rules) {
        Ok(outcome) => Verdict::edited(outcome, editor),
        Err(error) => Verdict::malformed(&error),
    }
}

fn edit(editor: &mut Editor, rules: &Rules) -> Result<Outcome, patch::Error> {
    strip(editor);
    editor.remove(&["metadata", "labels", names::GANG_LABEL]);
    if rules.ignore_client_mode {
        return Ok(Outcome::NotOurs);
    }
    if let Some(outcome) = left_alone(editor, rules) {
        return Ok(outcome);
    }
    place(editor)?;
    Ok(Outcome::Client)
}
