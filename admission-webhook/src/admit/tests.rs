use std::path::Path;
use std::sync::{Arc, LazyLock};

use json_patch::Patch;
use kompass_core::{GangPlan, Role};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::patch::get;

const TERMS: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

fn driver_pod() -> Value {
    json!({
        "metadata": {"name": "pi-driver", "labels": {"spark-role": "driver"}},
        "spec": {"schedulerName": "default-scheduler", "containers": [{"name": "spark-kubernetes-driver", "args": ["driver"]}]},
        "unknown": {"kept": true},
    })
}

fn executor_pod() -> Value {
    json!({
        "metadata": {"name": "pi-exec-1", "labels": {"spark-role": "executor", "spark-exec-resourceprofile-id": "0"}},
        "spec": {"schedulerName": "default-scheduler", "containers": [{"name": "spark-kubernetes-executor", "args": ["executor"]}]},
    })
}

fn gang(slots: &[(&str, u64)]) -> Gang {
    let plan = GangPlan {
        version: kompass_core::plan::VERSION,
        uid: "d".into(),
        driver: "n1".into(),
        executors: slots.iter().map(|&(node, count)| (node.to_owned(), count)).collect(),
        planned_ms: 0,
        unclaimed: 0,
    };
    Gang {
        uid: "d".into(),
        scheduler: names::SCHEDULER.into(),
        plan: Some(Arc::new(plan)),
        ..Gang::default()
    }
}

fn with_bound(mut gang: Gang, bound: &[(&str, u64)], unbound: u64) -> Gang {
    gang.bound = bound.iter().map(|&(node, count)| (node.to_owned(), count)).collect();
    gang.unbound = unbound;
    gang
}

fn applied(pod: &Value, verdict: &Verdict) -> Value {
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &Patch(verdict.operations.clone())).unwrap();
    pod
}

fn admitted_driver(pod: &Value) -> (Value, Outcome) {
    let verdict = driver(pod.clone(), "key-1", &Rules::default());
    (applied(pod, &verdict), verdict.outcome)
}

fn admitted_executor(pod: &Value, gang: Option<&Gang>) -> (Value, Outcome) {
    let verdict = executor(pod.clone(), gang, &Rules::default());
    (applied(pod, &verdict), verdict.outcome)
}

fn admitted_client(pod: &Value, key: Option<&str>, rules: &Rules) -> (Value, Outcome) {
    let verdict = client_executor(pod.clone(), key, rules);
    (applied(pod, &verdict), verdict.outcome)
}

fn pinned_nodes(pod: &Value) -> Vec<&str> {
    let terms = pod.pointer(TERMS).and_then(Value::as_array).unwrap();
    terms
        .iter()
        .map(|term| {
            term["matchFields"].as_array().unwrap().last().unwrap()["values"][0]
                .as_str()
                .unwrap()
        })
        .collect()
}

#[test]
fn a_driver_is_taken_over_gated_and_marked() {
    let (pod, outcome) = admitted_driver(&driver_pod());
    assert_eq!(outcome, Outcome::Gated);
    assert_eq!(pod["spec"]["schedulerName"], "kompass");
    assert_eq!(pod["spec"]["schedulingGates"], json!([{"name": "kompass.dev/gang"}]));
    assert_eq!(pod["metadata"]["labels"]["kompass.dev/profile-key"], "key-1");
    assert_eq!(pod["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"], "true");
    assert_eq!(
        pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"],
        "false"
    );
    assert_eq!(pod["unknown"], json!({"kept": true}));
}

#[test]
fn only_the_default_our_own_and_configured_schedulers_are_taken_over() {
    let rules = Rules {
        takeover: vec!["template-scheduler".into()],
        ..Rules::default()
    };
    for (scheduler, expected) in [
        (json!(null), Outcome::Gated),
        (json!(""), Outcome::Gated),
        (json!("default-scheduler"), Outcome::Gated),
        (json!("kompass"), Outcome::Gated),
        (json!("template-scheduler"), Outcome::Gated),
        (json!("my-scheduler"), Outcome::Foreign),
    ] {
        let mut pod = driver_pod();
        pod["spec"]["schedulerName"] = scheduler.clone();
        let verdict = driver(pod.clone(), "k", &rules);
        assert_eq!(verdict.outcome, expected, "{scheduler}");
        if expected == Outcome::Foreign {
            assert_eq!(applied(&pod, &verdict), pod);
        }
    }
}

