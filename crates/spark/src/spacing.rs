//! The executors' hard rules about each other, out of the executor pod: host ports, anti-affinity, topology spread.
//!
//! Planned is what speaks of the gang's own executors by node or zone. Selectors such as `spark-role: executor` match
//! the executors of *other* applications too, unless `matchLabelKeys` holds `spark-app-selector`: kube-scheduler counts
//! those, the plan does not.

use kompass_core::Spacing;
use kompass_core::names::{SPARK_APP_LABEL, SPARK_EXECUTOR_ID_LABEL, SPARK_ROLE_LABEL, ZONE_LABEL};
use serde_json::Value;

use crate::json;

/// Label with a node's own name.
const HOST_LABEL: &str = "kubernetes.io/hostname";
/// Labels that Spark gives every executor, with values that are not known before it exists.
const UNKNOWN_LABELS: [&str; 4] = [
    SPARK_APP_LABEL,
    SPARK_EXECUTOR_ID_LABEL,
    "spark-app-name",
    "spark-exec-resourceprofile-id",
];

/// What a term's selector says about the executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// Of themselves.
    OfThem,
    /// Of nobody of the gang.
    OfOthers,
    /// Of what is only known of executors that exist.
    Unknown,
}

/// The rules of an executor pod in this namespace, and a sentence about each kind of rule that is not planned for.
pub fn spacing(pod: &Value, namespace: Option<&str>) -> (Spacing, Vec<String>) {
    let mut reading = Reading {
        pod,
        namespace,
        spacing: Spacing::default(),
        warnings: Vec::new(),
    };
    reading.spacing.host_ports = host_ports(pod);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    for term in json::list(pod, &format!("/spec/affinity/podAntiAffinity/{required}")) {
        reading.apart(term);
    }
    for term in json::list(pod, &format!("/spec/affinity/podAffinity/{required}")) {
        reading.together(term);
    }
    for rule in json::list(pod, "/spec/topologySpreadConstraints") {
        // Without an answer to what is done when it can't be kept, Kubernetes does not schedule.
        if json::text(rule, "/whenUnsatisfiable").is_none_or(|when| when == "DoNotSchedule") {
            reading.spread(rule);
        }
    }
    (reading.spacing, reading.warnings)
}

/// Host ports as kube-scheduler counts them, ascending, each once.
fn host_ports(pod: &Value) -> Vec<u16> {
    let restartable = |container: &&Value| json::text(container, "/restartPolicy") == Some("Always");
    let initial = json::list(pod, "/spec/initContainers").iter().filter(restartable);
    // On the host's network every port is the host's.
    let on_host = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true);
    let number = |port: &Value| {
        let own = port.get("hostPort").and_then(Value::as_u64).filter(|&own| own > 0);
        let named = || port.get("containerPort").and_then(Value::as_u64).filter(|_| on_host);
        own.or_else(named)
            .and_then(|port| u16::try_from(port).ok())
            .filter(|&port| port > 0)
    };
    let mut ports: Vec<u16> = json::list(pod, "/spec/containers")
        .iter()
        .chain(initial)
        .flat_map(|container| json::list(container, "/ports"))
        .filter_map(number)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The rules so far.
struct Reading<'a> {
    pod: &'a Value,
    namespace: Option<&'a str>,
    spacing: Spacing,
    warnings: Vec<String>,
}

