//! What administrators have made for KOMPASS, which is theirs to remove.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::Error;
use crate::error::failed;

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
    Ok(notes)
}
