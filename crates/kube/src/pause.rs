//! Pods that sleep: stand-ins, which show autoscalers that nodes are needed, and markers. Pure: objects as JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kompass_core::constraints::{Constraints, Operator, Requirement, Toleration};
use kompass_core::{Resources, names};
use serde_json::{Value, json};

use crate::object;

/// The priority class of stand-ins.
pub const PRIORITY_CLASS: &str = "kompass-stand-in";
/// The lowest priority that cluster-autoscaler still buys nodes for; everything else in the cluster goes first.
const PRIORITY: i32 = -10;

/// The priority class of stand-ins, to be created where it is not there.
pub fn priority_class() -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": { "name": PRIORITY_CLASS, "labels": { "app.kubernetes.io/managed-by": "kompass" } },
        "value": PRIORITY,
        "preemptionPolicy": "Never",
        "description": "Stand-ins for Spark pods that wait for nodes. They never run.",
    })
}

/// The status, to be merged, by which autoscalers know a pod that needs a node.
pub fn unschedulable(message: &str, now: Timestamp) -> Value {
    json!({ "status": { "conditions": [{
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": Timestamp::from_second(now.as_second()).unwrap_or(now).to_string(),
    }] } })
}

/// Whether a Job of such pods has ended: it has none any more, and makes none.
pub fn has_ended(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref());
    let ends = ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"];
    conditions
        .unwrap_or_default()
        .iter()
        .any(|one| one.status == "True" && ends.contains(&one.type_.as_str()))
}

/// The spec of a pod that sleeps; it passes the strictest pod security standard.
pub fn spec(image: &str, requests: &Resources) -> Value {
    let mut container = json!({
        "name": "pause",
        "image": image,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    });
    if !requests.is_zero() {
        container["resources"] = amounts(requests);
    }
    json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65_535,
            "runAsGroup": 65_535,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container],
    })
}

/// The spec of a pod that sleeps where these constraints let it, that nobody places, and that autoscalers buy nodes for.
pub fn stand_in(image: &str, requests: &Resources, constraints: &Constraints) -> Value {
    let mut spec = constrained(image, requests, constraints);
    spec["schedulerName"] = names::STAND_IN_SCHEDULER.into();
    spec["priorityClassName"] = PRIORITY_CLASS.into();
    spec
}

/// The spec of a pod that sleeps where these constraints let it.
pub fn constrained(image: &str, requests: &Resources, constraints: &Constraints) -> Value {
    let mut spec = spec(image, requests);
    constrain(&mut spec, constraints);
    spec
}

/// Whether autoscalers can see already that the pod needs a node, or cannot because it has one.
pub fn is_marked(pod: &object::Pod) -> bool {
    pod.status.conditions.iter().any(|one| one.type_ == "PodScheduled")
}

fn amounts(requests: &Resources) -> Value {
    let mut asked: BTreeMap<&str, String> = requests
        .extended
        .iter()
        .filter(|&(_, &units)| units > 0)
        .map(|(name, units)| (name.as_str(), units.to_string()))
        .collect();
    // Kubernetes wants limits equal to requests for whatever can't be overcommitted.
    let whole = |name: &str| name.contains('/') || name.starts_with("hugepages-");
    let limits: BTreeMap<&str, String> = asked
        .iter()
        .filter(|(name, _)| whole(name))
        .map(|(name, units)| (*name, units.clone()))
        .collect();
    if requests.cpu_milli > 0 {
        asked.insert("cpu", format!("{}m", requests.cpu_milli));
    }
    if requests.memory_bytes > 0 {
        asked.insert("memory", requests.memory_bytes.to_string());
    }
    let mut resources = json!({ "requests": asked });
    if !limits.is_empty() {
        resources["limits"] = json!(limits);
    }
    resources
}

fn constrain(spec: &mut Value, constraints: &Constraints) {
    if !constraints.node_selector.is_empty() {
        spec["nodeSelector"] = json!(constraints.node_selector);
    }
    if let Some(terms) = &constraints.required_terms {
        let all = |rules: &[Requirement]| rules.iter().map(requirement).collect::<Vec<_>>();
        let terms = terms.iter().map(|term| {
            let mut json = json!({});
            if !term.labels.is_empty() {
                json["matchExpressions"] = all(&term.labels).into();
            }
            if !term.fields.is_empty() {
                json["matchFields"] = all(&term.fields).into();
            }
            json
        });
        let terms: Vec<Value> = terms.collect();
        spec["affinity"] = json!({ "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms },
        } });
    }
    if !constraints.tolerations.is_empty() {
        spec["tolerations"] = constraints
            .tolerations
            .iter()
            .map(toleration)
            .collect::<Vec<_>>()
            .into();
    }
}

fn requirement(rule: &Requirement) -> Value {
    let operator = match rule.operator {
        Operator::In => "In",
        Operator::NotIn => "NotIn",
        Operator::Exists => "Exists",
        Operator::DoesNotExist => "DoesNotExist",
        Operator::Gt => "Gt",
        Operator::Lt => "Lt",
    };
    let mut json = json!({ "key": rule.key, "operator": operator });
    if !rule.values.is_empty() {
        json["values"] = json!(rule.values);
    }
    json
}

fn toleration(toleration: &Toleration) -> Value {
    let mut json = json!({ "operator": if toleration.exists { "Exists" } else { "Equal" } });
    if !toleration.key.is_empty() {
        json["key"] = toleration.key.clone().into();
    }
    if !toleration.value.is_empty() {
        json["value"] = toleration.value.clone().into();
    }
    if let Some(effect) = toleration.effect {
        json["effect"] = format!("{effect:?}").into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_is_one_that_autoscalers_count() {
        let status = unschedulable("no room", Timestamp::from_millisecond(1_767_225_600_123).unwrap());
        let condition = &status["status"]["conditions"][0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&"False".into(), &"Unschedulable".into())
        );
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn a_stand_in_is_of_the_lowest_priority_that_counts_and_nobody_places_it() {
        let spec = stand_in("pause:1", &Resources::from_mib(1_000, 1), &Constraints::default());
        assert_eq!(
            (&spec["priorityClassName"], &spec["schedulerName"]),
            (&priority_class()["metadata"]["name"], &names::STAND_IN_SCHEDULER.into())
        );
        assert_eq!(priority_class()["value"], -10);
    }
}
