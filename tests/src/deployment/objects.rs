//! The objects that scenarios begin with: namespaces, nodes, pods of others.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kompass_kube::object;
use kompass_local_cluster::kompass::NAMESPACE;
use kompass_local_cluster::kwok;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{Deployment, JOBS, READY_LIMIT};
use crate::wait::wait_for;

impl Deployment {
    /// Pods of the tests' namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), JOBS)
    }

    /// Pods of KOMPASS's own namespace: stand-ins and markers.
    pub fn own_pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates a namespace and waits until pods may be created in it.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn create_namespace(&self, name: &str) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        namespaces.create(&PostParams::default(), &namespace).await?;
        if self.options.cluster.controller_manager {
            let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
            wait_for("the default service account", READY_LIMIT, || accounts.get("default")).await?;
        }
        Ok(())
    }

    /// Adds nodes `<prefix>-0`, `<prefix>-1`, ... and waits until they are ready.
    ///
    /// # Errors
    /// What the API server answered, or the nodes that are not ready.
    pub async fn add_nodes(&self, prefix: &str, count: usize, cpu_milli: u64) -> anyhow::Result<()> {
        let shape = kwok::Shape {
            name_prefix: prefix.to_owned(),
            cpu_millis: cpu_milli,
            ready_at_once: !self.options.kwok,
            ..kwok::Shape::default()
        };
        self.cluster.add_fake_nodes(count, &shape).await?;
        let nodes: Api<object::Node> = Api::all(self.client.clone());
        wait_for("the nodes to be ready", READY_LIMIT, || async {
            let list = nodes
                .list(&ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            let ready = |node: object::Node| {
                kompass_kube::convert::node(node).is_ok_and(|node| node.ready && node.taints.is_empty())
            };
            let waiting: Vec<String> = list
                .into_iter()
                .filter(|node| !ready(node.clone()))
                .filter_map(|node| node.metadata.name)
                .collect();
            if waiting.is_empty() {
                Ok(())
            } else {
                Err(format!("not ready: {waiting:?}"))
            }
        })
        .await
    }

    /// A node dies: its object goes, and with it, at once, all of its pods.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn lose_node(&self, name: &str) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes
            .delete(name, &DeleteParams::default())
            .await
            .context("failed to delete the node")?;
        let pods: Api<Pod> = Api::all(self.client.clone());
        let on_it = ListParams::default().fields(&format!("spec.nodeName={name}"));
        for pod in pods.list(&on_it).await? {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
            pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                .await
                .ok();
        }
        Ok(())
    }

    /// Creates a pod of somebody else's, for the default scheduler.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn create_foreign(&self, name: &str, cpu_milli: u64) -> anyhow::Result<Pod> {
        let pod = json!({
            "metadata": { "name": name },
            "spec": { "containers": [{ "name": "c", "image": "example.com/c",
                "resources": { "requests": { "cpu": format!("{cpu_milli}m") } } }] },
        });
        Ok(self
            .pods()
            .create(&PostParams::default(), &serde_json::from_value(pod)?)
            .await?)
    }

    /// How many executors of a driver are bound to each node now.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn executors_by_node(&self, driver_uid: &str) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for pod in self
            .pods()
            .list(&ListParams::default().labels("spark-role=executor"))
            .await?
        {
            let is_own = pod.owner_references().iter().any(|owner| owner.uid == driver_uid);
            if let Some(node) = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.node_name.clone())
                .filter(|_| is_own)
            {
                *counts.entry(node).or_default() += 1;
            }
        }
        Ok(counts)
    }
}
