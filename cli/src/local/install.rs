//! KOMPASS in a local cluster as in any other: its images, its chart, its pods.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kompass_core::resources::MIB;
use kompass_core::{names, quantity};
use kompass_local_cluster::full::{Cluster, NODE};
use kompass_local_cluster::images::{Image, Own, Part};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::process::Command;

use super::chart;

/// The Helm release, and the beginning of its objects' names.
const RELEASE: &str = "kompass";
/// For all pods to be ready. An idle machine needs 15 s.
const READY_LIMIT: &str = "3m";
/// A little more, so that Helm says why.
const HELM_LIMIT: Duration = Duration::from_mins(4);

/// What is to be installed.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Files of values that count more than the local ones.
    pub(crate) values: Vec<PathBuf>,
    /// A Prometheus beside it, and the predictor that learns from it.
    pub(crate) monitoring: bool,
}

/// What runs in the cluster of KOMPASS, as images of this machine's own programs.
pub(crate) async fn images(wanted: &Wanted, progress: &Progress) -> anyhow::Result<Vec<Own>> {
    let mut modules = vec![Module::Kubernetes, Module::Helm];
    let mut parts = vec![Part::KubeScheduler];
    if wanted.monitoring {
        modules.extend([Module::Prometheus, Module::PrometheusOperator, Module::KubeStateMetrics]);
        parts.extend(Part::MONITORING);
    }
    let mut images = Vec::new();
    // What is missing is said before minutes of building.
    for part in [Part::SchedulerExtender, Part::AdmissionWebhook, Part::Predictor] {
        match crate::programs::find(part.program()) {
            Ok(program) => images.push(Own::new(part, &program)?),
            // Only who wants the predictor builds it: the AWS SDKs take minutes.
            Err(_) if part == Part::Predictor && !wanted.monitoring => {}
            Err(error) => return Err(error),
        }
    }
    let programs = programs::ensure(&modules, progress).await?;
    for part in parts {
        if let Some(program) = part.module_program() {
            images.push(Own::new(part, &programs.path(program)?)?);
        }
    }
    Ok(images)
}

/// What the chart is told in a local cluster.
fn values(images: &[Own]) -> Value {
    // A pod that is there already gets the new program only if something in it changes.
    let builds: Vec<&str> = images.iter().map(Own::build).collect();
    json!({
        "scope": "all",
        "image": {"registry": "docker.io/local", "tag": env!("CARGO_PKG_VERSION"), "pullPolicy": "Never"},
        "pauseImage": Image::Pause.reference(),
        "log": {"format": "text"},
        "podAnnotations": {"kompass.dev/build": builds.join(", ")},
        "scheduler": {
            // On a single node a second one would be no help.
            "replicas": 1,
            "kubeScheduler": {"image": {"tag": programs::kubernetes_version()}},
        },
        "admissionWebhook": {"replicas": 1},
        // Nobody else forwards to it: there is nobody to notice first that it is going.
        "shutdown": {"grace": "0s"},
    })
}

/// What it is told beside that, where KOMPASS is to be watched: a Prometheus that forgets all with its pod, and the predictor,
/// which counts in nodes as large as this machine.
fn monitoring(node: &Node) -> anyhow::Result<Value> {
    let offered = |name: &str| {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let quantity = allocatable.and_then(|all| all.get(name));
        quantity.with_context(|| format!("failed to find how much {name} node {} offers", node.name_any()))
    };
    let cpu_milli = quantity::milli(&offered("cpu")?.0)?;
    let memory_mib = quantity::units(&offered("memory")?.0)? / MIB;
    let small = |memory: &str| json!({"requests": {"cpu": "10m", "memory": memory}});
    Ok(json!({
        "predictor": {"node": {"cpuMilli": cpu_milli, "memoryMib": memory_mib}},
        "monitoring": {"bundled": {
            "enabled": true,
            "operator": {"resources": small("32Mi")},
            "prometheus": {"storage": {"size": ""}, "scrapeInterval": "10s", "resources": small("64Mi")},
            "kubeStateMetrics": {"resources": small("32Mi")},
        }},
    }))
}

/// Installs KOMPASS in a cluster, or what has changed of it, and waits until it is ready.
pub(crate) async fn install(
    cluster: &Cluster,
    images: &[Own],
    wanted: &Wanted,
    progress: &Progress,
) -> anyhow::Result<()> {
    let step = progress.step("Installing KOMPASS", Some(Duration::from_secs(15)));
    let folder = cluster.kubeconfig().with_file_name("chart");
    chart::write(&folder)?;
    let mut files = vec![written(&folder.with_file_name("values.json"), &values(images))?];
    if wanted.monitoring {
        let client = kompass_kube::client::connect(Some(&cluster.kubeconfig()), "kompass").await?;
        let nodes: Api<Node> = Api::all(client);
        let node = nodes.get(NODE).await.context("failed to read the node")?;
        files.push(written(&folder.with_file_name("monitoring.json"), &monitoring(&node)?)?);
        // Helm makes them at a first install only, and looks whether they are there before it makes anything.
        let kinds = folder.join("charts/monitoring/crds").display().to_string();
        cluster
            .kubectl(&["apply", "--server-side", "--filename", &kinds])
            .await?;
    }
    files.extend(wanted.values.iter().cloned());
    // As `setup-kompass.sh cluster` makes it: all pods of KOMPASS's are to pass.
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": names::DEFAULT_NAMESPACE, "labels": {names::POD_SECURITY_LABEL: "restricted"}},
    });
    let namespace = written(&folder.with_file_name("namespace.json"), &namespace)?;
    cluster
        .kubectl(&["apply", "--server-side", "--filename", &namespace.display().to_string()])
        .await?;
    let mut command = helm(cluster, progress).await?;
    command
        .args(["upgrade", "--install", RELEASE])
        .arg(&folder)
        .args(["--wait", "--timeout", READY_LIMIT]);
    for file in files {
        command.arg("--values").arg(file);
    }
    if let Err(error) = run(&mut command, "install").await {
        return Err(error.context(pods(cluster).await));
    }
    step.done();
    Ok(())
}

