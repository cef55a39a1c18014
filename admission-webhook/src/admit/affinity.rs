//! A required node affinity on node names, crossed with the user's own terms.
//!
//! kube-scheduler looks only at the named nodes when *every* term names one, and terms are alternatives: so each term
//! of the user's is combined with each node, and a term that names none must not be left beside them.

use serde_json::{Value, json};

use crate::patch::{self, Editor};

/// Nodes in one pod's affinity at most. Up to ten cost the scheduler about 1 ms a cycle at 5,000 nodes, and it does not
/// sample; far more cost more than no affinity at all.
pub const MAX_PINNED_NODES: usize = 10;
/// Terms at most, when the user's own multiply them.
const MAX_TERMS: usize = 30;

const TERMS: [&str; 5] = [
    "spec",
    "affinity",
    "nodeAffinity",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms",
];

/// Whether each of the pod's terms names a node: by us on an earlier call, or by the user.
pub(super) fn is_pinned(editor: &Editor) -> bool {
    let terms = editor.get(&TERMS).and_then(Value::as_array);
    terms.is_some_and(|terms| !terms.is_empty() && terms.iter().all(names_a_node))
}

/// Narrows the pod to `nodes`, within the user's own rules. `false` if it was left as it is: its rules match nothing,
/// or are too many.
pub fn pin(editor: &mut Editor, nodes: &[String]) -> Result<bool, patch::Error> {
    let terms = match editor.get(&TERMS) {
        None => nodes
            .iter()
            .take(MAX_PINNED_NODES)
            .map(|node| json!({"matchFields": [named(node)]}))
            .collect(),
        Some(Value::Array(own)) => crossed(own, nodes),
        Some(_) => {
            return Err(patch::Error::Shape {
                path: format!("/{}", TERMS.join("/")),
                expected: "a list",
            });
        }
    };
    if terms.is_empty() {
        return Ok(false);
    }
    editor.set(&TERMS, Value::Array(terms))?;
    Ok(true)
}

/// Each of the user's terms with each node; empty if that would be too many or nothing is left.
fn crossed(own: &[Value], nodes: &[String]) -> Vec<Value> {
    // A term without any requirement matches no node.
    let own: Vec<&Value> = own.iter().filter(|term| !is_empty(term)).collect();
    if own.is_empty() || own.len() > MAX_TERMS {
        return Vec::new();
    }
    let count = (MAX_TERMS / own.len()).min(MAX_PINNED_NODES);
    let mut terms = Vec::with_capacity(own.len() * count);
    for term in own {
        if names_a_node(term) {
            // Two names in one term would contradict each other; this one already narrows.
            terms.push(term.clone());
            continue;
        }
        for node in nodes.iter().take(count) {
            let Value::Object(mut fields) = term.clone() else {
                continue;
            };
            match fields.entry("matchFields").or_insert(Value::Null) {
                Value::Array(list) => list.push(named(node)),
                other => *other = json!([named(node)]),
            }
            terms.push(Value::Object(fields));
        }
    }
    terms
}

fn named(node: &str) -> Value {
    // The API takes exactly one value here.
    json!({"key": "metadata.name", "operator": "In", "values": [node]})
}

fn requirements<'t>(term: &'t Value, field: &str) -> &'t [Value] {
    term.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_empty(term: &Value) -> bool {
    requirements(term, "matchFields").is_empty() && requirements(term, "matchExpressions").is_empty()
}

fn names_a_node(term: &Value) -> bool {
    requirements(term, "matchFields")
        .iter()
        .any(|rule| rule["key"] == "metadata.name" && rule["operator"] == "In")
}