#[test]
fn a_pod_that_opted_out_or_has_a_node_is_left_alone() {
    let mut opted_out = driver_pod();
    opted_out["metadata"]["labels"]["kompass.dev/enabled"] = json!("false");
    assert_eq!(admitted_driver(&opted_out), (opted_out.clone(), Outcome::OptedOut));
    let mut bound = driver_pod();
    bound["spec"]["nodeName"] = json!("n1");
    // A gate would make it invalid: the API server would refuse the pod.
    assert_eq!(admitted_driver(&bound), (bound.clone(), Outcome::Foreign));
}

#[test]
fn what_only_kompass_may_write_is_stripped_from_every_spark_pod() {
    let forge = |mut pod: Value| {
        pod["metadata"]["annotations"] =
            json!({"kompass.dev/gang-plan": "x", "kompass.dev/job-profile": "x", "own": "y"});
        for label in ["gang", "profile-key", "stand-in-for", "marker-for"].map(|name| format!("kompass.dev/{name}")) {
            pod["metadata"]["labels"][label] = json!("forged");
        }
        pod
    };
    let mut opted_out = driver_pod();
    opted_out["metadata"]["labels"]["kompass.dev/enabled"] = json!("false");
    let ignoring = Rules {
        ignore_client_mode: true,
        ..Rules::default()
    };
    let other_pod = forge(json!({"metadata": {"labels": {"spark-role": "driver"}}}));
    for pod in [
        admitted_driver(&forge(driver_pod())).0,
        admitted_driver(&forge(opted_out)).0,
        admitted_executor(&forge(executor_pod()), Some(&gang(&[("n1", 1)]))).0,
        admitted_executor(&forge(executor_pod()), None).0,
        admitted_client(&forge(executor_pod()), Some("key-1"), &Rules::default()).0,
        admitted_client(&forge(executor_pod()), None, &Rules::default()).0,
        admitted_client(&forge(executor_pod()), Some("key-1"), &ignoring).0,
        applied(&other_pod, &other(other_pod.clone())),
    ] {
        let annotations = pod["metadata"]["annotations"].as_object().unwrap();
        assert_eq!(annotations["own"], "y");
        assert!(
            !annotations.contains_key("kompass.dev/gang-plan") && !annotations.contains_key("kompass.dev/job-profile")
        );
        let labels = pod["metadata"]["labels"].as_object().unwrap();
        assert!(!labels.values().any(|value| value == "forged"), "{labels:?}");
    }
}

#[test]
fn an_executor_of_client_mode_is_marked_with_its_job_once() {
    let (pod, outcome) = admitted_client(&executor_pod(), Some("key-1"), &Rules::default());
    assert_eq!(outcome, Outcome::Client);
    assert_eq!(pod["metadata"]["labels"]["kompass.dev/profile-key"], "key-1");
    let again = client_executor(pod, Some("key-1"), &Rules::default());
    assert!(again.operations.is_empty(), "{:?}", again.operations);
}

#[test]
fn other_gates_and_the_users_own_disruption_rules_stay() {
    let mut pod = driver_pod();
    pod["spec"]["schedulingGates"] = json!([{"name": "example.com/quota"}]);
    pod["metadata"]["annotations"] = json!({"karpenter.sh/do-not-disrupt": "4h"});
    let (pod, _) = admitted_driver(&pod);
    assert_eq!(
        pod["spec"]["schedulingGates"],
        json!([{"name": "example.com/quota"}, {"name": "kompass.dev/gang"}])
    );
    assert_eq!(pod["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"], "4h");
}

#[test]
fn an_executor_is_pinned_to_its_gangs_free_slots() {
    let (pod, outcome) = admitted_executor(&executor_pod(), Some(&gang(&[("n1", 1), ("n2", 2)])));
    assert_eq!(outcome, Outcome::Pinned);
    assert_eq!(pod["spec"]["schedulerName"], "kompass");
    assert_eq!(pod["metadata"]["labels"]["kompass.dev/gang"], "d");
    assert_eq!(pod["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"], "true");
    assert_eq!(
        pod.pointer(TERMS).unwrap(),
        &json!([
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]},
        ])
    );
    assert!(get(&pod, &["spec", "schedulingGates"]).is_none());
}

