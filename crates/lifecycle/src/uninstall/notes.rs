//! What is the administrator's to remove: what he has made for KOMPASS, and what others may use by now.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::Error;
use crate::error::{chain, failed};

/// The role that is bound in each namespace with `--scope labelled`.
pub(crate) const NAMESPACE_ROLE: &str = "kompass-profiler-namespace";

/// A line for each.
pub(super) async fn read(client: &Client, own: &str) -> Result<Vec<String>, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespaces = within(REQUEST_TIMEOUT, namespaces.list_metadata(&ListParams::default()))
        .await
        .map_err(failed("list", "the namespaces"))?;
    let bindings: Api<RoleBinding> = Api::all(client.clone());
    let bindings = within(REQUEST_TIMEOUT, bindings.list(&ListParams::default()))
        .await
        .map_err(failed("list", "the RoleBindings"))?;
    let mut notes = Vec::new();
    for namespace in &namespaces {
        let name = namespace.name_any();
        if name == own {
            notes.push(format!("the namespace: kubectl delete namespace {name}"));
        }
        if namespace.labels().contains_key(names::ENABLED_LABEL) {
            notes.push(format!(
                "a label of namespace {name}: kubectl label namespace {name} {}-",
                names::ENABLED_LABEL
            ));
        }
    }
    for binding in bindings
        .iter()
        .filter(|binding| binding.role_ref.name == NAMESPACE_ROLE)
    {
        let (name, namespace) = (binding.name_any(), binding.namespace().unwrap_or_default());
        notes.push(format!(
            "rights in namespace {namespace}: kubectl delete rolebinding {name} --namespace={namespace}"
        ));
    }
    notes.extend(definitions(client).await);
    Ok(notes)
}

/// The definitions that the chart has brought, with all objects of their kinds. Whoever may not see them is told so: the rest
/// is done by then.
async fn definitions(client: &Client) -> Option<String> {
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=kompass");
    match within(REQUEST_TIMEOUT, all.list_metadata(&ours)).await {
        Ok(found) if found.items.is_empty() => None,
        Ok(found) => {
            let names: Vec<_> = found.iter().map(kube::ResourceExt::name_any).collect();
            Some(format!(
                "definitions of monitors, with every monitor of the cluster: kubectl delete crd {}",
                names.join(" ")
            ))
        }
        Err(error) => Some(format!(
            "could not be looked at: customresourcedefinitions: {}",
            chain(&error)
        )),
    }
}
