use kompass_core::PodSelector;
use kompass_core::resources::MIB;
use serde_json::{Value, json};

use super::*;

const FINISHED: &str = include_str!("../../tests/data/state.finished-4.1.4.json");
const DEADLOCK: &str = include_str!("../../tests/data/state.deadlock-4-drivers-8-executors.json");

fn items(state: &str, kind: &str) -> Vec<Value> {
    let state: Value = serde_json::from_str(state).unwrap();
    let items = state["items"].as_array().unwrap();
    items.iter().filter(|item| item["kind"] == kind).cloned().collect()
}

fn read(value: Value) -> Pod {
    let (pod, warnings) = pod(serde_json::from_value(value).unwrap()).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    pod
}

fn requests(spec: impl Into<Value>, status: impl Into<Value>) -> Resources {
    read(json!({ "spec": spec.into(), "status": status.into() })).requests
}

#[test]
fn a_finished_application_is_read_from_its_recording() {
    let pods: Vec<Pod> = items(FINISHED, "Pod").into_iter().map(read).collect();
    let [driver, first, second] = &pods[..] else {
        panic!("{}", pods.len())
    };
    assert_eq!(driver.role, Some(Role::Driver));
    assert_eq!(driver.requests, Resources::from_mib(300, 896));
    assert_eq!(driver.node.as_deref(), Some("real-0"));
    assert_eq!(driver.phase, Phase::Succeeded);
    let (outcome, end) = driver.ended.unwrap();
    assert_eq!(outcome, Outcome::Succeeded);
    assert!(driver.created_ms < driver.started_ms.unwrap() && driver.started_ms.unwrap() < end);
    for (executor, id) in [(first, "1"), (second, "2")] {
        assert_eq!(executor.role, Some(Role::Executor));
        assert_eq!(executor.owner_pod_uid.as_ref(), Some(&driver.uid));
        assert_eq!(executor.executor_id.as_deref(), Some(id));
        assert_eq!(executor.resource_profile_id.as_deref(), Some("0"));
        assert!(!executor.holds_room());
    }
}

#[test]
fn the_recorded_deadlock_fills_its_node_with_drivers() {
    let node = node(serde_json::from_value(items(DEADLOCK, "Node").remove(0)).unwrap()).unwrap();
    assert!(node.ready && !node.cordoned && node.max_pods > 0);
    let pods: Vec<Pod> = items(DEADLOCK, "Pod").into_iter().map(read).collect();
    let mut used = Resources::default();
    pods.iter()
        .filter(|pod| pod.holds_room())
        .for_each(|pod| used.add(&pod.requests));
    assert_eq!(used.cpu_milli, node.allocatable.cpu_milli);
    let waiting = pods
        .iter()
        .filter(|pod| pod.role == Some(Role::Executor) && pod.node.is_none())
        .count();
    assert_eq!(waiting, 8);
    assert!(pods.iter().all(|pod| pod.ended.is_none()));
}

#[test]
fn the_full_type_and_the_slim_one_say_the_same() {
    for item in items(FINISHED, "Pod").into_iter().chain(items(DEADLOCK, "Pod")) {
        let full: k8s_openapi::api::core::v1::Pod = serde_json::from_value(item.clone()).unwrap();
        assert_eq!(full_pod(&full).unwrap().0, read(item));
    }
}

#[test]
fn containers_sidecars_and_init_containers_add_up_as_in_kube_scheduler() {
    let container = |cpu: &str| json!({ "name": cpu, "resources": { "requests": { "cpu": cpu, "memory": "1Mi" } } });
    let sidecar = |cpu: &str| {
        let mut sidecar = container(cpu);
        sidecar["restartPolicy"] = "Always".into();
        sidecar
    };
    let cpu = |init: Vec<Value>| {
        requests(
            json!({ "containers": [container("1"), container("500m")], "initContainers": init }),
            json!({}),
        )
    };
    assert_eq!(cpu(vec![]), Resources::from_mib(1500, 2));
    // A plain init container runs alone ...
    assert_eq!(cpu(vec![container("2"), container("1")]).cpu_milli, 2000);
    // ... beside the sidecars that were started before it, ...
    assert_eq!(cpu(vec![sidecar("1"), container("2")]).cpu_milli, 3000);
    // ... not beside those after it; sidecars run beside the containers.
    assert_eq!(cpu(vec![container("2"), sidecar("1")]).cpu_milli, 2500);
    assert_eq!(
        cpu(vec![sidecar("1"), sidecar("1"), container("1")]),
        Resources::from_mib(3500, 4)
    );
}