#[test]
fn an_executor_follows_its_driver() {
    for (gang, expected) in [
        (None, Outcome::NotOurs),
        (
            Some(Gang {
                scheduler: "default-scheduler".into(),
                ..gang(&[("n1", 1)])
            }),
            Outcome::NotOurs,
        ),
        (
            Some(Gang {
                plan: None,
                ..gang(&[])
            }),
            Outcome::Unpinned,
        ),
    ] {
        let (pod, outcome) = admitted_executor(&executor_pod(), gang.as_ref());
        assert_eq!(outcome, expected);
        if expected == Outcome::NotOurs {
            assert_eq!(pod, executor_pod());
        } else {
            assert_eq!(pod["spec"]["schedulerName"], "kompass");
            assert!(get(&pod, &["spec", "affinity"]).is_none());
        }
    }
}

#[test]
fn windows_follow_the_executors_that_wait_and_skip_what_is_bound() {
    let plan: Vec<(String, u64)> = (0..12).map(|n| (format!("n{n}"), 2)).collect();
    let plan: Vec<(&str, u64)> = plan.iter().map(|(node, count)| (node.as_str(), *count)).collect();
    for (bound, unbound, first, count) in [
        (&[][..], 0, "n0", 10),
        (&[], 1, "n0", 10),
        (&[], 2, "n1", 10),
        (&[], 23, "n11", 10),
        (&[("n0", 2), ("n1", 1)], 0, "n1", 10),
        (&[("n0", 2), ("n1", 1)], 1, "n2", 10),
        (&[("n0", 2), ("elsewhere", 3)], 0, "n1", 10),
    ] {
        let gang = with_bound(gang(&plan), bound, unbound);
        let Placement::Pinned(nodes) = placement(&gang, &executor_pod()) else {
            panic!("{bound:?} {unbound}")
        };
        assert_eq!((nodes[0].as_str(), nodes.len()), (first, count), "{bound:?} {unbound}");
    }
}

#[test]
fn an_executor_beyond_the_minimum_is_gated() {
    for (slots, bound, unbound, expected) in [
        (&[("n1", 2)][..], &[("n1", 2)][..], 0, Outcome::Surplus),
        (&[("n1", 2)], &[("n1", 1)], 1, Outcome::Surplus),
        (&[("n1", 2)], &[("n1", 1)], 0, Outcome::Pinned),
        (&[], &[], 0, Outcome::Surplus),
        // Off the plan's nodes, but living: the minimum is there.
        (&[("n1", 1)], &[("elsewhere", 1)], 0, Outcome::Surplus),
    ] {
        let gang = with_bound(gang(slots), bound, unbound);
        let (pod, outcome) = admitted_executor(&executor_pod(), Some(&gang));
        assert_eq!(outcome, expected, "{slots:?} {bound:?} {unbound}");
        let gated = get(&pod, &["spec", "schedulingGates"]) == Some(&json!([{"name": "kompass.dev/gang"}]));
        assert_eq!(gated, expected == Outcome::Surplus);
    }
}

#[test]
fn executors_of_a_stages_own_size_take_no_slot() {
    let mut pod = executor_pod();
    pod["metadata"]["labels"]["spark-exec-resourceprofile-id"] = json!("1");
    assert_eq!(placement(&gang(&[("n1", 5)]), &pod), Placement::Surplus);
}

#[test]
fn an_executor_that_has_to_be_spread_is_left_to_filter() {
    let gang = gang(&[("n1", 1), ("n2", 1)]);
    for (when, expected) in [
        (json!("DoNotSchedule"), Outcome::Unpinned),
        // What it means where nothing is said.
        (json!(null), Outcome::Unpinned),
        (json!("ScheduleAnyway"), Outcome::Pinned),
    ] {
        let mut pod = executor_pod();
        pod["spec"]["topologySpreadConstraints"] =
            json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": when}]);
        let (pod, outcome) = admitted_executor(&pod, Some(&gang));
        assert_eq!(outcome, expected, "{when}");
        assert_eq!(pod["spec"]["schedulerName"], "kompass");
    }
}

