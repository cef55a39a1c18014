//! Which pods a term of a rule is about: the executors themselves, their driver, pods of others.

use kompass_core::constraints::{Operator, Requirement};
use kompass_core::names::{SPARK_APP_LABEL, SPARK_EXECUTOR_ID_LABEL, SPARK_ROLE_LABEL};
use kompass_core::peers::INDIVIDUAL_LABELS;
use kompass_core::{PodSelector, PodTerm};
use serde_json::Value;

use crate::json;

/// Labels that Spark gives every executor; most values are not known before it exists.
const SPARK_LABELS: [&str; 4] = [
    SPARK_APP_LABEL,
    SPARK_EXECUTOR_ID_LABEL,
    "spark-app-name",
    "spark-exec-resourceprofile-id",
];
/// Those that the driver has with the same value.
const SHARED_LABELS: [&str; 2] = [SPARK_APP_LABEL, "spark-app-name"];

/// What a term's selector says about some pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Of them.
    OfThem,
    /// Of others.
    OfOthers,
    /// Of what is only known of pods that exist.
    Unknown,
}

/// What is known of a label.
enum Label<'a> {
    Is(&'a str),
    Absent,
    /// It is there, with some value.
    Some,
}

/// Pods of an application, as far as they are known before they exist.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pods<'a> {
    /// The executors, with the labels of template and configuration.
    pub(crate) executor: &'a Value,
    /// `None`: not known.
    pub(crate) driver: Option<&'a Value>,
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Executors,
    Driver,
}