#[test]
fn overhead_and_extended_resources_count() {
    let spec = json!({
        "containers": [{ "name": "c", "resources": { "requests": { "cpu": "1", "nvidia.com/gpu": "2", "a/b": "0" } } }],
        "overhead": { "cpu": "250m", "memory": "120Mi" },
    });
    assert_eq!(
        requests(spec, json!({})),
        Resources::from_mib(1250, 120).with("nvidia.com/gpu", 2)
    );
}

#[test]
fn amounts_of_the_whole_pod_replace_the_sums() {
    let spec = json!({
        "containers": [{ "name": "c", "resources": { "requests": { "cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1" } } }],
        "resources": { "requests": { "cpu": "3", "nvidia.com/gpu": "5" } },
        "overhead": { "cpu": "100m" },
    });
    assert_eq!(
        requests(spec.clone(), json!({})),
        Resources::from_mib(3100, 1024).with("nvidia.com/gpu", 1)
    );
    let resized = json!({ "resources": { "requests": { "cpu": "2" } }, "allocatedResources": { "cpu": "4" } });
    assert_eq!(requests(spec, resized).cpu_milli, 4100);
}

#[test]
fn during_a_resize_the_larger_amount_counts() {
    let spec = |cpu: &str| json!({ "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] });
    let status = |allocated: &str, actual: &str, reason: &str| {
        json!({
            "conditions": [{ "type": "PodResizePending", "status": "True", "reason": reason }],
            "containerStatuses": [{
                "name": "c",
                "allocatedResources": { "cpu": allocated },
                "resources": { "requests": { "cpu": actual } },
            }],
        })
    };
    for (asked, allocated, actual, reason, expected) in [
        ("1", "2", "2", "Deferred", 2000),
        ("3", "2", "2", "Deferred", 3000),
        ("3", "2", "2", "Infeasible", 2000),
        ("1", "1", "2", "", 2000),
    ] {
        let requests = requests(spec(asked), status(allocated, actual, reason));
        assert_eq!(requests.cpu_milli, expected, "{asked} {allocated} {actual} {reason}");
    }
    // Kubelets before 1.33 report what is allocated but nothing in effect: there is no resize then.
    let old = json!({ "containerStatuses": [{ "name": "c", "allocatedResources": { "cpu": "9" } }] });
    assert_eq!(requests(spec("1"), old).cpu_milli, 1000);
}

#[test]
fn malformed_amounts_are_errors_that_name_the_resource() {
    for (name, amount) in [
        ("cpu", "lots"),
        ("memory", "-1Gi"),
        ("nvidia.com/gpu", "1e100"),
        ("cpu", ""),
    ] {
        let spec = json!({ "containers": [{ "name": "c", "resources": { "requests": { name: amount } } }] });
        let error = pod(serde_json::from_value(json!({ "spec": spec })).unwrap()).unwrap_err();
        assert!(
            matches!(&error, Error::Quantity { resource, .. } if resource == name),
            "{error}"
        );
    }
    let bad = json!({ "metadata": { "name": "n" }, "status": { "allocatable": { "pods": "many" } } });
    assert!(matches!(
        node(serde_json::from_value(bad).unwrap()),
        Err(Error::Quantity { .. })
    ));
}

#[test]
fn null_and_missing_fields_are_empty() {
    let empty = read(json!({}));
    assert_eq!(empty, Pod::default());
    let nulls = json!({
        "metadata": { "labels": null, "annotations": null, "ownerReferences": null, "creationTimestamp": null },
        "spec": {
            "containers": null, "initContainers": null, "tolerations": null, "affinity": null, "nodeSelector": null,
            "schedulingGates": null, "overhead": null, "resources": null, "priority": null,
        },
        "status": { "containerStatuses": null, "conditions": null, "phase": null },
    });
    assert_eq!(read(nulls), Pod::default());
    assert_eq!(read(json!({ "status": null })), Pod::default());
}

#[test]
fn labels_gates_owner_and_constraints_are_read() {
    let pod = read(json!({
        "metadata": {
            "name": "x", "namespace": "ns", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "kompass.dev/gang": "d", "kompass.dev/queue": "q", "kompass.dev/profile-key": "k",
                "kompass.dev/stand-in-for": "s", "kompass.dev/marker-for": "m" },
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1", "controller": false },
                { "apiVersion": "v1", "kind": "Pod", "name": "driver", "uid": "2", "controller": true },
            ],
        },
        "spec": {
            "schedulerName": "kompass", "priority": 7, "schedulingGates": [{ "name": "kompass.dev/gang" }],
            "nodeSelector": { "pool": "spark" },
            "tolerations": [{ "key": "gpu", "operator": "Exists", "effect": "NoSchedule" }],
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }] },
                { "matchExpressions": [{ "key": "zone", "operator": "Exists" }] },
            ] } } },
            "containers": [{ "name": "c", "ports": [{ "containerPort": 1, "hostPort": 8080 }, { "containerPort": 2 }] }],
        },
    }));
    assert!(pod.deleting && pod.has_gate("kompass.dev/gang") && pod.node.is_none());
    assert_eq!(pod.owner_pod_uid.as_deref(), Some("2"));
    assert_eq!(
        (pod.scheduler.as_str(), pod.priority, &pod.host_ports[..]),
        ("kompass", 7, &[8080][..])
    );
    let labels = [
        &pod.gang_label,
        &pod.queue,
        &pod.profile_key,
        &pod.stand_in_for,
        &pod.marker_for,
    ];
    assert_eq!(labels.map(|label| label.as_deref().unwrap()), ["d", "q", "k", "s", "m"]);
    assert_eq!(pod.constraints.required_terms.as_ref().unwrap().len(), 2);
    assert!(pod.constraints.tolerations[0].exists);
}

