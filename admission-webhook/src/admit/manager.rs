//! Other queue managers, and how a pod shows that it is one's: a table, so that a new one is a line.
//!
//! Only what the pod itself says counts: admission asks nobody. A mark tells whose pod it is where no scheduler is
//! named; a pod that names `kompass` asks for KOMPASS, whatever else it carries.

use kompass_core::names;
use serde_json::Value;

use super::Rules;
use crate::patch::get;

/// Something else that queues or gang-schedules pods.
#[derive(Debug, PartialEq, Eq)]
pub struct Manager {
    /// For logs.
    pub name: &'static str,
    /// What KOMPASS does with its pods.
    pub stance: Stance,
    /// The schedulers that serve its pods; one that the rules take over makes its marks void.
    schedulers: &'static [&'static str],
    /// Any of these tells that a pod is its own.
    marks: &'static [Mark],
}

/// What KOMPASS does with the pods of a queue manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// Leaves them: two that place the same gang deadlock each other.
    Leave,
    /// Comes after it: the manager decides about quota by a gate of its own, and doesn't place. The planner does not
    /// start a gang while a gate of others is closed.
    Follow,
}

/// How a pod shows whose it is. Keys that end in `/` stand for all that begin so.
#[derive(Debug, PartialEq, Eq)]
enum Mark {
    /// A label.
    Label(&'static str),
    /// Two labels whose names are too common to mean anything alone.
    BothLabels(&'static str, &'static str),
    /// An annotation.
    Annotation(&'static str),
    /// A scheduling gate.
    Gate(&'static str),
    /// A field of `spec`.
    Field(&'static str),
}

/// The managers known. The first whose pod it is counts: those that place go before those that only gate.
const MANAGERS: &[Manager] = &[
    Manager {
        name: "fargate",
        stance: Stance::Leave,
        schedulers: &["fargate-scheduler"],
        marks: &[Mark::Label("eks.amazonaws.com/fargate-profile")],
    },
    Manager {
        name: "yunikorn",
        stance: Stance::Leave,
        schedulers: &["yunikorn"],
        marks: &[
            Mark::Label("yunikorn.apache.org/"),
            Mark::Annotation("yunikorn.apache.org/"),
            Mark::BothLabels("applicationId", "queue"),
        ],
    },
    Manager {
        name: "volcano",
        stance: Stance::Leave,
        schedulers: &["volcano"],
        marks: &[
            Mark::Annotation("scheduling.k8s.io/group-name"),
            Mark::Annotation("scheduling.volcano.sh/"),
            Mark::Annotation("volcano.sh/"),
            Mark::Label("volcano.sh/"),
        ],
    },
    Manager {
        name: "koordinator",
        stance: Stance::Leave,
        schedulers: &["koord-scheduler"],
        marks: &[
            Mark::Annotation("gang.scheduling.koordinator.sh/"),
            Mark::Label("gang.scheduling.koordinator.sh/"),
        ],
    },
    Manager {
        name: "coscheduling",
        stance: Stance::Leave,
        schedulers: &["scheduler-plugins-scheduler"],
        marks: &[
            Mark::Label("scheduling.x-k8s.io/pod-group"),
            Mark::Label("pod-group.scheduling.sigs.k8s.io"),
            Mark::Label("pod-group.scheduling.sigs.k8s.io/"),
            Mark::Annotation("pod-group.scheduling.sigs.k8s.io"),
            Mark::Annotation("pod-group.scheduling.sigs.k8s.io/"),
        ],
    },
    // Gangs of kube-scheduler itself: `workloadRef` in Kubernetes 1.35, `schedulingGroup` since 1.36.
    Manager {
        name: "kubernetes",
        stance: Stance::Leave,
        schedulers: &[],
        marks: &[Mark::Field("schedulingGroup"), Mark::Field("workloadRef")],
    },
    // Its webhook may run after ours, so that the label is there and the gate is not yet.
    Manager {
        name: "kueue",
        stance: Stance::Follow,
        schedulers: &[],
        marks: &[Mark::Label("kueue.x-k8s.io/"), Mark::Gate("kueue.x-k8s.io/")],
    },
];

/// The queue manager whose pod this is, other than KOMPASS.
pub fn of(pod: &Value, rules: &Rules) -> Option<&'static Manager> {
    let scheduler = get(pod, &["spec", "schedulerName"]).and_then(Value::as_str);
    let scheduler = scheduler
        .filter(|name| !name.is_empty())
        .unwrap_or(names::DEFAULT_SCHEDULER);
    MANAGERS.iter().find(|manager| {
        if manager.schedulers.iter().any(|own| rules.takes_over(own)) {
            return false;
        }
        let is_marked = || manager.marks.iter().any(|mark| mark.is_on(pod));
        match manager.stance {
            Stance::Leave if scheduler == names::SCHEDULER => false,
            Stance::Leave | Stance::Follow => manager.schedulers.contains(&scheduler) || is_marked(),
        }
    })
}

impl Mark {
    fn is_on(&self, pod: &Value) -> bool {
        match self {
            Self::Label(key) => has_key(get(pod, &["metadata", "labels"]), key),
            Self::BothLabels(one, other) => {
                let labels = get(pod, &["metadata", "labels"]);
                has_key(labels, one) && has_key(labels, other)
            }
            Self::Annotation(key) => has_key(get(pod, &["metadata", "annotations"]), key),
            Self::Gate(key) => {
                let gates = get(pod, &["spec", "schedulingGates"]).and_then(Value::as_array);
                gates.into_iter().flatten().any(|gate| {
                    let name = gate.get("name").and_then(Value::as_str);
                    name.is_some_and(|name| matches(name, key))
                })
            }
            Self::Field(name) => get(pod, &["spec", name]).is_some(),
        }
    }
}

fn has_key(map: Option<&Value>, key: &str) -> bool {
    let fields = map.and_then(Value::as_object);
    fields.is_some_and(|fields| fields.keys().any(|name| matches(name, key)))
}

fn matches(name: &str, key: &str) -> bool {
    name == key || (key.ends_with('/') && name.starts_with(key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admit::{Outcome, Verdict, driver};

    /// A driver with labels, annotations and fields of `spec`.
    fn pod(labels: &Value, annotations: &Value, spec: &Value) -> Value {
        let mut pod = json!({
            "metadata": {"name": "d", "labels": {"spark-role": "driver"}, "annotations": {"own": "x"}},
            "spec": {"schedulerName": "default-scheduler", "containers": [{"name": "c"}]},
        });
        for (path, more) in [
            ("/metadata/labels", labels),
            ("/metadata/annotations", annotations),
            ("/spec", spec),
        ] {
            let fields = pod.pointer_mut(path).unwrap().as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
        }
        pod
    }

    fn admitted(pod: &Value, rules: &Rules) -> (Verdict, Value) {
        let verdict = driver(pod.clone(), "k", rules);
        let mut after = pod.clone();
        json_patch::patch(&mut after, &json_patch::Patch(verdict.operations.clone())).unwrap();
        (verdict, after)
    }

    #[track_caller]
    fn is_held(manager: &str, labels: &Value, annotations: &Value, spec: &Value) {
        let pod = pod(labels, annotations, spec);
        let (verdict, after) = admitted(&pod, &Rules::default());
        assert_eq!((verdict.outcome, verdict.manager), (Outcome::Held, Some(manager)));
        assert_eq!(after, pod);
        assert!(verdict.warnings.is_empty());
    }

    #[test]
    fn a_driver_of_yunikorn_is_left() {
        is_held(
            "yunikorn",
            &json!({}),
            &json!({}),
            &json!({"schedulerName": "yunikorn"}),
        );
        is_held(
            "yunikorn",
            &json!({"yunikorn.apache.org/app-id": "a"}),
            &json!({}),
            &json!({}),
        );
        is_held(
            "yunikorn",
            &json!({}),
            &json!({"yunikorn.apache.org/task-groups": "[]"}),
            &json!({}),
        );
        is_held(
            "yunikorn",
            &json!({"applicationId": "a", "queue": "root.a"}),
            &json!({}),
            &json!({}),
        );
    }

    #[test]
    fn a_driver_of_volcano_is_left() {
        is_held("volcano", &json!({}), &json!({}), &json!({"schedulerName": "volcano"}));
        is_held(
            "volcano",
            &json!({}),
            &json!({"scheduling.k8s.io/group-name": "g"}),
            &json!({}),
        );
        is_held(
            "volcano",
            &json!({}),
            &json!({"scheduling.volcano.sh/queue-name": "q"}),
            &json!({}),
        );
        is_held("volcano", &json!({"volcano.sh/job-name": "j"}), &json!({}), &json!({}));
        is_held(
            "volcano",
            &json!({}),
            &json!({"volcano.sh/preemptable": "true"}),
            &json!({}),
        );
    }

    #[test]
    fn a_driver_of_koordinator_or_scheduler_plugins_is_left() {
        is_held(
            "koordinator",
            &json!({}),
            &json!({"gang.scheduling.koordinator.sh/name": "g"}),
            &json!({}),
        );
        is_held(
            "koordinator",
            &json!({}),
            &json!({}),
            &json!({"schedulerName": "koord-scheduler"}),
        );
        for label in [
            "scheduling.x-k8s.io/pod-group",
            "pod-group.scheduling.sigs.k8s.io",
            "pod-group.scheduling.sigs.k8s.io/name",
        ] {
            is_held("coscheduling", &json!({label: "g"}), &json!({}), &json!({}));
        }
    }

    #[test]
    fn a_driver_of_a_native_gang_is_left() {
        is_held(
            "kubernetes",
            &json!({}),
            &json!({}),
            &json!({"schedulingGroup": {"podGroupName": "g"}}),
        );
        is_held(
            "kubernetes",
            &json!({}),
            &json!({}),
            &json!({"workloadRef": {"name": "w", "podGroup": "g"}}),
        );
    }

    #[test]
    fn a_driver_of_fargate_is_left() {
        is_held(
            "fargate",
            &json!({"eks.amazonaws.com/fargate-profile": "p"}),
            &json!({}),
            &json!({}),
        );
        is_held(
            "fargate",
            &json!({}),
            &json!({}),
            &json!({"schedulerName": "fargate-scheduler"}),
        );
    }

    #[test]
    fn kueue_admits_first_and_our_gate_stands_behind_its_own() {
        for (labels, gates) in [
            // Its webhook runs after ours.
            (json!({"kueue.x-k8s.io/queue-name": "q"}), json!([])),
            (json!({"kueue.x-k8s.io/managed": "true"}), json!([])),
            (json!({"kueue.x-k8s.io/podset": "main"}), json!([])),
            // And before.
            (json!({}), json!([{"name": "kueue.x-k8s.io/admission"}])),
            (
                json!({"kueue.x-k8s.io/queue-name": "q"}),
                json!([{"name": "kueue.x-k8s.io/admission"}, {"name": "kueue.x-k8s.io/topology"}]),
            ),
        ] {
            let pod = pod(&labels, &json!({}), &json!({"schedulingGates": gates}));
            let (verdict, after) = admitted(&pod, &Rules::default());
            assert_eq!(
                (verdict.outcome, verdict.manager),
                (Outcome::Gated, Some("kueue")),
                "{labels} {gates}"
            );
            let mut expected = gates.as_array().unwrap().clone();
            expected.push(json!({"name": "kompass.dev/gang"}));
            assert_eq!(after["spec"]["schedulingGates"], json!(expected));
            assert_eq!(after["spec"]["schedulerName"], "kompass");
            assert!(admitted(&after, &Rules::default()).0.operations.is_empty());
        }
    }

    #[test]
    fn a_pod_of_kueue_with_another_scheduler_is_not_ours() {
        let pod = pod(
            &json!({"kueue.x-k8s.io/queue-name": "q"}),
            &json!({}),
            &json!({"schedulerName": "my-scheduler", "schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}),
        );
        let (verdict, after) = admitted(&pod, &Rules::default());
        assert_eq!((verdict.outcome, after), (Outcome::Foreign, pod));
    }

    #[test]
    fn common_names_alone_are_no_marks() {
        for (labels, annotations, spec) in [
            (json!({"applicationId": "a"}), json!({}), json!({})),
            (json!({"queue": "q"}), json!({}), json!({})),
            (json!({"my-volcano.sh/x": "a"}), json!({}), json!({})),
            (json!({"volcano.sh": "a"}), json!({}), json!({})),
            (json!({"scheduling.x-k8s.io/pod-group-like": "a"}), json!({}), json!({})),
            (json!({}), json!({"scheduling.k8s.io/group-names": "a"}), json!({})),
            (json!({}), json!({}), json!({"schedulingGroup": null})),
            (
                json!({}),
                json!({}),
                json!({"schedulingGates": [{"name": "example.com/quota"}]}),
            ),
        ] {
            let (verdict, _) = admitted(&pod(&labels, &annotations, &spec), &Rules::default());
            assert_eq!(
                (verdict.outcome, verdict.manager),
                (Outcome::Gated, None),
                "{labels} {annotations} {spec}"
            );
        }
    }

    #[test]
    fn who_names_kompass_or_a_scheduler_taken_over_gets_kompass() {
        let marks = json!({"scheduling.k8s.io/group-name": "g"});
        let asked = pod(&json!({}), &marks, &json!({"schedulerName": "kompass"}));
        assert_eq!(admitted(&asked, &Rules::default()).0.outcome, Outcome::Gated);
        let rules = Rules {
            takeover: vec!["volcano".into()],
            ..Rules::default()
        };
        for scheduler in ["volcano", "default-scheduler"] {
            let pod = pod(&json!({}), &marks, &json!({"schedulerName": scheduler}));
            assert_eq!(admitted(&pod, &rules).0.outcome, Outcome::Gated, "{scheduler}");
        }
    }

    #[test]
    fn a_pod_that_another_takes_after_us_loses_our_gate_and_key() {
        let plain = pod(
            &json!({}),
            &json!({}),
            &json!({"schedulingGates": [{"name": "example.com/quota"}]}),
        );
        let (_, mut after) = admitted(&plain, &Rules::default());
        after["spec"]["schedulerName"] = json!("yunikorn");
        let (verdict, after) = admitted(&after, &Rules::default());
        assert_eq!(verdict.outcome, Outcome::Held);
        assert_eq!(after["spec"]["schedulingGates"], json!([{"name": "example.com/quota"}]));
        assert!(after["metadata"]["labels"].get("kompass.dev/profile-key").is_none());
    }
}
