//! What the benches create and delete, by many clients at once.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kompass_local_cluster::client::Client;
use kompass_tests::deployment::JOBS;
use kompass_tests::spark::Application;
use serde_json::Value;

use crate::recorder::Recorder;

/// Clients at once.
const CLIENTS: usize = 32;

/// The collection of a kind in the jobs' namespace.
pub(crate) fn path(kind: &str) -> String {
    format!("/api/v1/namespaces/{JOBS}/{kind}")
}

/// Creates pods.
pub(crate) async fn create_pods(client: &Client, pods: impl IntoIterator<Item = Value>) -> anyhow::Result<()> {
    client.create_all(&path("pods"), pods, CLIENTS).await?;
    Ok(())
}

/// Creates the drivers of applications and returns their UIDs, in the same order. Without their configurations.
pub(crate) async fn create_drivers(client: &Client, applications: &[Application]) -> anyhow::Result<Vec<String>> {
    let created = stream::iter(applications.iter().map(Application::driver_pod).collect::<Vec<_>>())
        .map(|pod| async move { client.create(&path("pods"), &pod).await })
        .buffered(CLIENTS);
    let created: Vec<Value> = created.try_collect().await?;
    Ok(created
        .iter()
        .map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
        .collect())
}

/// Creates the configurations of applications.
pub(crate) async fn create_configurations(
    client: &Client,
    applications: &[Application],
    drivers: &[String],
) -> anyhow::Result<()> {
    let maps = applications
        .iter()
        .zip(drivers)
        .map(|(application, uid)| application.config_map(uid));
    client
        .create_all(&path("configmaps"), maps.collect::<Vec<_>>(), CLIENTS)
        .await?;
    Ok(())
}

/// Deletes a pod at once, as if its kubelet had confirmed its end.
pub(crate) async fn delete_pod(client: &Client, name: &str) -> anyhow::Result<()> {
    client
        .delete(&format!("{}/{name}?gracePeriodSeconds=0", path("pods")))
        .await?;
    Ok(())
}

/// Deletes all pods of the jobs' namespace and what belongs to them.
pub(crate) async fn delete_all(client: &Client, recorder: &Recorder) -> anyhow::Result<()> {
    let deleted = stream::iter(recorder.names())
        .map(|name| async move { delete_pod(client, &name).await })
        .buffer_unordered(CLIENTS);
    deleted.try_for_each(|()| std::future::ready(Ok(()))).await?;
    client.delete(&path("configmaps")).await?;
    recorder
        .until("all pods to be gone", |recorder| recorder.names().is_empty())
        .await
}
