//! The namespaces that are in scope: whether the webhook may work there, and their quotas.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceQuota;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::may;
use crate::Error;
use crate::doctor::rights;
use crate::doctor::snapshot::{QuotaSeen, Snapshot};
use crate::error::failed;

/// With `--scope labelled` asks for each labelled namespace whether the webhook may do there what it must.
pub(super) async fn read(client: &Client, snapshot: &mut Snapshot) -> Result<(), Error> {
    if !snapshot.registration.as_ref().is_some_and(|known| known.is_labelled) {
        return Ok(());
    }
    let needed: Vec<_> = rights::all().into_iter().filter(|right| right.by_namespace).collect();
    for namespace in &mut snapshot.namespaces {
        if namespace.enabled.as_deref() != Some("true") {
            continue;
        }
        let mut all = true;
        for right in &needed {
            all &= may(client, &snapshot.namespace, right, &namespace.name).await?;
        }
        namespace.allowed = Some(all);
    }
    Ok(())
}

pub(super) async fn quotas(client: &Client, snapshot: &Snapshot) -> Result<Vec<QuotaSeen>, Error> {
    let all: Api<ResourceQuota> = Api::all(client.clone());
    let all = within(REQUEST_TIMEOUT, all.list(&ListParams::default()))
        .await
        .map_err(failed("list", "the quotas"))?;
    let in_scope = |name: &str| {
        let waits = snapshot.pending.iter().any(|pod| pod.namespace == name);
        waits || snapshot.namespaces.iter().any(|namespace| namespace.name == name)
    };
    let seen = |quota: ResourceQuota| {
        let (namespace, name) = (quota.namespace().unwrap_or_default(), quota.name_any());
        let status = quota.status.unwrap_or_default();
        let used = status.used.unwrap_or_default();
        let hard = status.hard.unwrap_or_default().into_iter();
        let amounts: BTreeMap<_, _> = hard
            .filter_map(|(resource, hard)| {
                let used = used.get(&resource)?.0.clone();
                Some((resource, (hard.0, used)))
            })
            .collect();
        QuotaSeen {
            namespace,
            name,
            amounts,
        }
    };
    Ok(all
        .into_iter()
        .map(seen)
        .filter(|quota| in_scope(&quota.namespace))
        .collect())
}
