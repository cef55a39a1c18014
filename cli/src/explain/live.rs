//! The objects of an application, out of a cluster.

use std::path::PathBuf;

use anyhow::Context as _;
use kompass_kube::client::{REQUEST_TIMEOUT, connect, within};
use kompass_kube::config_map;
use kompass_spark::DriverPod;
use kube::Client;
use serde_json::{Value, json};

use super::objects::Objects;
use crate::local;

/// Which cluster to ask.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Cluster {
    /// Local cluster that is asked.
    #[arg(long, env = "KOMPASS_CLUSTER", default_value = local::DEFAULT_NAME, value_name = "NAME")]
    cluster: String,
    /// Ask the cluster of this kubeconfig instead.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl Cluster {
    /// A driver pod and those of its config maps that are still there.
    pub(super) async fn objects(&self, namespace: &str, name: &str) -> anyhow::Result<Objects> {
        let kubeconfig = match &self.kubeconfig {
            Some(given) => given.clone(),
            None => local::kubeconfig::of(&self.cluster).await?,
        };
        let client = connect(Some(&kubeconfig), "kompass").await?;
        let pod = pod(&client, namespace, name).await?;
        let names = DriverPod::from_json(&pod).map(|driver| {
            let names = [driver.conf_config_map(), driver.template_config_map()];
            names.into_iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        });
        let mut config_maps = Vec::new();
        for name in names.unwrap_or_default() {
            let found = config_map::read(&client, namespace, &name, REQUEST_TIMEOUT).await;
            let found =
                found.with_context(|| format!("failed to read the ConfigMap {name} in namespace {namespace}"))?;
            config_maps.extend(found.map(|data| json!({"metadata": {"name": name}, "data": data})));
        }
        Ok(Objects { pod, config_maps })
    }
}

/// A pod as the API server tells it, with fields that no library knows yet.
async fn pod(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Value> {
    let url = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let request = http::Request::get(url)
        .body(Vec::new())
        .context("failed to ask for that name")?;
    // As text: what the client can't decode it quotes in its log, and so would the decoder's own words. A pod may hold
    // secrets in its variables.
    let asked = within(REQUEST_TIMEOUT, client.request_text(request)).await;
    let text = asked.with_context(|| format!("failed to read the pod {name} in namespace {namespace}"))?;
    serde_json::from_str(&text)
        .map_err(|_| anyhow::anyhow!("failed to read the pod {name} in namespace {namespace}: the answer is no JSON"))
}
