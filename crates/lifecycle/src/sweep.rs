//! Every kind of object that the API server knows, looked through for KOMPASS's own, and these deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::core::GroupVersion;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{Instant, sleep};

use crate::error::{chain, failed};
use crate::ours::{Object, is_ours, is_skipped, turn};
use crate::{Error, Tell};

/// Lists at once.
const AT_ONCE: usize = 8;
/// Between two looks whether what was deleted is gone.
const LOOK: Duration = Duration::from_millis(500);

/// An object of KOMPASS's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its kind.
    pub resource: ApiResource,
    /// Its namespace, where it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// A controller made it, and takes it away with its owner.
    pub has_controller: bool,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.resource.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Look {
    /// KOMPASS's objects, in the order in which they are to go.
    pub found: Vec<Found>,
    /// Kinds that could not be listed, and why.
    pub unseen: Vec<String>,
}

#[derive(Debug, Clone)]
struct Kind {
    resource: ApiResource,
    is_namespaced: bool,
}

/// Looks through every kind for objects of the install in `namespace`.
pub async fn look(client: &Client, namespace: &str) -> Result<Look, Error> {
    let (kinds, mut unseen) = kinds(client).await?;
    let mut found = Vec::new();
    let mut lists = stream::iter(kinds)
        .map(|kind| async move { (list(client, namespace, &kind).await, kind) })
        .buffer_unordered(AT_ONCE);
    while let Some((listed, kind)) = lists.next().await {
        match listed {
            Ok(objects) => found.extend(objects),
            // A kind that went with its definition, or that only looks like one.
            Err(error) if matches!(error.status(), Some(404 | 405)) => {}
            Err(error) => unseen.push(format!("{}: {}", kind.resource.plural, chain(&error))),
        }
    }
    found.sort_by_key(|one| {
        let ApiResource { group, plural, .. } = &one.resource;
        (turn(group, plural), one.to_string())
    });
    found.dedup();
    Ok(Look { found, unseen })
}

/// Deletes what is found, again and again, until nothing is left or `limit` has passed; then what is left.
pub async fn clear(client: &Client, namespace: &str, limit: Duration, tell: Tell<'_>) -> Result<Look, Error> {
    let started = Instant::now();
    let mut told = Vec::new();
    loop {
        let look = look(client, namespace).await?;
        if look.found.is_empty() || started.elapsed() >= limit {
            return Ok(look);
        }
        for one in look.found.iter().filter(|one| !one.has_controller) {
            if !told.contains(one) {
                tell(&format!("  deleting {one}"));
                told.push(one.clone());
            }
            delete(client, one).await?;
        }
        sleep(LOOK).await;
    }
}

async fn delete(client: &Client, one: &Found) -> Result<(), Error> {
    let api: Api<DynamicObject> = match &one.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &one.resource),
        None => Api::all_with(client.clone(), &one.resource),
    };
    match within(REQUEST_TIMEOUT, api.delete(&one.name, &DeleteParams::background())).await {
        Err(error) if error.status() != Some(404) => Err(failed("delete", format!("the {one}"))(error)),
        _ => Ok(()),
    }
}

async fn list(client: &Client, own: &str, kind: &Kind) -> Result<Vec<Found>, Error> {
    let ApiResource { group, plural, .. } = &kind.resource;
    let everywhere: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource);
    let mut wanted = Vec::new();
    if kind.is_namespaced {
        wanted.push((
            Api::namespaced_with(client.clone(), own, &kind.resource),
            ListParams::default(),
        ));
        for label in [
            "app.kubernetes.io/managed-by=kompass",
            "app.kubernetes.io/part-of=kompass",
        ] {
            wanted.push((everywhere.clone(), ListParams::default().labels(label)));
        }
    } else {
        wanted.push((everywhere, ListParams::default()));
    }
    let mut found = Vec::new();
    for (api, parameters) in wanted {
        let listed = within(REQUEST_TIMEOUT, api.list_metadata(&parameters))
            .await
            .map_err(failed("list", plural))?;
        for object in listed {
            let none = BTreeMap::new();
            let (name, namespace) = (object.name_any(), object.namespace());
            let known = Object {
                group,
                plural,
                namespace: namespace.as_deref(),
                name: &name,
                labels: object.metadata.labels.as_ref().unwrap_or(&none),
            };
            if is_ours(&known, own) {
                found.push(Found {
                    resource: kind.resource.clone(),
                    has_controller: object
                        .owner_references()
                        .iter()
                        .any(|owner| owner.controller == Some(true)),
                    namespace,
                    name,
                });
            }
        }
    }
    Ok(found)
}

/// Every kind that can be listed and deleted, in the version that its group prefers, and the groups that do not answer: one
/// broken API service must not keep anybody from going on.
async fn kinds(client: &Client) -> Result<(Vec<Kind>, Vec<String>), Error> {
    let core = within(REQUEST_TIMEOUT, client.list_core_api_resources("v1"))
        .await
        .map_err(failed("list", "the kinds of the core group"))?;
    let groups = within(REQUEST_TIMEOUT, client.list_api_groups())
        .await
        .map_err(failed("list", "the API groups"))?;
    let (mut lists, mut unseen) = (vec![core], Vec::new());
    for group in groups.groups {
        let preferred = group.preferred_version.or_else(|| group.versions.into_iter().next());
        let Some(version) = preferred.map(|version| version.group_version) else {
            continue;
        };
        match within(REQUEST_TIMEOUT, client.list_api_group_resources(&version)).await {
            Ok(list) => lists.push(list),
            Err(error) => unseen.push(format!("{version}: {}", chain(&error))),
        }
    }
    let mut kinds = Vec::new();
    for list in lists {
        let Ok(version) = list.group_version.parse::<GroupVersion>() else {
            continue;
        };
        for resource in list.resources {
            let can = |verb: &str| resource.verbs.iter().any(|known| known == verb);
            if resource.name.contains('/')
                || !can("list")
                || !can("delete")
                || is_skipped(&version.group, &resource.name)
            {
                continue;
            }
            kinds.push(Kind {
                resource: ApiResource::from_gvk_with_plural(&version.clone().with_kind(&resource.kind), &resource.name),
                is_namespaced: resource.namespaced,
            });
        }
    }
    Ok((kinds, unseen))
}
