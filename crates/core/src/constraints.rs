//! Where a pod may run: selectors, required affinity and tolerations, matched as kube-scheduler matches them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::{Node, Taint, TaintEffect};

/// A pod's hard rules about its node. Soft rules (preferred affinity) are left to kube-scheduler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Constraints {
    /// `nodeSelector`: every label must be there with this value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// `requiredDuringSchedulingIgnoredDuringExecution`: one term must match. `None`: no rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_terms: Option<Vec<NodeTerm>>,
    /// `tolerations`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
}

/// One term of a required node affinity: all its requirements must hold. A term without any matches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeTerm {
    /// Requirements on labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Requirement>,
    /// Requirements on `metadata.name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Requirement>,
}

/// `key operator values`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Requirement {
    /// Label name, or `metadata.name`.
    pub key: String,
    /// How the values are compared.
    pub operator: Operator,
    /// Values to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Operators of a node selector requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Operator {
    /// The value is one of these.
    In,
    /// The value is none of these, or the label is absent.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The value is an integer above the one given.
    Gt,
    /// The value is an integer below the one given.
    Lt,
}

/// What a pod puts up with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Toleration {
    /// Taint key; empty with `exists` tolerates every key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Operator `Exists` (true) or `Equal` (false).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exists: bool,
    /// Value that `Equal` compares.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect; `None` tolerates all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

impl Constraints {
    /// Whether selector, affinity and taints allow the node. Room and readiness are judged elsewhere.
    pub fn allow(&self, node: &Node) -> bool {
        self.selects(node) && self.tolerate(node)
    }

    /// Whether all hard taints of the node are tolerated.
    pub fn tolerate(&self, node: &Node) -> bool {
        let hard = node
            .taints
            .iter()
            .filter(|taint| taint.effect != TaintEffect::PreferNoSchedule);
        hard.into_iter()
            .all(|taint| self.tolerations.iter().any(|toleration| toleration.covers(taint)))
    }

    /// Whether selector and affinity allow the node, whatever its taints.
    pub fn selects(&self, node: &Node) -> bool {
        self.node_selector
            .iter()
            .all(|(key, value)| node.labels.get(key) == Some(value))
            && self
                .required_terms
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
    }
}

impl NodeTerm {
    fn matches(&self, node: &Node) -> bool {
        if self.labels.is_empty() && self.fields.is_empty() {
            return false;
        }
        self.labels
            .iter()
            .all(|rule| rule.holds(node.labels.get(&rule.key).map(String::as_str)))
            && self
                .fields
                .iter()
                .all(|rule| rule.key == "metadata.name" && rule.holds(Some(&node.name)))
    }
}

impl Requirement {
    /// Whether the requirement holds for a label's value (`None`: the label is absent).
    pub fn holds(&self, value: Option<&str>) -> bool {
        let compare = |ordering: std::cmp::Ordering| {
            let parse = |text: &str| text.parse::<i64>().ok();
            match (
                value.and_then(parse),
                self.values.first().map(String::as_str).and_then(parse),
            ) {
                (Some(have), Some(limit)) => have.cmp(&limit) == ordering,
                _ => false,
            }
        };
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.iter().any(|known| known == value)),
            Operator::NotIn => value.is_none_or(|value| self.values.iter().all(|known| known != value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => compare(std::cmp::Ordering::Greater),
            Operator::Lt => compare(std::cmp::Ordering::Less),
        }
    }
}

impl Toleration {
    /// Whether the toleration covers a taint.
    pub fn covers(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && (self.key == taint.key || (self.key.is_empty() && self.exists))
            && (self.exists || self.value == taint.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(labels: &[(&str, &str)], taints: &[(&str, &str, TaintEffect)]) -> Node {
        Node {
            name: "n1".into(),
            labels: labels.iter().map(|&(k, v)| (k.into(), v.into())).collect(),
            taints: taints
                .iter()
                .map(|&(key, value, effect)| Taint {
                    key: key.into(),
                    value: value.into(),
                    effect,
                })
                .collect(),
            ..Node::default()
        }
    }

    fn rule(key: &str, operator: Operator, values: &[&str]) -> Requirement {
        Requirement {
            key: key.into(),
            operator,
            values: values.iter().map(|&v| v.into()).collect(),
        }
    }

    #[test]
    fn requirements_compare_as_kubernetes_does() {
        use Operator::{DoesNotExist, Exists, Gt, In, Lt, NotIn};
        for (operator, values, value, expected) in [
            (In, &["a", "b"][..], Some("b"), true),
            (In, &["a"], None, false),
            (NotIn, &["a"], Some("a"), false),
            (NotIn, &["a"], None, true),
            (Exists, &[], Some(""), true),
            (DoesNotExist, &[], None, true),
            (Gt, &["3"], Some("4"), true),
            (Gt, &["3"], Some("x"), false),
            (Lt, &["3"], Some("2"), true),
            (Lt, &["3"], None, false),
        ] {
            assert_eq!(
                rule("k", operator, values).holds(value),
                expected,
                "{operator:?} {values:?} {value:?}"
            );
        }
    }

    #[test]
    fn terms_are_alternatives_and_an_empty_term_matches_nothing() {
        let zone = NodeTerm {
            labels: vec![rule("zone", Operator::In, &["a"])],
            fields: vec![],
        };
        let name = NodeTerm {
            labels: vec![],
            fields: vec![rule("metadata.name", Operator::In, &["n1"])],
        };
        let with = |terms: Vec<NodeTerm>| Constraints {
            required_terms: Some(terms),
            ..Constraints::default()
        };
        let here = node(&[("zone", "b")], &[]);
        assert!(!with(vec![zone.clone()]).allow(&here));
        assert!(with(vec![zone, name]).allow(&here));
        assert!(!with(vec![NodeTerm::default()]).allow(&here));
        assert!(!with(vec![]).allow(&here));
    }

    #[test]
    fn hard_taints_need_a_toleration() {
        use TaintEffect::{NoExecute, NoSchedule, PreferNoSchedule};
        let tolerate = |toleration| Constraints {
            tolerations: vec![toleration],
            ..Constraints::default()
        };
        let tainted = node(&[], &[("gpu", "yes", NoSchedule)]);
        assert!(!Constraints::default().allow(&tainted));
        assert!(Constraints::default().allow(&node(&[], &[("gpu", "", PreferNoSchedule)])));
        let equal = Toleration {
            key: "gpu".into(),
            value: "yes".into(),
            ..Toleration::default()
        };
        assert!(tolerate(equal.clone()).allow(&tainted));
        assert!(
            !tolerate(Toleration {
                effect: Some(NoExecute),
                ..equal.clone()
            })
            .allow(&tainted)
        );
        assert!(
            !tolerate(Toleration {
                value: "no".into(),
                ..equal
            })
            .allow(&tainted)
        );
        assert!(
            tolerate(Toleration {
                exists: true,
                ..Toleration::default()
            })
            .allow(&tainted)
        );
    }
}
