//! The objects of demands, as JSON. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kompass_core::constraints::{Constraints, Operator, Requirement, Toleration};
use kompass_core::{Resources, Role, names};
use kompass_planner::{Demand, Member, PodRef};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The priority class of stand-ins.
pub(super) const PRIORITY_CLASS: &str = "kompass-stand-in";
/// The lowest priority that cluster-autoscaler still buys nodes for; everything else in the cluster goes first.
const PRIORITY: i32 = -10;
/// How long an ended Job is kept for a look at it.
const KEPT_S: i64 = 60;

/// One Job per group of members. The names follow from what is asked, so that the same demand has the same names.
pub(super) fn jobs(demand: &Demand, deadline_s: i64, image: &str) -> Vec<Value> {
    demand
        .members
        .iter()
        .map(|member| job(&demand.gang, member, deadline_s, image))
        .collect()
}

fn job(gang: &PodRef, member: &Member, deadline_s: i64, image: &str) -> Value {
    let role = match member.role {
        Role::Driver => "driver",
        Role::Executor => "executor",
    };
    let labels = json!({
        names::STAND_IN_LABEL: gang.uid,
        "app.kubernetes.io/managed-by": "kompass",
        "app.kubernetes.io/component": "stand-in",
    });
    let identity = format!(
        "{}|{role}|{}|{:?}|{:?}",
        gang.uid, member.count, member.requests, member.constraints
    );
    let mut spec = pause(image, &member.requests);
    spec["schedulerName"] = names::STAND_IN_SCHEDULER.into();
    spec["priorityClassName"] = PRIORITY_CLASS.into();
    constrain(&mut spec, &member.constraints);
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": format!("stand-in-{role}-{}", digest(&identity)),
            "labels": labels,
            "annotations": { "kompass.dev/gang-driver": format!("{}/{}", gang.namespace, gang.name) },
        },
        "spec": {
            "parallelism": member.count,
            "completions": member.count,
            // Nothing runs in them, so nothing fails; but a pod that somebody deletes must not end the others.
            "backoffLimit": 1_000_000,
            "activeDeadlineSeconds": deadline_s,
            "ttlSecondsAfterFinished": KEPT_S,
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    })
}

/// A pod on a node that asks for nothing, keeps autoscalers from taking the node away, and ends by itself.
pub(super) fn marker(gang: &PodRef, node: &str, life_s: i64, image: &str) -> Value {
    let mut spec = pause(image, &Resources::default());
    spec["nodeName"] = node.into();
    spec["activeDeadlineSeconds"] = life_s.into();
    // It stands for a gang whose own tolerations let it come; and it must not be evicted before its time.
    spec["tolerations"] = json!([{ "operator": "Exists" }]);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("marker-{}", digest(&format!("{}|{node}", gang.uid))),
            "labels": {
                names::MARKER_LABEL: gang.uid,
                "app.kubernetes.io/managed-by": "kompass",
                "app.kubernetes.io/component": "marker",
            },
            "annotations": {
                names::KARPENTER_DO_NOT_DISRUPT: "true",
                names::AUTOSCALER_SAFE_TO_EVICT: "false",
                "kompass.dev/gang-driver": format!("{}/{}", gang.namespace, gang.name),
            },
        },
        "spec": spec,
    })
}

/// The priority class of stand-ins.
pub(super) fn priority_class() -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": { "name": PRIORITY_CLASS, "labels": { "app.kubernetes.io/managed-by": "kompass" } },
        "value": PRIORITY,
        "preemptionPolicy": "Never",
        "description": "Stand-ins for Spark pods that wait for nodes. They never run.",
    })
}

/// The status by which autoscalers know a pod that needs a node.
pub(super) fn unschedulable(now: Timestamp) -> Value {
    json!({ "status": { "conditions": [{
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "stands for a member of a Spark gang that has no room",
        "lastTransitionTime": Timestamp::from_second(now.as_second()).unwrap_or(now).to_string(),
    }] } })
}