#[test]
fn rules_from_the_future_make_a_pod_stricter_and_never_lose_it() {
    let value = json!({
        "spec": {
            "nodeName": "n1",
            "tolerations": [{ "key": "k", "operator": "Gt", "value": "3" }],
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchExpressions": [{ "key": "zone", "operator": "Near" }] },
            ] } } },
        },
    });
    let (pod, warnings) = pod(serde_json::from_value(value).unwrap()).unwrap();
    assert_eq!(warnings.len(), 2);
    assert_eq!(pod.constraints.required_terms, Some(vec![]));
    assert!(pod.constraints.tolerations.is_empty() && pod.node.is_some());
}

#[test]
fn unreadable_annotations_become_warnings() {
    let value = json!({ "metadata": { "annotations": {
        "kompass.dev/job-profile": "{", "kompass.dev/gang-plan": "{\"v\":9,\"uid\":\"\",\"driver\":\"\",\"executors\":[],\"at\":0}",
    } } });
    let (pod, warnings) = pod(serde_json::from_value(value).unwrap()).unwrap();
    assert!(pod.profile.is_none() && pod.plan.is_none());
    assert!(
        warnings[0].contains("kompass.dev/job-profile") && warnings[1].contains("schema version 9"),
        "{warnings:?}"
    );
}

#[test]
fn the_end_of_spark_is_the_end_of_its_container() {
    let driver = |phase: &str, policy: &str, state: &Value| {
        read(json!({
            "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "restartPolicy": policy, "containers": [
                { "name": "proxy", "args": ["serve"] },
                { "name": "renamed", "args": ["driver-py", "x"] },
            ] },
            "status": { "phase": phase, "containerStatuses": [
                { "name": "proxy", "state": { "running": { "startedAt": "2026-01-01T00:00:01Z" } } },
                { "name": "renamed", "state": state },
            ] },
        }))
    };
    let start = 1_767_225_600_000;
    let terminated = |code: i32| {
        json!({ "terminated": {
            "exitCode": code, "startedAt": "2026-01-01T00:00:05Z", "finishedAt": "2026-01-01T00:01:00Z",
        } })
    };
    let running = json!({ "running": { "startedAt": "2026-01-01T00:00:05Z" } });
    for (phase, policy, state, expected) in [
        ("Running", "Never", &running, None),
        // The sidecar lives on.
        (
            "Running",
            "Never",
            &terminated(0),
            Some((Outcome::Succeeded, start + 60_000)),
        ),
        (
            "Running",
            "Never",
            &terminated(1),
            Some((Outcome::Failed, start + 60_000)),
        ),
        // It will be started again.
        ("Running", "OnFailure", &terminated(1), None),
        ("Running", "Always", &terminated(0), None),
        (
            "Failed",
            "Never",
            &terminated(137),
            Some((Outcome::Failed, start + 60_000)),
        ),
        // Evicted before the kubelet could say anything of the container.
        ("Failed", "Never", &json!({}), Some((Outcome::Failed, start))),
    ] {
        let pod = driver(phase, policy, state);
        assert_eq!(pod.ended, expected, "{phase} {policy} {state}");
        assert_eq!(pod.started_ms, (*state != json!({})).then_some(start + 5_000));
    }
}

