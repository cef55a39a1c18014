//! Recorded pods of all versions, and pods that nobody would make.

use super::*;

/// Every pod in the recordings of real spark-submits.
fn recorded(role: Role) -> Vec<(String, Value)> {
    fn walk(folder: &Path, found: &mut Vec<(String, Value)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.to_string_lossy().ends_with("-POST-pods.json") {
                let pod = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                found.push((path.display().to_string(), pod));
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/spark/tests/data/spark-objects"),
        &mut found,
    );
    found.retain(|(_, pod)| kompass_spark::role::of(pod) == Some(role));
    assert!(found.len() >= 20, "only {} recordings found", found.len());
    found
}

/// What is outside the fields that are ours.
fn without_ours(mut pod: Value) -> Value {
    for (parent, keys) in [
        ("/metadata/labels", &["kompass.dev/profile-key", "kompass.dev/gang"][..]),
        (
            "/metadata/annotations",
            &[
                "karpenter.sh/do-not-disrupt",
                "cluster-autoscaler.kubernetes.io/safe-to-evict",
            ],
        ),
        ("/metadata", &["annotations"]),
        ("/spec", &["schedulerName", "schedulingGates", "affinity"]),
    ] {
        if let Some(fields) = pod.pointer_mut(parent).and_then(Value::as_object_mut) {
            for key in keys {
                if *key != "annotations"
                    || fields
                        .get(*key)
                        .and_then(Value::as_object)
                        .is_some_and(serde_json::Map::is_empty)
                {
                    fields.remove(*key);
                }
            }
        }
    }
    pod
}

#[test]
fn recorded_pods_of_all_versions_are_admitted_and_nothing_else_of_them_is_touched() {
    let rules = Rules {
        takeover: ["template-scheduler", "volcano", "drv-sched", "exec-sched"]
            .map(Into::into)
            .into(),
        ..Rules::default()
    };
    for (path, pod) in recorded(Role::Driver) {
        let driver_pod = kompass_spark::DriverPod::from_json(&pod).unwrap();
        let key = kompass_spark::profile_key::of("jobs", &driver_pod);
        let verdict = driver(pod.clone(), &key, &rules);
        let after = applied(&pod, &verdict);
        if verdict.outcome == Outcome::Gated {
            assert_eq!(after["spec"]["schedulerName"], "kompass", "{path}");
        } else {
            assert_eq!(verdict.outcome, Outcome::Foreign, "{path}");
        }
        assert_eq!(without_ours(after.clone()), without_ours(pod), "{path}");
        assert!(
            driver(after, &key, &rules).operations.is_empty(),
            "{path}: not idempotent"
        );
    }
    for (path, pod) in recorded(Role::Executor) {
        let (after, outcome) = admitted_executor(&pod, Some(&gang(&[("n1", 1), ("n2", 1)])));
        assert!(
            matches!(outcome, Outcome::Pinned | Outcome::Foreign),
            "{path}: {outcome:?}"
        );
        assert_eq!(without_ours(after.clone()), without_ours(pod), "{path}");
        let again = admitted_executor(&after, Some(&gang(&[("n1", 1), ("n2", 1)])));
        assert_eq!(again, (after, outcome), "{path}: not idempotent");
    }
}

#[test]
fn patches_name_no_path_that_is_not_ours() {
    const OURS: [&str; 9] = [
        "/metadata/annotations",
        "/metadata/annotations/karpenter.sh~1do-not-disrupt",
        "/metadata/annotations/cluster-autoscaler.kubernetes.io~1safe-to-evict",
        "/metadata/labels/kompass.dev~1profile-key",
        "/metadata/labels/kompass.dev~1gang",
        "/spec/schedulerName",
        "/spec/schedulingGates",
        "/spec/schedulingGates/-",
        TERMS,
    ];
    let gang = gang(&[("n1", 1)]);
    let drivers = recorded(Role::Driver).into_iter().map(|(path, pod)| {
        let key = "k";
        (path, pod.clone(), driver(pod, key, &Rules::default()))
    });
    let executors = recorded(Role::Executor)
        .into_iter()
        .map(|(path, pod)| (path, pod.clone(), executor(pod, Some(&gang), &Rules::default())));
    for (path, pod, verdict) in drivers.chain(executors) {
        for operation in &verdict.operations {
            let at = operation.path().to_string();
            // A whole map or affinity is added only where there was none.
            let is_new = TERMS.starts_with(&at) && pod.pointer(&at).is_none_or(Value::is_null);
            assert!(OURS.contains(&at.as_str()) || is_new, "{path}: {at}");
            if at == "/metadata/annotations" || at == "/spec/schedulingGates" {
                assert!(pod.pointer(&at).is_none_or(Value::is_null), "{path}: {at}");
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("labels"),
        Just("annotations"),
        Just("schedulerName"),
        Just("schedulingGates"),
        Just("affinity"),
        Just("nodeAffinity"),
        Just("requiredDuringSchedulingIgnoredDuringExecution"),
        Just("nodeSelectorTerms"),
        Just("matchFields"),
        Just("matchExpressions"),
        Just("key"),
        Just("operator"),
        Just("name"),
        Just("nodeName"),
        Just("kompass.dev/gang"),
        Just("kompass.dev/gang-plan"),
        Just("kompass.dev/enabled"),
    ]
    .prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![
            Just(""),
            Just("kompass"),
            Just("metadata.name"),
            Just("In"),
            Just("false"),
            Just("kompass.dev/gang")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 96, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A pod of the right outer shape with anything inside.
fn any_pod() -> impl Strategy<Value = Value> {
    (any_json(), any_json(), any_json(), any_json(), any_json()).prop_map(|(any, labels, gates, terms, metadata)| {
        json!({
            "metadata": if metadata.is_object() { metadata } else { json!({"labels": labels}) },
            "spec": {
                "schedulingGates": gates,
                "schedulerName": any,
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}},
            },
        })
    })
}

/// Marks of queue managers, and what looks like some.
const MARKS: [&str; 10] = [
    "applicationId",
    "queue",
    "yunikorn.apache.org/app-id",
    "scheduling.k8s.io/group-name",
    "volcano.sh/job-name",
    "scheduling.x-k8s.io/pod-group",
    "kueue.x-k8s.io/queue-name",
    "eks.amazonaws.com/fargate-profile",
    "kompass.dev/gang",
    "example.com/x",
];

proptest! {
    #[test]
    fn a_recorded_pod_is_patched_once_whatever_others_wrote_on_it(
        index in any::<prop::sample::Index>(),
        is_driver in any::<bool>(),
        labels in prop::sample::subsequence(MARKS.to_vec(), 0..4),
        annotations in prop::sample::subsequence(MARKS.to_vec(), 0..3),
        gates in prop::sample::subsequence(vec!["kompass.dev/gang", "kueue.x-k8s.io/admission", "x.io/quota"], 0..=3),
        scheduler in prop::sample::select(vec!["default-scheduler", "kompass", "yunikorn", "volcano", "other"]),
    ) {
        static DRIVERS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| recorded(Role::Driver));
        static EXECUTORS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| recorded(Role::Executor));
        let mut pod = index.get(if is_driver { &DRIVERS } else { &EXECUTORS }).1.clone();
        for (map, keys) in [("labels", labels), ("annotations", annotations)] {
            for key in keys {
                pod["metadata"][map][key] = json!("x");
            }
        }
        pod["spec"]["schedulingGates"] = gates.iter().map(|name| json!({"name": name})).collect();
        pod["spec"]["schedulerName"] = json!(scheduler);
        let rules = Rules::default();
        let gang = gang(&[("n1", 1), ("n2", 2)]);
        let decide = |pod: Value| if is_driver {
            driver(pod, "key", &rules)
        } else {
            executor(pod, Some(&gang), &rules)
        };
        let verdict = decide(pod.clone());
        let after = applied(&pod, &verdict);
        let others = |pod: &Value| {
            let gates = pod["spec"]["schedulingGates"].as_array().unwrap();
            gates.iter().filter(|gate| gate["name"] != names::GANG_GATE).cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(others(&after), others(&pod), "gates of others stay, in order");
        let again = decide(after);
        prop_assert!(again.operations.is_empty(), "{:?}", again.operations);
        prop_assert_eq!(again.outcome, verdict.outcome);
        if is_driver && verdict.outcome != Outcome::Gated {
            prop_assert!(!applied(&pod, &verdict)["spec"]["schedulingGates"].to_string().contains("kompass"));
        }
    }

    #[test]
    fn no_json_panics_and_every_patch_applies_and_is_applied_once(pod in prop_oneof![any_json(), any_pod()], unbound in 0..4_u64) {
        let rules = Rules::default();
        let gang = with_bound(gang(&[("n1", 1), ("n2", 2)]), &[], unbound);
        let decide: [&dyn Fn(Value) -> Verdict; 4] = [
            &|pod| driver(pod, "key", &rules),
            &|pod| executor(pod, Some(&gang), &rules),
            &|pod| executor(pod, None, &rules),
            &other,
        ];
        for decide in decide {
            let verdict = decide(pod.clone());
            let mut after = pod.clone();
            json_patch::patch(&mut after, &Patch(verdict.operations)).unwrap();
            let again = decide(after);
            prop_assert!(again.operations.is_empty(), "{:?}", again.operations);
        }
    }
}