fn written(path: &Path, values: &Value) -> anyhow::Result<PathBuf> {
    let text = serde_json::to_vec_pretty(values)?;
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path.to_owned())
}

/// Takes KOMPASS out of a cluster; good when it isn't there.
pub(crate) async fn remove(cluster: &Cluster, progress: &Progress) -> anyhow::Result<()> {
    // What Helm keeps of a release. Helm itself takes minutes to build, which a cluster that never had KOMPASS need not wait for.
    let kept = cluster
        .kubectl(&[
            "get",
            "secrets",
            "--namespace",
            names::DEFAULT_NAMESPACE,
            &format!("--selector=owner=helm,name={RELEASE}"),
            "--output=name",
        ])
        .await?;
    if kept.trim().is_empty() {
        return Ok(());
    }
    let mut command = helm(cluster, progress).await?;
    command.args([
        "uninstall",
        RELEASE,
        "--ignore-not-found",
        "--wait",
        "--timeout",
        READY_LIMIT,
    ]);
    run(&mut command, "remove").await
}

/// KOMPASS's deployments, and whether each has all its pods ready.
pub(crate) async fn readiness(client: &Client) -> anyhow::Result<Vec<(String, bool)>> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), names::DEFAULT_NAMESPACE);
    let list = deployments.list(&ListParams::default()).await?;
    Ok(list.items.iter().map(|one| (one.name_any(), is_ready(one))).collect())
}

fn is_ready(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.as_ref();
    status.and_then(|status| status.ready_replicas).unwrap_or(0) >= wanted
}

/// What a pod of KOMPASS is called by those who want its log: the deployment, and the container in it.
pub(crate) fn log_of(part: &str) -> Option<[&'static str; 2]> {
    match part {
        "kompass-scheduler-extender" => Some(["deployment/kompass-scheduler", "extender"]),
        "kompass-kube-scheduler" => Some(["deployment/kompass-scheduler", "kube-scheduler"]),
        "kompass-admission-webhook" => Some(["deployment/kompass-admission-webhook", "admission-webhook"]),
        "kompass-predictor" => Some(["deployment/kompass-predictor", "predictor"]),
        _ => None,
    }
}

async fn helm(cluster: &Cluster, progress: &Progress) -> anyhow::Result<Command> {
    let programs = programs::ensure(&[Module::Helm], progress).await?;
    let mut command = Command::new(programs.path(Program::Helm)?);
    command
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["--namespace", names::DEFAULT_NAMESPACE])
        // Nothing of what the user has set up for other clusters.
        .envs(home(&cluster.kubeconfig()));
    Ok(command)
}

/// Where Helm keeps what it keeps.
fn home(kubeconfig: &Path) -> [(&'static str, PathBuf); 3] {
    let folder = kubeconfig.with_file_name("helm");
    ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|name| (name, folder.join(name)))
}

async fn run(command: &mut Command, verb: &str) -> anyhow::Result<()> {
    let output = tokio::time::timeout(HELM_LIMIT, command.kill_on_drop(true).output())
        .await
        .context("Helm did not end")?
        .context("failed to start Helm")?;
    anyhow::ensure!(
        output.status.success(),
        "failed to {verb} KOMPASS: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// What the pods say when they don't become ready.
async fn pods(cluster: &Cluster) -> String {
    let list = [
        "get",
        "pods,events",
        "--namespace",
        names::DEFAULT_NAMESPACE,
        "--output=wide",
    ];
    let words = cluster.kubectl(&list).await;
    words.unwrap_or_else(|error| format!("the pods can't be listed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_ready_when_all_its_pods_are() {
        let deployment = |wanted: Option<i32>, ready: Option<i32>| -> Deployment {
            serde_json::from_value(json!({
                "spec": {"replicas": wanted, "selector": {}, "template": {}},
                "status": {"readyReplicas": ready},
            }))
            .unwrap()
        };
        assert!(is_ready(&deployment(Some(2), Some(2))));
        assert!(!is_ready(&deployment(Some(2), Some(1))));
        assert!(!is_ready(&deployment(None, None)));
        assert!(is_ready(&deployment(Some(0), None)));
    }
    #[test]
    fn the_predictor_counts_in_nodes_as_large_as_this_machine() {
        let node = |allocatable: Value| -> Node {
            let node = json!({"metadata": {"name": "real-0"}, "status": {"allocatable": allocatable}});
            serde_json::from_value(node).unwrap()
        };
        let values = monitoring(&node(json!({"cpu": "1900m", "memory": "20971521Ki"}))).unwrap();
        assert_eq!(
            values["predictor"]["node"],
            json!({"cpuMilli": 1_900, "memoryMib": 20_480})
        );
        let error = monitoring(&node(json!({"cpu": "2"}))).unwrap_err().to_string();
        assert!(error.contains("memory") && error.contains("real-0"), "{error}");
    }
}
