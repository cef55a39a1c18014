//! The objects of an application, out of a cluster.

use std::path::PathBuf;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kompass_kube::client::{REQUEST_TIMEOUT, connect, within};
use kompass_spark::DriverPod;
use kube::Api;
use serde_json::Value;

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
        // As the API server tells it, with fields that no library knows yet.
        let url = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let request = http::Request::get(url)
            .body(Vec::new())
            .context("failed to ask for that name")?;
        let asked = within(REQUEST_TIMEOUT, client.request::<Value>(request)).await;
        let pod = asked.with_context(|| format!("failed to read the pod {name} in namespace {namespace}"))?;
        let names = DriverPod::from_json(&pod).map(|driver| {
            let names = [driver.conf_config_map(), driver.template_config_map()];
            names.into_iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        });
        let api = Api::<ConfigMap>::namespaced(client, namespace);
        let mut config_maps = Vec::new();
        for name in names.unwrap_or_default() {
            let found = within(REQUEST_TIMEOUT, api.get_opt(&name)).await;
            let found =
                found.with_context(|| format!("failed to read the ConfigMap {name} in namespace {namespace}"))?;
            config_maps.extend(found.map(serde_json::to_value).transpose()?);
        }
        Ok(Objects { pod, config_maps })
    }
}