#[test]
fn a_node_is_read_with_labels_taints_and_readiness() {
    let node = node(
        serde_json::from_value(json!({
            "metadata": { "name": "n1", "labels": { "a": "b" }, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "unschedulable": true, "taints": [{ "key": "k", "effect": "NoExecute", "timeAdded": null }] },
            "status": {
                "allocatable": { "cpu": "3920m", "memory": "14Gi", "pods": "58", "ephemeral-storage": "10", "hugepages-2Mi": "0" },
                "conditions": [{ "type": "Ready", "status": "Unknown" }],
            },
        }))
        .unwrap(),
    )
    .unwrap();
    assert_eq!(
        node.allocatable,
        Resources::new(3920, 14 * 1024 * MIB).with("ephemeral-storage", 10)
    );
    assert_eq!(
        (node.max_pods, node.cordoned, node.ready, node.deleting),
        (58, true, false, false)
    );
    assert_eq!(node.taints[0].effect, TaintEffect::NoExecute);
}

#[test]
fn a_quota_is_read_in_its_own_names() {
    let value = json!({
        "metadata": { "name": "q", "namespace": "ns" },
        "spec": { "hard": { "requests.cpu": "1" } },
        "status": {
            "hard": { "requests.cpu": "10", "requests.memory": "1Ki", "pods": "5", "cpu": "2500m" },
            "used": { "requests.cpu": "500m" },
        },
    });
    let quota = quota(serde_json::from_value(value).unwrap()).unwrap();
    let hard = [
        ("cpu", 2500),
        ("pods", 5),
        ("requests.cpu", 10_000),
        ("requests.memory", 1024),
    ];
    assert_eq!(quota.hard, hard.map(|(name, value)| (name.to_owned(), value)).into());
    assert_eq!(quota.used["requests.cpu"], 500);
}

#[test]
fn a_quota_of_some_pods_only_is_told_apart() {
    let expression = |scope: &str| json!({ "matchExpressions": [{ "scopeName": scope, "operator": "Exists" }] });
    for (spec, expected) in [
        (json!({}), true),
        (json!({ "scopes": ["NotTerminating", "NotBestEffort"] }), true),
        (json!({ "scopes": ["Terminating"] }), false),
        (json!({ "scopes": ["BestEffort"] }), false),
        (json!({ "scopeSelector": expression("NotTerminating") }), true),
        (json!({ "scopeSelector": expression("PriorityClass") }), false),
    ] {
        let value = json!({ "metadata": { "name": "q", "namespace": "ns" }, "spec": spec });
        let quota = quota(serde_json::from_value(value).unwrap()).unwrap();
        assert_eq!(quota.applies_to_spark, expected, "{spec}");
    }
}

#[test]
fn a_namespace_names_the_queue_of_its_gangs() {
    let recorded: Value = serde_json::from_str(include_str!("../../tests/data/namespace.json")).unwrap();
    let recorded = namespace(serde_json::from_value(recorded).unwrap()).unwrap();
    let expected = Namespace {
        name: "team-etl".into(),
        queue: Some("etl".into()),
    };
    assert_eq!(recorded, expected);
    for labels in [
        json!(null),
        json!({}),
        json!({ "kompass.dev/queue": "" }),
        json!({ "queue": "etl" }),
    ] {
        let bare = json!({ "metadata": { "name": "a", "labels": labels } });
        let read = namespace(serde_json::from_value(bare).unwrap()).unwrap();
        assert_eq!(read.queue, None, "{labels}");
    }
    let nameless = namespace(object::Namespace::default());
    assert!(matches!(nameless, Err(Error::Missing("name"))));
}