impl<'a> Pods<'a> {
    pub(crate) fn namespace(&self) -> Option<&'a str> {
        json::text(self.driver?, "/metadata/namespace")
    }

    /// What a term of the executors says about these pods.
    pub(crate) fn speaks(&self, term: &Value, who: Who) -> Speaks {
        let here = |namespace: &Value| namespace.as_str().is_some() && namespace.as_str() == self.namespace();
        let namespaces = json::list(term, "/namespaces");
        let elsewhere = !namespaces.is_empty() && !namespaces.iter().any(here);
        match (elsewhere, namespace_selector(term)) {
            (_, Some(selector)) if is_empty(selector) => self.selects(term, who),
            (false, None) => self.selects(term, who),
            (false, Some(_)) if !namespaces.is_empty() => self.selects(term, who),
            (_, Some(_)) => Speaks::Unknown,
            (true, None) => Speaks::OfOthers,
        }
    }

    /// A term of the executors as one about pods of others; `None` where it is about none. What it says of these pods
    /// themselves is not in it.
    pub(crate) fn about_others(&self, term: &Value) -> Result<Option<PodTerm>, &'static str> {
        let namespaces = match namespace_selector(term) {
            Some(selector) if is_empty(selector) => None,
            Some(_) => return Err("selects namespaces by their labels"),
            None => {
                let named = json::list(term, "/namespaces").iter().filter_map(Value::as_str);
                let mut named: Vec<String> = named.map(str::to_owned).collect();
                if named.is_empty() {
                    named.extend(self.namespace().map(str::to_owned));
                }
                named.sort_unstable();
                named.dedup();
                Some(named)
            }
        };
        let Some(labels) = self.requirements(term)? else {
            return Ok(None);
        };
        let application = self.driver.and_then(|driver| json::label(driver, SPARK_APP_LABEL));
        let pods = PodSelector { namespaces, labels }.about_others(application);
        Ok(pods.map(|pods| PodTerm {
            topology: json::text(term, "/topologyKey").unwrap_or_default().to_owned(),
            pods,
        }))
    }

    /// What a selector asks of labels, `matchLabelKeys` included; `None` where it selects nobody else.
    fn requirements(&self, term: &Value) -> Result<Option<Vec<Requirement>>, &'static str> {
        const UNKNOWN: &str = "is about pods that are not known before they exist";
        let Some(selector) = term.get("labelSelector").filter(|selector| selector.is_object()) else {
            return Ok(None);
        };
        let mut all = Vec::new();
        for (key, value) in json::entries(selector, "/matchLabels") {
            all.push((key, Operator::In, vec![value.as_str().ok_or(UNKNOWN)?.to_owned()]));
        }
        for expression in json::list(selector, "/matchExpressions") {
            let operator = match json::text(expression, "/operator") {
                Some("In") => Operator::In,
                Some("NotIn") => Operator::NotIn,
                Some("Exists") => Operator::Exists,
                Some("DoesNotExist") => Operator::DoesNotExist,
                _ => return Err(UNKNOWN),
            };
            let values = json::list(expression, "/values").iter().filter_map(Value::as_str);
            let key = json::text(expression, "/key").unwrap_or_default();
            all.push((key, operator, values.map(str::to_owned).collect()));
        }
        for (pointer, operator) in [
            ("/matchLabelKeys", Operator::In),
            ("/mismatchLabelKeys", Operator::NotIn),
        ] {
            for key in json::list(term, pointer).iter().filter_map(Value::as_str) {
                match (self.label(key, Who::Executors), operator) {
                    // Nobody else has its number, and all others have another one.
                    (_, Operator::In) if key == SPARK_EXECUTOR_ID_LABEL => return Ok(None),
                    (Label::Absent, _) => {}
                    _ if key == SPARK_EXECUTOR_ID_LABEL => {}
                    (Label::Is(value), operator) => all.push((key, operator, vec![value.to_owned()])),
                    (Label::Some, _) => return Err(UNKNOWN),
                }
            }
        }
        let by_value = |(key, operator, _): &(&str, Operator, Vec<String>)| {
            INDIVIDUAL_LABELS.contains(key) && matches!(operator, Operator::In | Operator::NotIn)
        };
        if all.iter().any(by_value) {
            return Err(UNKNOWN);
        }
        // Terms that say the same are one.
        all.sort_unstable_by(|one, other| (one.0, &one.2).cmp(&(other.0, &other.2)));
        let requirement = |(key, operator, values): (&str, Operator, Vec<String>)| Requirement {
            key: key.to_owned(),
            operator,
            values,
        };
        Ok(Some(all.into_iter().map(requirement).collect()))
    }

    /// What the label selector of a term of the executors says about these pods.
    fn selects(&self, term: &Value, who: Who) -> Speaks {
        let Some(selector) = term.get("labelSelector").filter(|selector| selector.is_object()) else {
            // Without one nothing is selected.
            return Speaks::OfOthers;
        };
        let mut speaks = Speaks::OfThem;
        let mut and = |holds: Option<bool>| {
            speaks = match (speaks, holds) {
                (Speaks::OfOthers, _) | (_, Some(false)) => Speaks::OfOthers,
                (Speaks::Unknown, _) | (_, None) => Speaks::Unknown,
                _ => Speaks::OfThem,
            }
        };
        for key in json::list(term, "/matchLabelKeys").iter().filter_map(Value::as_str) {
            and(self.has_in_common(key, who));
        }
        for key in json::list(term, "/mismatchLabelKeys").iter().filter_map(Value::as_str) {
            if !matches!(self.label(key, Who::Executors), Label::Absent) {
                and(self.has_in_common(key, who).map(|common| !common));
            }
        }
        for (key, value) in json::entries(selector, "/matchLabels") {
            and(self.is_one_of(key, std::slice::from_ref(value), who));
        }
        for expression in json::list(selector, "/matchExpressions") {
            let key = json::text(expression, "/key").unwrap_or_default();
            let values = json::list(expression, "/values");
            let has = !matches!(self.label(key, who), Label::Absent);
            and(match json::text(expression, "/operator") {
                Some("In") => self.is_one_of(key, values, who),
                Some("NotIn") => self.is_one_of(key, values, who).map(|is| !is),
                Some("Exists") => Some(has),
                Some("DoesNotExist") => Some(!has),
                _ => None,
            });
        }
        speaks
    }

    /// Whether these pods have the same value of a label as the executor whose rule it is.
    fn has_in_common(&self, key: &str, who: Who) -> Option<bool> {
        if key == SPARK_EXECUTOR_ID_LABEL {
            return Some(false);
        }
        match (self.label(key, Who::Executors), self.label(key, who)) {
            // A key that the executor does not have is not looked at.
            (Label::Absent, _) => Some(true),
            (Label::Is(own), Label::Is(value)) => Some(own == value),
            (_, Label::Absent) => Some(false),
            // Executors of a gang have all labels in common but their number.
            _ if who == Who::Executors => Some(true),
            _ => None,
        }
    }

    /// Whether a label has one of these values; `None` where that is not known yet.
    fn is_one_of(&self, key: &str, values: &[Value], who: Who) -> Option<bool> {
        match self.label(key, who) {
            Label::Is(value) => Some(values.iter().any(|known| known.as_str() == Some(value))),
            Label::Absent => Some(false),
            Label::Some => None,
        }
    }

    fn label(&self, key: &str, who: Who) -> Label<'_> {
        let of = |pod| json::label(pod, key);
        let driver = self.driver.and_then(of);
        let value = match who {
            Who::Driver if self.driver.is_none() => return Label::Some,
            Who::Driver => driver,
            Who::Executors if key == SPARK_ROLE_LABEL => Some("executor"),
            Who::Executors if SHARED_LABELS.contains(&key) && driver.is_some() => driver,
            Who::Executors if SPARK_LABELS.contains(&key) => return Label::Some,
            Who::Executors => of(self.executor),
        };
        value.map_or(Label::Absent, Label::Is)
    }
}

fn namespace_selector(term: &Value) -> Option<&Value> {
    term.get("namespaceSelector").filter(|selector| !selector.is_null())
}

/// An empty selector is all namespaces.
fn is_empty(selector: &Value) -> bool {
    selector.as_object().is_some_and(|selector| {
        let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let none = |value: &Value| empty(value) || value.as_object().is_some_and(serde_json::Map::is_empty);
        selector.values().all(none)
    })
}