fn user_terms(terms: &Value) -> Value {
    let mut pod = executor_pod();
    pod["spec"]["affinity"] =
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    pod
}

#[test]
fn the_users_own_terms_are_crossed_with_the_nodes() {
    let zone = |zone: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
    let pod = user_terms(&json!([zone("a"), {}, zone("b")]));
    let (pod, outcome) = admitted_executor(&pod, Some(&gang(&[("n1", 1), ("n2", 1)])));
    assert_eq!(outcome, Outcome::Pinned);
    let terms = pod.pointer(TERMS).and_then(Value::as_array).unwrap();
    assert_eq!(terms.len(), 4, "the empty term matches nothing and is dropped");
    for (term, (expected, node)) in terms.iter().zip([("a", "n1"), ("a", "n2"), ("b", "n1"), ("b", "n2")]) {
        assert_eq!(term["matchExpressions"], zone(expected)["matchExpressions"]);
        assert_eq!(
            term["matchFields"],
            json!([{"key": "metadata.name", "operator": "In", "values": [node]}])
        );
    }
}

#[test]
fn terms_that_name_nodes_match_nothing_or_are_too_many_stay() {
    let named = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["x"]}]}]);
    let many = Value::Array(
        (0..31)
            .map(|n| json!({"matchExpressions": [{"key": n.to_string(), "operator": "Exists"}]}))
            .collect(),
    );
    for (terms, expected) in [
        (named, Outcome::Pinned),
        (json!([{}]), Outcome::Unpinned),
        (
            json!([{"matchExpressions": [], "matchFields": null}]),
            Outcome::Unpinned,
        ),
        (many, Outcome::Unpinned),
    ] {
        let (pod, outcome) = admitted_executor(&user_terms(&terms), Some(&gang(&[("n1", 1)])));
        assert_eq!((outcome, pod.pointer(TERMS).unwrap()), (expected, &terms));
    }
}

#[test]
fn a_user_term_beside_one_that_names_a_node_is_narrowed_too() {
    let named = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["x"]}]});
    let terms = json!([named, {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]);
    let (pod, _) = admitted_executor(&user_terms(&terms), Some(&gang(&[("n1", 1)])));
    let terms = pod.pointer(TERMS).unwrap();
    assert_eq!(terms[0], named);
    assert_eq!(pinned_nodes(&pod), ["x", "n1"]);
}

#[test]
fn the_number_of_terms_is_bounded() {
    for own in 1..=30_usize {
        let terms = (0..own)
            .map(|n| json!({"matchExpressions": [{"key": n.to_string(), "operator": "Exists"}]}))
            .collect();
        let nodes: Vec<(String, u64)> = (0..50).map(|n| (format!("n{n}"), 1)).collect();
        let slots: Vec<(&str, u64)> = nodes.iter().map(|(node, count)| (node.as_str(), *count)).collect();
        let (pod, outcome) = admitted_executor(&user_terms(&Value::Array(terms)), Some(&gang(&slots)));
        let count = pod.pointer(TERMS).and_then(Value::as_array).unwrap().len();
        assert_eq!(outcome, Outcome::Pinned);
        assert!(count <= 30 && count >= own, "{own} terms became {count}");
    }
}

#[test]
fn wrong_types_admit_the_pod_unchanged_with_a_warning() {
    for (path, value) in [
        ("metadata", json!("text")),
        ("spec", json!([])),
        ("metadata", json!({"labels": 5})),
        ("metadata", json!({"annotations": [1]})),
        ("spec", json!({"schedulingGates": {"name": 1e9}})),
    ] {
        let mut pod = driver_pod();
        pod[path] = value.clone();
        let verdict = driver(pod, "k", &Rules::default());
        assert_eq!(verdict.outcome, Outcome::Malformed, "{path} = {value}");
        assert!(verdict.operations.is_empty());
        assert!(verdict.warnings[0].contains("unchanged"), "{:?}", verdict.warnings);
    }
    let verdict = executor(user_terms(&json!("text")), Some(&gang(&[("n1", 1)])), &Rules::default());
    assert_eq!(verdict.outcome, Outcome::Malformed);
}

mod recorded;