/// The spec of a pod that sleeps; it passes the strictest pod security standard.
fn pause(image: &str, requests: &Resources) -> Value {
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

/// A short name for a text: 12 hexadecimal digits.
fn digest(text: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::new();
    for byte in Sha256::digest(text.as_bytes()).iter().take(6) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use kompass_core::cluster::TaintEffect;
    use kompass_core::constraints::NodeTerm;
    use kompass_kube::{convert, object};

    use super::*;

    fn gang() -> PodRef {
        PodRef {
            namespace: "team".into(),
            name: "pi-driver".into(),
            uid: "u-1".into(),
        }
    }

    fn demand() -> Demand {
        let constraints = Constraints {
            node_selector: [("pool".to_owned(), "spark".to_owned())].into(),
            required_terms: Some(vec![NodeTerm {
                labels: vec![Requirement {
                    key: "zone".into(),
                    operator: Operator::In,
                    values: vec!["a".into()],
                }],
                fields: vec![],
            }]),
            tolerations: vec![
                Toleration {
                    key: "spot".into(),
                    exists: true,
                    effect: Some(TaintEffect::NoSchedule),
                    ..Toleration::default()
                },
                Toleration {
                    key: "team".into(),
                    value: "x".into(),
                    ..Toleration::default()
                },
            ],
        };
        let member = |role, count, cpu| Member {
            role,
            count,
            requests: Resources::from_mib(cpu, 1408).with("nvidia.com/gpu", 1),
            constraints: constraints.clone(),
        };
        Demand {
            gang: gang(),
            members: vec![member(Role::Driver, 1, 1000), member(Role::Executor, 12, 1500)],
            deadline_ms: 0,
        }
    }

    #[test]
    fn a_stand_in_asks_for_exactly_what_its_member_asks_for() {
        let demand = demand();
        let jobs = jobs(&demand, 600, "pause:1");
        assert_eq!(jobs.len(), 2);
        for (job, member) in jobs.iter().zip(&demand.members) {
            let template = &job["spec"]["template"];
            // Through the same reading as every other pod.
            let pod: object::Pod = serde_json::from_value(template.clone()).unwrap();
            let (pod, warnings) = convert::pod(pod).unwrap();
            assert_eq!(
                (warnings.len(), &pod.requests, &pod.constraints),
                (0, &member.requests, &member.constraints)
            );
            assert_eq!(pod.stand_in_for.as_deref(), Some("u-1"));
            assert_eq!(pod.scheduler, "kompass-stand-in");
            assert_eq!(template["spec"]["priorityClassName"], "kompass-stand-in");
            assert_eq!(job["spec"]["parallelism"], member.count);
            assert_eq!(job["spec"]["activeDeadlineSeconds"], 600);
            assert_eq!(
                template["spec"]["containers"][0]["resources"]["limits"],
                json!({ "nvidia.com/gpu": "1" })
            );
            serde_json::from_value::<k8s_openapi::api::batch::v1::Job>(job.clone()).unwrap();
        }
        assert_eq!(priority_class()["value"], -10);
    }

    #[test]
    fn the_same_demand_has_the_same_names_and_another_has_others() {
        let name = |demand: &Demand| jobs(demand, 1, "i")[1]["metadata"]["name"].as_str().unwrap().to_owned();
        let (same, mut other) = (demand(), demand());
        other.members[1].count = 13;
        assert_eq!(name(&demand()), name(&same));
        assert_ne!(name(&same), name(&other));
        assert!(name(&same).len() < 63);
    }

    #[test]
    fn a_marker_asks_for_nothing_and_holds_its_node() {
        let value = marker(&gang(), "n1", 600, "pause:1");
        let (pod, _) = convert::pod(serde_json::from_value(value.clone()).unwrap()).unwrap();
        assert!(pod.requests.is_zero());
        assert_eq!(
            (pod.node.as_deref(), pod.marker_for.as_deref()),
            (Some("n1"), Some("u-1"))
        );
        assert_eq!(value["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"], "true");
        assert_eq!(
            value["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"],
            "false"
        );
        assert_eq!(value["spec"]["activeDeadlineSeconds"], 600);
        assert!(pod.constraints.tolerations[0].exists);
    }

    #[test]
    fn the_condition_is_one_that_autoscalers_count() {
        let status = unschedulable(Timestamp::from_millisecond(1_767_225_600_123).unwrap());
        let condition = &status["status"]["conditions"][0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&"False".into(), &"Unschedulable".into())
        );
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
    }
}
