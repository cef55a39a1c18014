//! The `PodDisruptionBudget` that keeps drains from evicting drivers, and what is asked of the API server about it.

use std::time::Duration;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kompass_core::names;
use kompass_kube::client::{RequestError, within};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// For one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// The field manager of budgets.
const MANAGER: &str = "kompass-admission-webhook";
/// How the budgets that are ours are found.
const OURS: &str = "app.kubernetes.io/managed-by=kompass";

/// Why a budget is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to list the disruption budgets; is the right to list poddisruptionbudgets there?")]
    List(#[source] RequestError),
    #[error("failed to apply the disruption budget of namespace {0:?}")]
    Apply(String, #[source] RequestError),
    #[error("failed to delete the disruption budget of namespace {0:?}")]
    Delete(String, #[source] RequestError),
}

/// The namespaces that have a budget of KOMPASS's, of all or of those labelled.
pub(super) async fn list(client: &Client, labelled: Option<&[String]>) -> Result<Vec<String>, Error> {
    let Some(labelled) = labelled else {
        return list_in(&Api::all(client.clone())).await.map_err(Error::List);
    };
    let mut found = Vec::new();
    for namespace in labelled {
        match list_in(&Api::namespaced(client.clone(), namespace)).await {
            Ok(ours) => found.extend(ours),
            // Without rights there is none of ours, or none that we can do anything about.
            Err(error) if error.status() == Some(403) => {}
            Err(error) => return Err(Error::List(error)),
        }
    }
    Ok(found)
}

async fn list_in(api: &Api<PodDisruptionBudget>) -> Result<Vec<String>, RequestError> {
    let params = ListParams::default().labels(OURS);
    let list = within(REQUEST_LIMIT, api.list(&params)).await?;
    let ours = list
        .items
        .into_iter()
        .map(|budget| budget.metadata)
        .filter(|metadata| metadata.name.as_deref() == Some(names::DRIVER_BUDGET));
    Ok(ours.filter_map(|metadata| metadata.namespace).collect())
}

/// Makes the budget of a namespace what it should be. Not by force: one of the same name that is the user's stays.
pub(super) async fn apply(client: &Client, namespace: &str) -> Result<(), Error> {
    let api = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
    let patch = Patch::Apply(manifest());
    let params = PatchParams::apply(MANAGER);
    let applied = within(REQUEST_LIMIT, api.patch(names::DRIVER_BUDGET, &params, &patch)).await;
    applied
        .map(drop)
        .map_err(|error| Error::Apply(namespace.to_owned(), error))
}

/// Deletes the budget of a namespace, if it is there.
pub(super) async fn delete(client: &Client, namespace: &str) -> Result<(), Error> {
    let api = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
    let request = async {
        match api.delete(names::DRIVER_BUDGET, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result.map(drop),
        }
    };
    within(REQUEST_LIMIT, request)
        .await
        .map_err(|error| Error::Delete(namespace.to_owned(), error))
}

fn manifest() -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": names::DRIVER_BUDGET,
            "labels": {"app.kubernetes.io/managed-by": "kompass"},
        },
        "spec": {
            // More than there will ever be, so that none may go. `maxUnavailable: 0` would say it better, but
            // Kubernetes takes it only for pods whose owner can be scaled, and drivers have no owner.
            "minAvailable": i32::MAX,
            "selector": {
                "matchLabels": {names::SPARK_ROLE_LABEL: "driver"},
                "matchExpressions": [{"key": names::PROFILE_KEY_LABEL, "operator": "Exists"}],
            },
        },
    })
}