impl Reading<'_> {
    /// A required anti-affinity.
    fn apart(&mut self, term: &Value) {
        let what = "a required pod anti-affinity of the executors";
        if !self.speaks_of_them(term, what) {
            return;
        }
        match json::text(term, "/topologyKey") {
            Some(HOST_LABEL) => lower(&mut self.spacing.per_node_max, 1),
            Some(ZONE_LABEL) => lower(&mut self.spacing.per_zone_max, 1),
            _ => self.skip(what, "is about neither nodes nor zones"),
        }
    }

    /// A required affinity.
    fn together(&mut self, term: &Value) {
        let what = "a required pod affinity of the executors";
        if !self.speaks_of_them(term, what) {
            return;
        }
        match json::text(term, "/topologyKey") {
            Some(ZONE_LABEL) => self.spacing.one_zone = true,
            _ => self.skip(what, "is not about zones"),
        }
    }

    /// A topology spread that has to be kept.
    fn spread(&mut self, rule: &Value) {
        let what = "a topology spread of the executors";
        if !self.speaks_of_them(rule, what) {
            return;
        }
        let otherwise = |key: &str, usual: &str| rule.get(key).is_some_and(|value| *value != *usual);
        if rule.get("minDomains").is_some_and(|least| !least.is_null()) {
            return self.skip(what, "has minDomains");
        }
        if otherwise("nodeAffinityPolicy", "Honor") || otherwise("nodeTaintsPolicy", "Ignore") {
            return self.skip(what, "has a policy of its own about which nodes count");
        }
        let Some(skew) = rule.get("maxSkew").and_then(Value::as_u64).filter(|&skew| skew > 0) else {
            return self.skip(what, "has no maxSkew");
        };
        match json::text(rule, "/topologyKey") {
            // Nearly always a node without any executor is among those that count.
            Some(HOST_LABEL) => lower(&mut self.spacing.per_node_max, skew),
            Some(ZONE_LABEL) => lower(&mut self.spacing.zone_skew, skew),
            _ => self.skip(what, "is about neither nodes nor zones"),
        }
    }

    /// Whether a term is about the gang's own executors; if not it is told.
    fn speaks_of_them(&mut self, term: &Value, what: &str) -> bool {
        let here = |namespace: &Value| namespace.as_str().is_some() && namespace.as_str() == self.namespace;
        let namespaces = json::list(term, "/namespaces");
        // An empty selector is all namespaces.
        let selected = term.get("namespaceSelector").filter(|selector| !selector.is_null());
        let everywhere = selected.is_some_and(|selector| selector.as_object().is_some_and(serde_json::Map::is_empty));
        let elsewhere = !namespaces.is_empty() && !namespaces.iter().any(here);
        let speaks = match (elsewhere, selected) {
            (_, Some(_)) if everywhere => self.selects(term),
            (false, None) => self.selects(term),
            (false, Some(_)) if !namespaces.is_empty() => self.selects(term),
            (_, Some(_)) => Speaks::Unknown,
            (true, None) => Speaks::OfOthers,
        };
        match speaks {
            Speaks::OfThem => return true,
            Speaks::OfOthers => self.skip(what, "is about other pods, by their labels"),
            Speaks::Unknown => self.skip(what, "is about pods that are not known before they exist"),
        }
        false
    }

    /// What the label selector of a term says about the executors.
    fn selects(&self, term: &Value) -> Speaks {
        let Some(selector) = term.get("labelSelector").filter(|selector| selector.is_object()) else {
            // Without one nothing is selected.
            return Speaks::OfOthers;
        };
        // Executors of a gang have all labels in common but their number.
        let keys = |pointer: &str| json::list(term, pointer).iter().filter_map(Value::as_str);
        let only_alike = keys("/matchLabelKeys").any(|key| key == SPARK_EXECUTOR_ID_LABEL);
        let only_unlike = keys("/mismatchLabelKeys").any(|key| key != SPARK_EXECUTOR_ID_LABEL && self.has(key));
        let mut speaks = if only_alike || only_unlike {
            Speaks::OfOthers
        } else {
            Speaks::OfThem
        };
        let mut and = |holds: Option<bool>| {
            speaks = match (speaks, holds) {
                (Speaks::OfOthers, _) | (_, Some(false)) => Speaks::OfOthers,
                (Speaks::Unknown, _) | (_, None) => Speaks::Unknown,
                _ => Speaks::OfThem,
            }
        };
        for (key, value) in json::entries(selector, "/matchLabels") {
            and(self.is_one_of(key, std::slice::from_ref(value)));
        }
        for expression in json::list(selector, "/matchExpressions") {
            let key = json::text(expression, "/key").unwrap_or_default();
            let values = json::list(expression, "/values");
            and(match json::text(expression, "/operator") {
                Some("In") => self.is_one_of(key, values),
                Some("NotIn") => self.is_one_of(key, values).map(|is| !is),
                Some("Exists") => Some(self.has(key)),
                Some("DoesNotExist") => Some(!self.has(key)),
                _ => None,
            });
        }
        speaks
    }

    fn has(&self, key: &str) -> bool {
        key == SPARK_ROLE_LABEL || UNKNOWN_LABELS.contains(&key) || self.label(key).is_some()
    }

    /// Whether an executor's label has one of these values; `None` where that is not known yet.
    fn is_one_of(&self, key: &str, values: &[Value]) -> Option<bool> {
        let value = match key {
            SPARK_ROLE_LABEL => "executor",
            key if UNKNOWN_LABELS.contains(&key) => return None,
            key => match self.label(key) {
                Some(value) => value,
                None => return Some(false),
            },
        };
        Some(values.iter().any(|known| known.as_str() == Some(value)))
    }

    fn label(&self, key: &str) -> Option<&str> {
        json::label(self.pod, key)
    }

    fn skip(&mut self, what: &str, why: &str) {
        let text = format!("{what} {why}: kube-scheduler keeps it, the plan does not know it");
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }
}

