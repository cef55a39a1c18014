//! A pod's hard rules about its node, out of its JSON.

use kompass_core::cluster::TaintEffect;
use kompass_core::constraints::{Constraints, NodeTerm, Operator, Requirement, Toleration};
use serde_json::Value;

use crate::json;

/// Node selector, required node affinity and tolerations of a pod (or of a pod template, which has the same form).
pub fn constraints(pod: &Value) -> Constraints {
    let selector =
        json::entries(pod, "/spec/nodeSelector").filter_map(|(key, value)| Some((key.into(), scalar(value)?)));
    let required = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    Constraints {
        node_selector: selector.collect(),
        required_terms: pod
            .pointer(required)
            .and_then(Value::as_array)
            .map(|terms| terms.iter().map(term).collect()),
        tolerations: json::list(pod, "/spec/tolerations")
            .iter()
            .filter_map(toleration)
            .collect(),
    }
}

/// A term with a requirement that can't be read matches nothing, which an empty term says.
fn term(term: &Value) -> NodeTerm {
    let requirements = |pointer: &str| {
        json::list(term, pointer)
            .iter()
            .map(requirement)
            .collect::<Option<Vec<_>>>()
    };
    match (requirements("/matchExpressions"), requirements("/matchFields")) {
        (Some(labels), Some(fields)) => NodeTerm { labels, fields },
        _ => NodeTerm::default(),
    }
}

fn requirement(requirement: &Value) -> Option<Requirement> {
    let operator = match json::text(requirement, "/operator")? {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        _ => return None,
    };
    let values = json::list(requirement, "/values").iter().filter_map(scalar).collect();
    Some(Requirement {
        key: json::text(requirement, "/key")?.to_owned(),
        operator,
        values,
    })
}

/// `None` for operators unknown here: what isn't surely tolerated counts as not tolerated.
fn toleration(toleration: &Value) -> Option<Toleration> {
    let exists = match json::text(toleration, "/operator") {
        None | Some("" | "Equal") => false,
        Some("Exists") => true,
        Some(_) => return None,
    };
    let effect = match json::text(toleration, "/effect") {
        None | Some("") => None,
        Some("NoSchedule") => Some(TaintEffect::NoSchedule),
        Some("PreferNoSchedule") => Some(TaintEffect::PreferNoSchedule),
        Some("NoExecute") => Some(TaintEffect::NoExecute),
        Some(_) => return None,
    };
    Some(Toleration {
        key: json::text(toleration, "/key").unwrap_or_default().to_owned(),
        exists,
        value: toleration.get("value").and_then(scalar).unwrap_or_default(),
        effect,
    })
}

/// Text; also a number or truth that a hand-written template left unquoted.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_hard_rule_is_taken_over() {
        let pod = json!({"spec": {
            "nodeSelector": {"pool": "spark", "size": 8},
            "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
                    {"matchExpressions": [{"key": "zone", "operator": "Like", "values": ["a"]}]},
                ]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}],
            }},
            "tolerations": [
                {"key": "spark", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "team", "value": "etl"},
                {"key": "level", "operator": "Gt", "value": "3"},
            ],
        }});
        let rule = |key: &str, values: &[&str]| Requirement {
            key: key.into(),
            operator: Operator::In,
            values: values.iter().map(|&value| value.into()).collect(),
        };
        let expected = Constraints {
            node_selector: [("pool".into(), "spark".into()), ("size".into(), "8".into())].into(),
            required_terms: Some(vec![
                NodeTerm {
                    labels: vec![rule("zone", &["a", "b"])],
                    fields: vec![],
                },
                NodeTerm {
                    labels: vec![],
                    fields: vec![rule("metadata.name", &["n1"])],
                },
                NodeTerm::default(),
            ]),
            tolerations: vec![
                Toleration {
                    key: "spark".into(),
                    exists: true,
                    effect: Some(TaintEffect::NoSchedule),
                    ..Toleration::default()
                },
                Toleration {
                    key: "team".into(),
                    value: "etl".into(),
                    ..Toleration::default()
                },
            ],
        };
        assert_eq!(constraints(&pod), expected);
        assert_eq!(constraints(&json!({})), Constraints::default());
        assert_eq!(
            constraints(&json!({"spec": {"nodeSelector": [], "tolerations": {"a": 1}}})),
            Constraints::default()
        );
    }
}
