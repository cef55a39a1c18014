//! Who owns the registration: an object that goes with the install, so that Kubernetes removes what was registered.
//!
//! No finalizer and no hook is needed, and no process has to be alive for it.

use k8s_openapi::api::rbac::v1::ClusterRole;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::Error;

/// The reference to the `ClusterRole` `name`, which must be there: an object without it would outlive the install.
pub(super) async fn find(client: &Client, name: &str) -> Result<Value, Error> {
    let roles = Api::<ClusterRole>::all(client.clone());
    let role = within(REQUEST_TIMEOUT, roles.get_opt(name))
        .await
        .map_err(|source| Error::Read { kind: "owner", source })?;
    // One that is being deleted takes nothing with it any more that comes now.
    let role = role.filter(|role| role.metadata.deletion_timestamp.is_none());
    let uid = role.and_then(|role| role.uid());
    uid.map(|uid| reference(name, &uid))
        .ok_or_else(|| Error::NoOwner(name.to_owned()))
}

/// Without `blockOwnerDeletion`, which would need the right to change the owner's finalizers.
fn reference(name: &str, uid: &str) -> Value {
    json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": name, "uid": uid })
}
