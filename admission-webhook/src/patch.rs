//! Editing an object and writing the edits down as a JSON Patch.
//!
//! The object stays a JSON value from the request to the patch: a typed round trip would drop every field that this
//! build does not know. Each edit is applied to the value and recorded, so later edits see earlier ones, and an edit
//! that changes nothing records nothing: a second pass over the patched object gives an empty patch.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Map, Value};

/// Why an edit could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something on the way is not what the Kubernetes API has there.
    #[error("failed to edit the object: {path} is not {expected}")]
    Shape {
        /// Where, as a JSON pointer.
        path: String,
        /// What should be there.
        expected: &'static str,
    },
}

/// An object under edit.
#[derive(Debug, Clone)]
pub struct Editor {
    object: Value,
    operations: Vec<PatchOperation>,
}

impl Editor {
    /// Begins with `object`, no edits.
    pub fn new(object: Value) -> Self {
        Self {
            object,
            operations: Vec::new(),
        }
    }

    /// The object with the edits so far.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// The edits.
    pub fn into_operations(self) -> Vec<PatchOperation> {
        self.operations
    }

    /// The value at `path`; `None` where there is none, or null.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        get(&self.object, path)
    }

    /// The text at `path`; `None` where there is none, or something else.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }

    /// Sets the field at `path`, with the objects above it where they are missing.
    pub fn set(&mut self, path: &[&str], value: Value) -> Result<(), Error> {
        let mut at = &mut self.object;
        for (depth, key) in path.iter().enumerate() {
            let Value::Object(fields) = at else {
                return Err(Error::Shape {
                    path: pointer(&path[..depth]).to_string(),
                    expected: "an object",
                });
            };
            let missing = fields.get(*key).is_none_or(Value::is_null);
            let last = depth + 1 == path.len();
            if last || missing {
                let rest = &path[depth + 1..];
                let value = rest.iter().rev().fold(value, |inner, key| {
                    Value::Object(Map::from_iter([((*key).to_owned(), inner)]))
                });
                let path = pointer(&path[..=depth]);
                if fields.get(*key) == Some(&value) {
                    return Ok(());
                }
                let replaced = fields.insert((*key).to_owned(), value.clone()).is_some();
                self.operations.push(if replaced {
                    PatchOperation::Replace(ReplaceOperation { path, value })
                } else {
                    PatchOperation::Add(AddOperation { path, value })
                });
                return Ok(());
            }
            at = fields.get_mut(*key).expect("just seen");
        }
        Ok(())
    }

    /// Removes the field at `path`, if it is there.
    pub fn remove(&mut self, path: &[&str]) {
        let Some((key, above)) = path.split_last() else { return };
        let fields = above
            .iter()
            .try_fold(&mut self.object, |at, key| at.get_mut(*key))
            .and_then(Value::as_object_mut);
        if fields.is_some_and(|fields| fields.remove(*key).is_some()) {
            self.operations
                .push(PatchOperation::Remove(RemoveOperation { path: pointer(path) }));
        }
    }

    /// Removes those items of the list at `path` that `is_it` picks, if there is such a list.
    pub fn remove_items(&mut self, path: &[&str], is_it: impl Fn(&Value) -> bool) {
        let list = path
            .iter()
            .try_fold(&mut self.object, |at, key| at.get_mut(*key))
            .and_then(Value::as_array_mut);
        let Some(items) = list else { return };
        // From the end: a removal moves only what is behind it.
        for index in (0..items.len()).rev() {
            if is_it(&items[index]) {
                items.remove(index);
                let mut path = pointer(path);
                path.push_back(index);
                self.operations.push(PatchOperation::Remove(RemoveOperation { path }));
            }
        }
    }

    /// Appends to the list at `path`, or begins it.
    pub fn push(&mut self, path: &[&str], value: Value) -> Result<(), Error> {
        let Some(list) = path
            .iter()
            .try_fold(&mut self.object, |at, key| at.get_mut(*key))
            .filter(|at| !at.is_null())
        else {
            return self.set(path, Value::Array(vec![value]));
        };
        let Value::Array(items) = list else {
            return Err(Error::Shape {
                path: pointer(path).to_string(),
                expected: "a list",
            });
        };
        items.push(value.clone());
        let mut path = pointer(path);
        path.push_back("-");
        self.operations.push(PatchOperation::Add(AddOperation { path, value }));
        Ok(())
    }
}

/// The value at `path`; `None` where there is none, or null.
pub fn get<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter()
        .try_fold(value, |at, key| at.get(*key))
        .filter(|value| !value.is_null())
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied())
}

#[cfg(test)]
mod tests {
    use json_patch::Patch;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn edited(before: &Value, edit: impl Fn(&mut Editor)) -> (Value, Vec<PatchOperation>) {
        let mut editor = Editor::new(before.clone());
        edit(&mut editor);
        (editor.object().clone(), editor.into_operations())
    }

    #[test]
    fn missing_parents_are_made_and_keys_are_escaped() {
        for before in [
            json!({}),
            json!({"metadata": {}}),
            json!({"metadata": {"annotations": null}}),
        ] {
            let (after, operations) = edited(&before, |editor| {
                editor
                    .set(&["metadata", "annotations", "kompass.dev/a~b"], json!("x"))
                    .unwrap();
            });
            assert_eq!(after["metadata"]["annotations"]["kompass.dev/a~b"], "x");
            let mut applied = before.clone();
            json_patch::patch(&mut applied, &Patch(operations)).unwrap();
            assert_eq!(applied, after, "from {before}");
        }
    }

    #[test]
    fn an_edit_that_changes_nothing_is_not_recorded() {
        let before = json!({"spec": {"schedulerName": "kompass"}});
        let (_, operations) = edited(&before, |editor| {
            editor.set(&["spec", "schedulerName"], json!("kompass")).unwrap();
            editor.remove(&["metadata", "annotations", "x"]);
        });
        assert!(operations.is_empty(), "{operations:?}");
    }

    #[test]
    fn a_wrong_shape_is_named() {
        let mut editor = Editor::new(json!({"metadata": {"labels": "text"}, "spec": {"schedulingGates": {}}}));
        let error = editor.set(&["metadata", "labels", "a"], json!("b")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to edit the object: /metadata/labels is not an object"
        );
        let error = editor.push(&["spec", "schedulingGates"], json!({})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to edit the object: /spec/schedulingGates is not a list"
        );
        assert!(editor.into_operations().is_empty());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_patch_leads_where_the_edits_led(
            before in any_json(),
            edits in proptest::collection::vec((0..4_u8, proptest::collection::vec("[a-c]", 1..4), any_json()), 0..6),
        ) {
            let mut editor = Editor::new(before.clone());
            for (kind, path, value) in edits {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let _ = match kind {
                    0 => editor.set(&path, value),
                    1 => editor.push(&path, value),
                    2 => { editor.remove_items(&path, |item| item.is_null() || item.is_string()); Ok(()) }
                    _ => { editor.remove(&path); Ok(()) }
                };
            }
            let after = editor.object().clone();
            let mut applied = before;
            json_patch::patch(&mut applied, &Patch(editor.into_operations())).unwrap();
            prop_assert_eq!(applied, after);
        }
    }
}