/// The stricter of two limits.
fn lower(limit: &mut Option<u64>, to: u64) {
    *limit = Some(limit.map_or(to, |known| known.min(to)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The rules of a template with the labels `team: etl` and this spec; its warnings.
    fn read(spec: &Value) -> (Spacing, Vec<String>) {
        spacing(
            &json!({"metadata": {"labels": {"team": "etl"}}, "spec": spec}),
            Some("jobs"),
        )
    }

    fn executors() -> Value {
        json!({"matchLabels": {"spark-role": "executor"}})
    }

    fn term(key: &str, selector: &Value, more: &Value) -> Value {
        let mut term = json!({"topologyKey": key, "labelSelector": selector});
        if let (Some(term), Some(more)) = (term.as_object_mut(), more.as_object()) {
            term.extend(more.clone());
        }
        term
    }

    fn apart(term: &Value) -> Value {
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
    }

    fn together(term: &Value) -> Value {
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
    }

    fn spread(key: &str, more: &Value) -> Value {
        let mut rule = term(
            key,
            &executors(),
            &json!({"maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}),
        );
        if let (Some(rule), Some(more)) = (rule.as_object_mut(), more.as_object()) {
            rule.extend(more.clone());
        }
        json!({"topologySpreadConstraints": [rule]})
    }

    #[test]
    fn every_rule_is_read() {
        let none = json!({});
        let one = |change: fn(&mut Spacing)| {
            let mut spacing = Spacing::default();
            change(&mut spacing);
            spacing
        };
        let per_node = one(|spacing| spacing.per_node_max = Some(1));
        for (spec, expected) in [
            (json!({}), Spacing::default()),
            (apart(&term(HOST_LABEL, &executors(), &none)), per_node.clone()),
            (
                apart(&term(ZONE_LABEL, &executors(), &none)),
                one(|spacing| spacing.per_zone_max = Some(1)),
            ),
            (
                together(&term(ZONE_LABEL, &executors(), &none)),
                one(|spacing| spacing.one_zone = true),
            ),
            (
                spread(ZONE_LABEL, &json!({"nodeTaintsPolicy": "Ignore"})),
                one(|spacing| spacing.zone_skew = Some(2)),
            ),
            (spread(HOST_LABEL, &none), one(|spacing| spacing.per_node_max = Some(2))),
            (
                spread(ZONE_LABEL, &json!({"whenUnsatisfiable": "ScheduleAnyway"})),
                Spacing::default(),
            ),
            (
                apart(&term(
                    HOST_LABEL,
                    &json!({"matchLabels": {"team": "etl"}}),
                    &json!({"matchLabelKeys": ["spark-app-selector"], "namespaces": ["a", "jobs"]}),
                )),
                per_node.clone(),
            ),
            (
                apart(&term(HOST_LABEL, &json!({}), &json!({"namespaceSelector": {}}))),
                per_node.clone(),
            ),
            (
                apart(&term(
                    HOST_LABEL,
                    &json!({"matchExpressions": [
                        {"key": "team", "operator": "In", "values": ["ml", "etl"]},
                        {"key": "team", "operator": "NotIn", "values": ["ml"]},
                        {"key": "absent", "operator": "NotIn", "values": ["ml"]},
                        {"key": "spark-exec-id", "operator": "Exists"},
                        {"key": "absent", "operator": "DoesNotExist"},
                    ]}),
                    &none,
                )),
                per_node,
            ),
        ] {
            assert_eq!(read(&spec), (expected, vec![]), "{spec}");
        }
    }

    #[test]
    fn host_ports_of_all_that_stays_are_counted() {
        let spec = json!({
            "containers": [
                {"ports": [{"containerPort": 1, "hostPort": 8080}, {"containerPort": 2}]},
                {"ports": [{"containerPort": 3, "hostPort": 4040}, {"hostPort": 8080}, {"hostPort": 70_000}]},
            ],
            "initContainers": [
                {"restartPolicy": "Always", "ports": [{"hostPort": 9000}]},
                {"ports": [{"hostPort": 9001}]},
            ],
        });
        assert_eq!(read(&spec).0.host_ports, [4040, 8080, 9000]);
        let mut on_host = spec;
        on_host["hostNetwork"] = json!(true);
        assert_eq!(read(&on_host).0.host_ports, [2, 4040, 8080, 9000]);
    }

    #[test]
    fn what_is_not_planned_for_is_told_without_any_value() {
        let none = json!({});
        let secret = json!({"matchLabels": {"hunter2": "hunter2"}});
        for spec in [
            apart(&term("hunter2", &executors(), &none)),
            apart(&term(HOST_LABEL, &secret, &none)),
            apart(&term(HOST_LABEL, &Value::Null, &none)),
            apart(&term(HOST_LABEL, &executors(), &json!({"namespaces": ["hunter2"]}))),
            apart(&term(
                HOST_LABEL,
                &executors(),
                &json!({"namespaceSelector": {"matchLabels": {"a": "hunter2"}}}),
            )),
            apart(&term(HOST_LABEL, &executors(), &json!({"mismatchLabelKeys": ["team"]}))),
            apart(&term(
                HOST_LABEL,
                &executors(),
                &json!({"matchLabelKeys": ["spark-exec-id"]}),
            )),
            apart(&term(
                HOST_LABEL,
                &json!({"matchLabels": {"spark-app-selector": "hunter2"}}),
                &none,
            )),
            apart(&term(
                HOST_LABEL,
                &json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["etl"]}]}),
                &none,
            )),
            together(&term(HOST_LABEL, &executors(), &none)),
            together(&term(ZONE_LABEL, &secret, &none)),
            spread("hunter2", &none),
            spread(ZONE_LABEL, &json!({"minDomains": 3})),
            spread(ZONE_LABEL, &json!({"nodeTaintsPolicy": "Honor"})),
            spread(ZONE_LABEL, &json!({"nodeAffinityPolicy": "Ignore"})),
            spread(ZONE_LABEL, &json!({"maxSkew": 0})),
            spread(
                ZONE_LABEL,
                &json!({"labelSelector": {"matchLabels": {"team": "hunter2"}}}),
            ),
        ] {
            let (spacing, warnings) = read(&spec);
            assert!(spacing.is_none(), "{spec}: {spacing:?}");
            assert_eq!(warnings.len(), 1, "{spec}: {warnings:?}");
            assert!(!warnings[0].contains("hunter2"), "{warnings:?}");
        }
    }
}