#[test]
fn only_the_controller_of_the_right_kind_owns_a_pod() {
    for (version, kind, controller, of_pod, of_daemon_set) in [
        ("v1", "Pod", true, true, false),
        ("apps/v1", "DaemonSet", true, false, true),
        ("apps/v1", "DaemonSet", false, false, false),
        ("example.dev/v1", "DaemonSet", true, false, false),
        ("apps/v1", "ReplicaSet", true, false, false),
    ] {
        let owner = json!({
            "apiVersion": version, "kind": kind, "name": "a", "uid": "u", "controller": controller,
        });
        let pod = read(json!({ "metadata": { "name": "p", "ownerReferences": [owner] }, "spec": {} }));
        assert_eq!(pod.owner_pod_uid.is_some(), of_pod, "{kind}");
        assert_eq!(pod.daemon_set.is_some(), of_daemon_set, "{kind}");
    }
}

#[test]
fn an_executor_of_an_allocator_belongs_to_the_driver_that_admission_found() {
    let owner = |api_version: &str, kind: &str| {
        let metadata = json!({
            "labels": {"spark-role": "executor", "kompass.dev/gang": "driver-uid", "spark-app-selector": "spark-1"},
            "ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": "o", "uid": "o", "controller": true}],
        });
        let pod = read(json!({"metadata": metadata, "spec": {}, "status": {}}));
        assert_eq!(pod.app_selector.as_deref(), Some("spark-1"));
        pod.owner_pod_uid
    };
    assert_eq!(owner("apps/v1", "StatefulSet").as_deref(), Some("driver-uid"));
    assert_eq!(owner("apps/v1", "ReplicaSet").as_deref(), Some("driver-uid"));
    assert_eq!(
        owner("v1", "Pod").as_deref(),
        Some("o"),
        "the owner counts, whatever the label says"
    );
    assert_eq!(owner("batch/v1", "Job"), None);
}

#[test]
fn a_pod_that_its_kubelet_says_nothing_of_keeps_its_room() {
    let holds = |phase: &str| read(json!({ "spec": { "nodeName": "n1" }, "status": { "phase": phase } })).holds_room();
    assert!(holds("Unknown") && holds("Running") && holds("Pending"));
    assert!(!holds("Failed") && !holds("Succeeded"));
}

#[test]
fn required_rules_about_other_pods_are_read_and_mean_the_pods_own_namespace() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let term = |more: Value| {
        let mut term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"b": "1"}}});
        if let (Some(term), Some(more)) = (term.as_object_mut(), more.as_object()) {
            term.extend(more.clone());
        }
        term
    };
    let rules = |terms: Value| {
        let affinity = json!({"podAntiAffinity": {required: terms}, "podAffinity": {required: [term(json!({}))]}});
        let pod = json!({"metadata": {"namespace": "ns", "labels": {"a": "1"}}, "spec": {"affinity": affinity}});
        let pod = read(pod);
        assert_eq!(pod.labels["a"], "1");
        assert_eq!(pod.pod_rules.together.len(), 1);
        pod.pod_rules.apart
    };
    let label = |pod: &PodSelector| pod.labels.iter().map(|rule| rule.key.clone()).collect::<Vec<_>>();
    let own = rules(json!([term(json!({"labelSelector": {
        "matchLabels": {"b": "1"},
        "matchExpressions": [{"key": "a", "operator": "Exists"}],
    }}))]));
    assert_eq!((own.len(), own[0].topology.as_str()), (1, "zone"));
    assert_eq!(own[0].pods.namespaces, Some(vec!["ns".to_owned()]));
    assert_eq!(label(&own[0].pods), ["a", "b"]);
    let namespaces = |more: Value| rules(json!([term(more)])).remove(0).pods.namespaces;
    assert_eq!(
        namespaces(json!({"namespaces": ["y", "x"]})),
        Some(vec!["x".to_owned(), "y".to_owned()])
    );
    assert_eq!(namespaces(json!({"namespaceSelector": {}})), None);
    // By labels of namespaces, by no labels at all, and by what does not exist.
    let none = json!([
        term(json!({"namespaceSelector": {"matchLabels": {"a": "b"}}})),
        term(json!({"labelSelector": null})),
        term(json!({"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}})),
    ]);
    assert_eq!(rules(none), []);
}
