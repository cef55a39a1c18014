//! Real Karpenter with its KWOK provider, which buys nodes that only exist in the API.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use kompass_local_cluster::kompass::NAMESPACE;
use kompass_local_cluster::pki::MASTERS;
use kompass_local_cluster::process::{Daemon, Spec};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::deployment::Deployment;

/// Its caches have to be full, and some of its controllers wait for their first tick.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// Go may have to fetch the module anew.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(5);
/// The label of the pool that a node was bought for.
pub const POOL_LABEL: &str = "karpenter.sh/nodepool";
/// The only size on sale: four CPUs, of which a pod of one and a half fits twice.
const INSTANCE_TYPE: &str = "m-4x-amd64-linux";

/// A bought node.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// The pool that it was bought for.
    pub pool: String,
    /// When it was ordered.
    pub created: Timestamp,
    /// Whether its node has joined and is ready for pods.
    pub initialized: bool,
}

/// Installs the definitions that come with it, those of capacity buffers too.
///
/// # Errors
/// What the API server answered.
pub async fn install_definitions(deployment: &mut Deployment) -> anyhow::Result<()> {
    let module = module_folder().await?;
    let cluster = deployment.cluster();
    for folder in ["pkg/apis/crds", "kwok/apis/crds"] {
        let folder = module.join(folder).display().to_string();
        cluster
            .kubectl(&["apply", "--server-side", "--filename", &folder])
            .await?;
    }
    cluster
        .kubectl(&["wait", "--for=condition=Established", "--all", "--timeout=60s", "crd"])
        .await?;
    Ok(())
}

/// Starts Karpenter with one pool of nodes for each name, and with these feature gates beside its defaults.
///
/// # Errors
/// What did not work, with the last lines of the log.
pub async fn start(deployment: &mut Deployment, pools: &[&str], gates: &str) -> anyhow::Result<Daemon> {
    install_definitions(deployment).await?;
    let cluster = deployment.cluster();
    let mut objects = vec![
        json!({ "apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": { "name": "default" } }),
    ];
    objects.extend(pools.iter().map(|pool| node_pool(pool)));
    let file = cluster.folder().join("karpenter.json");
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    std::fs::write(&file, list.to_string())?;
    cluster
        .kubectl(&["apply", "--filename", &file.display().to_string()])
        .await?;

    let program = programs::ensure(&[Module::Karpenter], &Progress::lines())
        .await?
        .path(Program::Karpenter)?;
    let kubeconfig = cluster.kubeconfig_for("karpenter", &[MASTERS])?;
    let (metrics, probes) = (free_port()?, free_port()?);
    let spec = Spec::new("karpenter", program, &cluster.folder().join("logs"))
        .recorded_in(cluster.folder().join("processes"))
        .environment("KUBECONFIG", kubeconfig.display().to_string())
        .environment("SYSTEM_NAMESPACE", NAMESPACE)
        .argument("-disable-leader-election")
        .argument(format!("-feature-gates={gates}"))
        .argument(format!("-metrics-port={metrics}"))
        .argument(format!("-health-probe-port={probes}"));
    let mut daemon = Daemon::start(spec)?;
    let probes = SocketAddr::from((Ipv4Addr::LOCALHOST, probes));
    daemon
        .ready(READY_LIMIT, || async {
            crate::http::get(probes, "/readyz").await.is_ok()
        })
        .await?;
    Ok(daemon)
}

/// Every node that Karpenter has bought and not yet given back.
///
/// # Errors
/// What the API server answered.
pub async fn claims(deployment: &Deployment) -> anyhow::Result<Vec<Claim>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("karpenter.sh", "v1", "NodeClaim"));
    let api: Api<DynamicObject> = Api::all_with(deployment.client().clone(), &resource);
    let list = api.list(&ListParams::default()).await?;
    Ok(list.iter().map(claim).collect())
}

fn claim(object: &DynamicObject) -> Claim {
    let conditions = object.data["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Claim {
        name: object.name_any(),
        pool: object.labels().get(POOL_LABEL).cloned().unwrap_or_default(),
        created: object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        initialized: conditions
            .iter()
            .any(|one| one["type"] == "Initialized" && one["status"] == "True"),
    }
}

/// Empty nodes are given back at once and all together: whoever wants to keep one must say so.
fn node_pool(name: &str) -> serde_json::Value {
    let requirement = |key: &str, value: &str| json!({ "key": key, "operator": "In", "values": [value] });
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": name },
        "spec": {
            "template": { "spec": {
                "requirements": [
                    requirement("karpenter.sh/capacity-type", "on-demand"),
                    requirement("node.kubernetes.io/instance-type", INSTANCE_TYPE),
                ],
                "nodeClassRef": { "group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default" },
                "expireAfter": "Never",
            } },
            "disruption": {
                "consolidationPolicy": "WhenEmptyOrUnderutilized",
                "consolidateAfter": "0s",
                "budgets": [{ "nodes": "100%" }],
            },
        },
    })
}

/// Where Go keeps the sources of the very Karpenter that runs; its CRDs lie there.
async fn module_folder() -> anyhow::Result<PathBuf> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/local-cluster/programs/karpenter");
    let usual = Path::new("/usr/local/go/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::env::split_paths(&path).chain([usual.to_owned()]))?;
    let run = tokio::process::Command::new("go")
        .args(["mod", "download", "-json", "sigs.k8s.io/karpenter"])
        .current_dir(module)
        .env("PATH", path)
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DOWNLOAD_LIMIT, run)
        .await
        .context("no end of go mod download")??;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).context("failed to read what Go says")?;
    let folder = told["Dir"].as_str();
    Ok(PathBuf::from(
        folder.with_context(|| format!("Go has no folder of Karpenter: {told}"))?,
    ))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
