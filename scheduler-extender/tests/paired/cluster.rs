//! A cluster with KOMPASS's namespace and rights, and the pods that the tests need.

use std::time::{Duration, Instant};

use kompass_core::GangPlan;
use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::kompass::{MANIFESTS, NAMESPACE, Service as Account};
use kompass_local_cluster::kwok::Shape;
use kompass_local_cluster::progress::Progress;
use serde_json::{Value, json};

/// Far above what anything here takes, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

/// A control plane without schedulers, with `nodes` nodes of 8 CPU and 32 GiB.
pub(crate) async fn start(nodes: usize) -> Cluster {
    let options = Options {
        default_scheduler: false,
        // Nobody plays the kubelets.
        node_grace: Duration::from_hours(1),
        progress: Progress::lines(),
        ..Options::default()
    };
    let cluster = Cluster::start(options).await.unwrap();
    let manifests = cluster.folder().join("kompass.yaml");
    std::fs::write(&manifests, MANIFESTS).unwrap();
    cluster
        .kubectl(&["apply", "-f", manifests.to_str().unwrap()])
        .await
        .unwrap();
    let shape = Shape {
        name_prefix: "node".to_owned(),
        ready_at_once: true,
        ..Shape::default()
    };
    cluster.add_fake_nodes(nodes, &shape).await.unwrap();
    let account = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
    until(&cluster, &account, |account| account["metadata"]["uid"].is_string()).await;
    cluster
}

/// The kubeconfig of the extender's own account.
pub(crate) fn kubeconfig(cluster: &Cluster) -> std::path::PathBuf {
    let [first, second] = Account::groups();
    let groups = [first.as_str(), second.as_str(), "system:authenticated"];
    cluster
        .kubeconfig_for(&Account::SchedulerExtender.user(), &groups)
        .unwrap()
}

/// Reads an object until it is as wanted.
pub(crate) async fn until(cluster: &Cluster, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = match cluster.client().get(path).await {
            Ok(object) if wanted(&object) => return object,
            Ok(object) => object,
            Err(error) => json!(error.to_string()),
        };
        assert!(
            Instant::now() < deadline,
            "{path} did not become as wanted; last seen: {seen:#}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A pod of one container.
pub(crate) fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": {}, "annotations": {} },
        "spec": {
            "schedulerName": "kompass",
            "restartPolicy": "Never",
            "containers": [{
                "name": "main", "image": "none", "args": ["main"],
                "resources": { "requests": { "cpu": cpu, "memory": "1Gi" } },
            }],
        },
    })
}

/// A gated driver as the webhook leaves it, without a profile.
pub(crate) fn driver(name: &str, cpu: &str) -> Value {
    let mut driver = pod(name, cpu);
    driver["metadata"]["labels"] =
        json!({ "spark-role": "driver", "spark-app-selector": name, "kompass.dev/profile-key": "test" });
    driver["spec"]["schedulingGates"] = json!([{ "name": "kompass.dev/gang" }]);
    driver["spec"]["containers"][0]["args"] = json!(["driver"]);
    driver
}

/// The profile of a gang as the profiler writes it.
pub(crate) fn profile(driver_cpu_milli: u64, executor_cpu_milli: u64, executors: u64) -> String {
    json!({
        "version": 1,
        "driver": { "cpu_milli": driver_cpu_milli, "memory_mib": 1024 },
        "executor": { "cpu_milli": executor_cpu_milli, "memory_mib": 1024 },
        "executors_at_start": executors,
        "executors_max": executors,
        "dynamic_allocation": false,
        "profile_key": "test",
        "source": "conf",
    })
    .to_string()
}

/// The patch by which the profiler writes a profile.
pub(crate) fn profiled(profile: &str) -> Value {
    json!({ "metadata": { "annotations": { "kompass.dev/job-profile": profile } } })
}

/// An executor of a driver as Spark makes it and the webhook labels it.
pub(crate) fn executor(driver: &Value, number: u64, cpu: &str) -> Value {
    let (name, uid) = (
        driver["metadata"]["name"].as_str().unwrap(),
        driver["metadata"]["uid"].as_str().unwrap(),
    );
    let mut executor = pod(&format!("{name}-exec-{number}"), cpu);
    executor["metadata"]["labels"] = json!({
        "spark-role": "executor", "spark-app-selector": name, "spark-exec-id": number.to_string(),
        "kompass.dev/gang": uid,
    });
    executor["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "controller": true }]);
    executor["spec"]["containers"][0]["args"] = json!(["executor"]);
    executor
}

pub(crate) fn node_of(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str()
}

pub(crate) fn path(name: &str) -> String {
    format!("{PODS}/{name}")
}

pub(crate) async fn create(cluster: &Cluster, pod: &Value) -> Value {
    cluster.client().create(PODS, pod).await.unwrap()
}

pub(crate) fn plan_of(driver: &Value) -> Option<GangPlan> {
    let text = driver["metadata"]["annotations"]["kompass.dev/gang-plan"].as_str()?;
    Some(GangPlan::from_annotation(text).unwrap())
}

pub(crate) async fn bound(cluster: &Cluster, name: &str) -> Value {
    until(cluster, &path(name), |pod| node_of(pod).is_some()).await
}

/// Whether the API server keeps saying so for a while.
pub(crate) async fn stays(cluster: &Cluster, name: &str, how: impl Fn(&Value) -> bool) {
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let pod = cluster.client().get(&path(name)).await.unwrap();
        assert!(how(&pod), "{pod:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Ends a pod as its kubelet would, with its Spark container.
pub(crate) async fn finish(cluster: &Cluster, name: &str) {
    let ended = json!({ "status": { "phase": "Succeeded", "containerStatuses": [{
        "name": "main", "image": "none", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "terminated": {
            "exitCode": 0, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:10Z",
        } },
    }] } });
    cluster
        .client()
        .merge_patch(&format!("{}/status", path(name)), &ended)
        .await
        .unwrap();
}
