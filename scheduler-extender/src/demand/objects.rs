//! The objects of demands, as JSON. Pure.

use kompass_core::{Resources, Role, names};
use kompass_kube::pause;
use kompass_planner::{Demand, Member, PodRef};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

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
    let spec = pause::stand_in(image, &member.requests, &member.constraints);
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
    let mut spec = pause::spec(image, &Resources::default());
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
    use kompass_core::Constraints;
    use kompass_core::cluster::TaintEffect;
    use kompass_core::constraints::{NodeTerm, Operator, Requirement, Toleration};
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
}
