//! The predictor's pause, and whether it has given back what it held.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kompass_core::names;
use kompass_kube::buffers;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::Error;
use crate::error::{chain, failed};

/// Nodes by group.
const METRIC: &str = "kompass_predictor_floor_nodes";
/// One predictor's answer takes no longer.
const LIMIT: Duration = Duration::from_secs(5);

/// Tells the predictor to give back all that it holds, and to hold nothing.
pub async fn pause(client: &Client, namespace: &str, reason: &str) -> Result<(), Error> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": names::PREDICTOR_PAUSE },
        "data": { "reason": reason },
    });
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams::apply("kompass").force();
    let patch = Patch::Apply(&object);
    within(REQUEST_TIMEOUT, api.patch(names::PREDICTOR_PAUSE, &params, &patch))
        .await
        .map_err(failed("write", config_map(namespace)))?;
    Ok(())
}

/// Lets it go on; whether it was paused.
pub async fn resume(client: &Client, namespace: &str) -> Result<bool, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match within(
        REQUEST_TIMEOUT,
        api.delete(names::PREDICTOR_PAUSE, &DeleteParams::default()),
    )
    .await
    {
        Ok(_) => Ok(true),
        Err(error) if error.status() == Some(404) => Ok(false),
        Err(error) => Err(failed("delete", config_map(namespace))(error)),
    }
}

fn config_map(namespace: &str) -> String {
    format!("the ConfigMap {namespace}/{}", names::PREDICTOR_PAUSE)
}

/// What it still holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Held {
    /// Buffers and Jobs of pause pods.
    pub objects: usize,
    /// Nodes that floors of node groups are raised by, where a predictor tells.
    pub floor_nodes: f64,
    /// Predictors that run.
    pub running: usize,
    /// Why one of them did not tell of its floors.
    pub untold: Option<String>,
}

impl Held {
    /// Nothing is held, and every predictor has told so.
    pub fn is_nothing(&self) -> bool {
        self.objects == 0 && self.floor_nodes <= 0.0 && self.untold.is_none()
    }
}

/// Looks what is held.
pub async fn held(client: &Client, namespace: &str) -> Result<Held, Error> {
    let ours = ListParams::default().labels(names::HEADROOM_LABEL);
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let jobs = within(REQUEST_TIMEOUT, jobs.list_metadata(&ours))
        .await
        .map_err(failed("list", "the Jobs that hold nodes"))?;
    let mut held = Held {
        objects: jobs.items.len(),
        ..Held::default()
    };
    let served = buffers::served(client, REQUEST_TIMEOUT)
        .await
        .map_err(failed("look for", "capacity buffers"))?;
    if let Some(resource) = served {
        let all: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let found = within(REQUEST_TIMEOUT, all.list_metadata(&ours))
            .await
            .map_err(failed("list", "the capacity buffers that hold nodes"))?;
        held.objects += found.items.len();
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let predictors = ListParams::default().labels("app.kubernetes.io/component=predictor");
    let predictors = within(REQUEST_TIMEOUT, pods.list(&predictors))
        .await
        .map_err(failed("list", "the predictor's pods"))?;
    for pod in predictors.items.iter().filter(|pod| is_running(pod)) {
        held.running += 1;
        match metrics(client, namespace, pod).await {
            Ok(page) => held.floor_nodes += floor_nodes(&page),
            Err(error) => held.untold = Some(chain(&error)),
        }
    }
    Ok(held)
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

async fn metrics(client: &Client, namespace: &str, pod: &Pod) -> Result<String, Error> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports
        .find(|port| port.name.as_deref() == Some("metrics"))
        .map_or(8080, |port| port.container_port);
    let name = pod.name_any();
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics");
    let request = http::Request::get(path).body(Vec::new());
    let asked = async { client.request_text(request.map_err(kube::Error::HttpError)?).await };
    within(LIMIT, asked)
        .await
        .map_err(failed("read", format!("the metrics of the pod {name}")))
}

/// The sum over all groups.
fn floor_nodes(page: &str) -> f64 {
    let samples = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(METRIC)?;
        rest.starts_with(['{', ' '])
            .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    samples.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_summed_from_the_page() {
        let page = "# TYPE kompass_predictor_floor_nodes gauge\n\
            kompass_predictor_floor_nodes{group=\"spark a\"} 2\n\
            kompass_predictor_floor_nodes{group=\"b\"} 0\n\
            kompass_predictor_floor_nodes_other 7\nkompass_predictor_ready_nodes 5\n";
        assert!((floor_nodes(page) - 2.0).abs() < 1e-9);
        assert!(floor_nodes("").abs() < 1e-9);
    }

    #[test]
    fn raised_floors_are_something() {
        let held = |objects, floor_nodes| Held {
            objects,
            floor_nodes,
            ..Held::default()
        };
        assert!(held(0, 0.0).is_nothing() && !held(1, 0.0).is_nothing() && !held(0, 1.0).is_nothing());
    }

    #[test]
    fn what_a_predictor_does_not_tell_may_be_something() {
        let held = Held {
            running: 1,
            untold: Some("no answer".into()),
            ..Held::default()
        };
        assert!(!held.is_nothing());
    }
}
