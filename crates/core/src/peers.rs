//! A pod's hard rules about other pods: required pod affinity and anti-affinity, as kube-scheduler reads them.

use serde::{Deserialize, Serialize};

use crate::constraints::{Operator, Requirement};
use crate::names::SPARK_APP_LABEL;

/// Labels whose value is another one for each pod of a workload. What is kept of pods has them without their values, so
/// that thousands of pods share one set of labels; selectors can ask whether they are there, and no more.
pub const INDIVIDUAL_LABELS: [&str; 4] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "spark-exec-id",
    "statefulset.kubernetes.io/pod-name",
];

/// Required pod anti-affinity and affinity of one pod. (Preferred terms are left to kube-scheduler.)
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PodRules {
    /// Required anti-affinity: none of the pods selected may be in the same domain, nor may this pod come to them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<PodTerm>,
    /// Required affinity: a pod that all terms select has to be in the domain of each. A pod that is itself such a pod
    /// may be the first one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<PodTerm>,
}

/// One required term.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PodTerm {
    /// `topologyKey`: nodes with the same value of this label are one domain, those without it are in none.
    pub topology: String,
    /// The pods that it is about.
    pub pods: PodSelector,
}

/// Pods by namespace and labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PodSelector {
    /// Their namespaces. `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// What must all hold of their labels: `matchLabels` as `In` with one value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Requirement>,
}

impl PodRules {
    /// Whether there is no rule.
    pub fn is_none(&self) -> bool {
        self.apart.is_empty() && self.together.is_empty()
    }
}

impl PodSelector {
    /// Whether a pod of this namespace is selected, whose labels this tells.
    pub fn selects<'a>(&self, namespace: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.is_about(namespace) && self.labels.iter().all(|rule| rule.holds(label(&rule.key)))
    }

    fn is_about(&self, namespace: &str) -> bool {
        let named = |namespaces: &Vec<String>| namespaces.iter().any(|known| known == namespace);
        self.namespaces.as_ref().is_none_or(named)
    }

    /// The same selector as one about applications, where it tells them apart: `None` where it is about the pods of this
    /// application alone. Of a selector that is about all others (`mismatchLabelKeys`) only the rest is kept.
    ///
    /// Pods of one application are the planner's own affair, and without its id the selectors of many applications are
    /// one and the same.
    #[must_use]
    pub fn about_others(mut self, application: Option<&str>) -> Option<Self> {
        let Some(application) = application else {
            return Some(self);
        };
        let is_own = |rule: &Requirement| rule.key == SPARK_APP_LABEL && *rule.values == [application];
        let only_own = |rule: &Requirement| is_own(rule) && rule.operator == Operator::In;
        if self.labels.iter().any(only_own) {
            return None;
        }
        self.labels
            .retain(|rule| !(is_own(rule) && rule.operator == Operator::NotIn));
        Some(self)
    }
}

/// A label's value as it is kept: individual ones without it.
pub fn common_value<'a>(key: &str, value: &'a str) -> &'a str {
    if INDIVIDUAL_LABELS.contains(&key) { "" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(key: &str, operator: Operator, values: &[&str]) -> Requirement {
        Requirement {
            key: key.into(),
            operator,
            values: values.iter().map(|&value| value.into()).collect(),
        }
    }

    #[test]
    fn pods_are_selected_by_namespace_and_labels() {
        let label = |key: &str| match key {
            "team" => Some("etl"),
            "spark-exec-id" => Some(common_value(key, "7")),
            _ => None,
        };
        let selects = |namespaces: Option<&[&str]>, rules: &[Requirement]| {
            let namespaces = namespaces.map(|names| names.iter().map(|&name| name.into()).collect());
            let selector = PodSelector {
                namespaces,
                labels: rules.to_vec(),
            };
            selector.selects("jobs", label)
        };
        assert!(selects(None, &[]), "an empty selector selects every pod");
        assert!(selects(Some(&["jobs"]), &[rule("team", Operator::In, &["etl"])]));
        assert!(!selects(Some(&["web"]), &[]));
        assert!(!selects(Some(&[]), &[]));
        assert!(!selects(None, &[rule("team", Operator::NotIn, &["etl"])]));
        assert!(selects(None, &[rule("absent", Operator::DoesNotExist, &[])]));
        assert!(selects(None, &[rule("spark-exec-id", Operator::Exists, &[])]));
        assert!(
            !selects(None, &[rule("spark-exec-id", Operator::In, &["7"])]),
            "individual values are not kept"
        );
    }

    #[test]
    fn what_is_about_the_own_application_is_told_from_what_is_about_others() {
        let about = |rules: &[Requirement]| {
            let selector = PodSelector {
                namespaces: None,
                labels: rules.to_vec(),
            };
            let others = selector.about_others(Some("app-1"));
            others.map(|selector| selector.labels)
        };
        let role = rule("spark-role", Operator::In, &["executor"]);
        assert_eq!(
            about(&[role.clone(), rule(SPARK_APP_LABEL, Operator::In, &["app-1"])]),
            None
        );
        assert_eq!(
            about(&[role.clone(), rule(SPARK_APP_LABEL, Operator::NotIn, &["app-1"])]),
            Some(vec![role.clone()])
        );
        let other = rule(SPARK_APP_LABEL, Operator::In, &["app-2"]);
        assert_eq!(about(&[role.clone(), other.clone()]), Some(vec![role, other]));
    }
}
