//! What the API server makes of the patches.

use k8s_openapi::api::core::v1::Pod;
use kompass_core::{Role, names};
use kompass_spark::role;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::harness::{
    ControlPlane, Recording, Webhook, annotation, eventually, gates, label, name, recorded_pods, scheduler,
};

fn pinned(pod: &Pod) -> Vec<String> {
    let affinity = pod
        .spec
        .as_ref()
        .unwrap()
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required
        .map(|required| required.node_selector_terms.as_slice())
        .unwrap_or_default();
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    fields
        .flat_map(|field| field.values.clone().unwrap_or_default())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_of_every_version_are_gated_and_executors_follow_the_plan() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&["--takeover", "template-scheduler"]).await;
    for version in ["2.4.0", "2.4.8", "3.3.4", "3.5.9", "4.1.4", "4.3.0"] {
        for scenario in ["a-basic-scala", "d-pod-template"] {
            let recording = Recording::read(version, scenario, "x");
            let driver = plane.create(&recording.driver).await;
            assert_eq!(scheduler(&driver), "kompass", "{version} {scenario}");
            assert_eq!(gates(&driver), [names::GANG_GATE], "{version} {scenario}");
            assert!(label(&driver, names::PROFILE_KEY_LABEL).is_some());

            // The plan is written by the planner; the webhook learns of it by its watch.
            plane.plan(&driver, &[("n1", 1), ("n2", 1)]).await;
            let uid = driver.metadata.uid.clone().unwrap();
            let mut id = 0;
            let first = eventually("an executor pinned to the plan", || {
                id += 1;
                let pod = recording.executor_of(&driver, id);
                let (plane, uid) = (&plane, uid.clone());
                async move {
                    let executor = plane.create(&pod).await;
                    assert_eq!(label(&executor, names::GANG_LABEL), Some(uid.as_str()));
                    if pinned(&executor).is_empty() {
                        // Before the plan was seen: not pinned, and not gated either.
                        assert!(gates(&executor).is_empty());
                        plane
                            .pods()
                            .delete(name(&executor), &kube::api::DeleteParams::default().grace_period(0))
                            .await
                            .unwrap();
                        return None;
                    }
                    Some(executor)
                }
            })
            .await;
            assert_eq!(pinned(&first), ["n1", "n2"], "{version} {scenario}");
            assert_eq!(scheduler(&first), "kompass");
            assert_eq!(annotation(&first, names::AUTOSCALER_SAFE_TO_EVICT), Some("false"));
            let second = plane.create(&recording.executor_of(&driver, 101)).await;
            assert_eq!(pinned(&second), ["n2", "n1"], "{version} {scenario}");
            let surplus = plane.create(&recording.executor_of(&driver, 102)).await;
            assert_eq!(gates(&surplus), [names::GANG_GATE], "{version} {scenario}");
            assert!(pinned(&surplus).is_empty());

            for pod in [&first, &second, &surplus, &driver] {
                plane
                    .pods()
                    .delete(name(pod), &kube::api::DeleteParams::default().grace_period(0))
                    .await
                    .unwrap();
            }
        }
    }
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_not_ours_and_pods_without_a_webhook_are_created() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let plain = json!({
        "metadata": {"name": "plain"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    assert_eq!(scheduler(&plane.create(&plain).await), "default-scheduler");
    let mut chosen = Recording::read("4.1.4", "a-basic-scala", "chosen").driver;
    chosen["spec"]["nodeName"] = json!("n1");
    assert!(
        gates(&plane.create(&chosen).await).is_empty(),
        "its node is chosen already"
    );
    let mut opted_out = Recording::read("4.1.4", "a-basic-scala", "out").driver;
    opted_out["metadata"]["labels"][names::ENABLED_LABEL] = json!("false");
    assert_eq!(scheduler(&plane.create(&opted_out).await), "default-scheduler");

    webhook.stop().await;
    let driver = Recording::read("4.1.4", "a-basic-scala", "alone").driver;
    let driver = plane.create(&driver).await;
    assert_eq!(
        (scheduler(&driver), gates(&driver).len()),
        ("default-scheduler", 0),
        "no webhook: the ordinary way"
    );
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_of_other_queue_managers_are_left_and_kueue_keeps_its_gate() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let kueue = "kueue.x-k8s.io/admission";
    let mut queued = Recording::read("4.1.4", "a-basic-scala", "kueue").driver;
    queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = json!("q");
    queued["spec"]["schedulingGates"] = json!([{"name": kueue}]);
    let queued = plane.create(&queued).await;
    assert_eq!(
        (scheduler(&queued), gates(&queued)),
        ("kompass", vec![kueue, names::GANG_GATE])
    );
    for (suffix, kind, key, scheduler_name) in [
        ("a", "labels", "yunikorn.apache.org/app-id", "default-scheduler"),
        ("b", "annotations", "scheduling.k8s.io/group-name", "volcano"),
        ("c", "labels", "scheduling.x-k8s.io/pod-group", "default-scheduler"),
        ("d", "labels", "eks.amazonaws.com/fargate-profile", "fargate-scheduler"),
    ] {
        let recording = Recording::read("4.1.4", "a-basic-scala", suffix);
        let mut held = recording.driver.clone();
        held["metadata"][kind][key] = json!("x");
        held["spec"]["schedulerName"] = json!(scheduler_name);
        let held = plane.create(&held).await;
        assert_eq!(
            (scheduler(&held), gates(&held), label(&held, names::PROFILE_KEY_LABEL)),
            (scheduler_name, Vec::new(), None),
            "{key}"
        );
        let executor = plane.create(&recording.executor_of(&held, 1)).await;
        assert_eq!(scheduler(&executor), "default-scheduler", "executors follow");
    }
    let text = webhook.running.registry.render();
    let line = r#"kompass_webhook_reviews_total{outcome="held",role="driver"} 4"#;
    assert!(text.contains(line), "{line} is not in\n{text}");
    webhook.stop().await;
    plane.stop().await;
}

/// A recorded driver with the labels of whoever submits it.
fn submitted(suffix: &str, labels: &[(&str, &str)]) -> Value {
    let mut driver = Recording::read("4.1.4", "a-basic-scala", suffix).driver;
    for (name, value) in labels {
        driver["metadata"]["labels"][name] = json!(value);
    }
    driver
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_of_operators_and_workflows_are_taken_and_known_again() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let launched = ("sparkoperator.k8s.io/launched-by-spark-operator", "true");
    let application = "sparkoperator.k8s.io/app-name";
    let task = [("dag_id", "sales"), ("task_id", "sum")];
    let runs = |first: &[(&'static str, &'static str)], second: &[(&'static str, &'static str)]| {
        (first.to_vec(), second.to_vec())
    };
    for (submitter, (first, second)) in [
        (
            "kubeflow",
            runs(
                &[
                    launched,
                    (application, "pi"),
                    ("sparkoperator.k8s.io/submission-id", "a"),
                ],
                &[
                    launched,
                    (application, "pi"),
                    ("sparkoperator.k8s.io/submission-id", "b"),
                ],
            ),
        ),
        (
            "schedule",
            runs(
                &[
                    launched,
                    (application, "pi-1795419633663"),
                    ("sparkoperator.k8s.io/scheduled-app-name", "pi"),
                ],
                &[
                    launched,
                    (application, "pi-1795423233663"),
                    ("sparkoperator.k8s.io/scheduled-app-name", "pi"),
                ],
            ),
        ),
        (
            "apache",
            runs(
                &[("spark.operator/spark-app-name", "pi")],
                &[("spark.operator/spark-app-name", "pi")],
            ),
        ),
        (
            "airflow",
            runs(
                &[
                    launched,
                    (application, "sum-x8k2mzq0"),
                    task[0],
                    task[1],
                    ("try_number", "1"),
                ],
                &[
                    launched,
                    (application, "sum-p1w7vt3y"),
                    task[0],
                    task[1],
                    ("try_number", "2"),
                ],
            ),
        ),
    ] {
        let first = plane.create(&submitted(&format!("{submitter}-1"), &first)).await;
        let second = plane.create(&submitted(&format!("{submitter}-2"), &second)).await;
        for driver in [&first, &second] {
            assert_eq!(
                (scheduler(driver), gates(driver)),
                ("kompass", vec![names::GANG_GATE]),
                "{submitter}"
            );
        }
        let key = label(&first, names::PROFILE_KEY_LABEL);
        assert!(key.is_some(), "{submitter}");
        assert_eq!(key, label(&second, names::PROFILE_KEY_LABEL), "{submitter}");
    }
    webhook.stop().await;
    plane.stop().await;
}

/// Reviews answered so far about pods of a role.
fn reviews(webhook: &Webhook, role: &str) -> f64 {
    let text = webhook.running.registry.render();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("kompass_webhook_reviews_total{"));
    lines
        .filter(|line| line.contains(&format!("role=\"{role}\"")))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

async fn dry_run(plane: &ControlPlane, pod: &Value) -> Pod {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod = serde_json::from_value(pod.clone()).unwrap();
    plane.pods().create(&params, &pod).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_pod_reaches_the_webhook_and_none_that_only_wears_the_label() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    for (path, pod) in recorded_pods() {
        let role = match role::of(&pod).unwrap() {
            Role::Driver => "driver",
            Role::Executor => "executor",
        };
        let before = reviews(&webhook, role);
        dry_run(&plane, &pod).await;
        assert!(reviews(&webhook, role) > before, "{path}");
    }
    let all = reviews(&webhook, "driver") + reviews(&webhook, "executor");
    for (role, name, args) in [
        ("driver", "connect", json!(["start-connect-server.sh", "driver=1"])),
        ("driver", "executor", json!(null)),
        ("executor", "spark-kubernetes-driver", json!(["driver"])),
        ("executor", "c", json!([])),
        ("other", "spark-kubernetes-driver", json!(["driver"])),
    ] {
        let pod = json!({
            "metadata": {"name": "wearer", "labels": {"spark-role": role}},
            "spec": {"containers": [{"name": name, "image": "i", "args": args}]},
        });
        assert_eq!(role::of(&pod), None, "{pod}");
        dry_run(&plane, &pod).await;
    }
    assert_eq!(reviews(&webhook, "other"), 0.0);
    assert_eq!(reviews(&webhook, "driver") + reviews(&webhook, "executor"), all);
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_answered_and_nothing_of_it_is_remembered() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let recording = Recording::read("4.1.4", "a-basic-scala", "x");
    let driver = plane.create(&recording.driver).await;
    plane.plan(&driver, &[("n1", 1)]).await;
    eventually("the plan seen", || async {
        let executor = dry_run(&plane, &recording.executor_of(&driver, 1)).await;
        (pinned(&executor) == ["n1"]).then_some(())
    })
    .await;
    // Each would have the only slot, had an earlier one taken it.
    for id in 2..5 {
        let executor = dry_run(&plane, &recording.executor_of(&driver, id)).await;
        assert_eq!(pinned(&executor), ["n1"]);
    }
    assert_eq!(pinned(&plane.create(&recording.executor_of(&driver, 5)).await), ["n1"]);
    let surplus = dry_run(&plane, &recording.executor_of(&driver, 6)).await;
    assert_eq!(gates(&surplus), [names::GANG_GATE], "that one was no dry run");
    webhook.stop().await;
    plane.stop().await;
}
