//! Reads the snapshot. What can't be read is noted, and the rest goes on.

mod admission;
mod certificates;
mod ends;
mod namespaces;

use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::sleep;

use super::rights::{self, Right};
use super::snapshot::{Container, LeaseSeen, NodeSeen, Part, RightSeen, Snapshot};
use crate::error::{chain, failed};
use crate::{Error, pending};

/// Requests at once.
const AT_ONCE: usize = 8;
/// A driver whose gate is open has its node by then.
const PLACED: Duration = Duration::from_secs(3);
/// Groups of others that place or hold gangs.
const OTHERS: [(&str, &str); 5] = [
    ("scheduling.volcano.sh", "Volcano"),
    ("kueue.x-k8s.io", "Kueue"),
    ("scheduling.x-k8s.io", "coscheduling of scheduler-plugins"),
    ("yunikorn.apache.org", "YuniKorn"),
    ("scheduling.koordinator.sh", "Koordinator"),
];

/// Reads everything. Nothing is changed: what is tried is a dry run.
///
/// # Errors
/// The API server does not even tell its version.
pub async fn read(client: &Client, namespace: &str) -> Result<Snapshot, Error> {
    let version = within(REQUEST_TIMEOUT, client.apiserver_version())
        .await
        .map_err(failed("read", "the version of the API server"))?;
    let number = |text: &str| text.trim_end_matches('+').parse().unwrap_or(0);
    let mut snapshot = Snapshot {
        now_ms: jiff::Timestamp::now().as_millisecond(),
        namespace: namespace.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        server: (number(&version.major), number(&version.minor)),
        ..Snapshot::default()
    };
    let mut unread = Vec::new();
    let mut note = |check: &'static str, error: Error| unread.push((check, chain(&error)));
    match parts(client, namespace).await {
        Ok(parts) => snapshot.parts = parts,
        Err(error) => note("deployments", error),
    }
    match leases(client, namespace).await {
        Ok(leases) => snapshot.leases = leases,
        Err(error) => note("leases", error),
    }
    match gangs(client).await {
        Ok((pending, unplaced)) => (snapshot.pending, snapshot.unplaced) = (pending, unplaced),
        Err(error) => note("gangs", error),
    }
    match nodes(client).await {
        Ok(nodes) => snapshot.nodes = nodes,
        Err(error) => note("platform", error),
    }
    match others(client).await {
        Ok(others) => snapshot.others = others,
        Err(error) => note("platform", error),
    }
    match ends::read(client, namespace, snapshot.now_ms).await {
        Ok(overdue) => snapshot.overdue = overdue,
        Err(error) => note("ends", error),
    }
    if let Err(error) = admission::read(client, &mut snapshot).await {
        note("registration", error);
    }
    if let Err(error) = admission::policy(client, &mut snapshot).await {
        note("admission-policy", error);
    }
    if let Err(error) = namespaces::read(client, &mut snapshot).await {
        note("namespaces", error);
    }
    match namespaces::quotas(client, &snapshot).await {
        Ok(quotas) => snapshot.quotas = quotas,
        Err(error) => note("quotas", error),
    }
    let is_labelled = snapshot.registration.as_ref().is_some_and(|known| known.is_labelled);
    snapshot.rights = allowed(client, namespace, is_labelled).await;
    snapshot.unread = unread;
    Ok(snapshot)
}

async fn parts(client: &Client, namespace: &str) -> Result<Vec<Part>, Error> {
    let all: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let all = within(REQUEST_TIMEOUT, all.list(&ListParams::default()))
        .await
        .map_err(failed("list", format!("the Deployments of namespace {namespace}")))?;
    Ok(all.into_iter().filter_map(part).collect())
}

fn part(deployment: Deployment) -> Option<Part> {
    let name = deployment.name_any();
    let component = deployment.labels().get("app.kubernetes.io/component")?.clone();
    if !name.contains("kompass") {
        return None;
    }
    let spec = deployment.spec?;
    let containers = spec.template.spec.map(|spec| spec.containers).unwrap_or_default();
    let containers = containers.into_iter().map(|container| {
        let arguments = container.args.unwrap_or_default();
        let mode = |env: &k8s_openapi::api::core::v1::EnvVar| {
            env.name == "KOMPASS_MODE" && env.value.as_deref() == Some("shadow")
        };
        Container {
            image: container.image.unwrap_or_default(),
            shadow: arguments.join("=").contains("--mode=shadow") || container.env.iter().flatten().any(mode),
        }
    });
    Some(Part {
        component,
        wanted: spec.replicas.unwrap_or(1),
        ready: deployment.status.and_then(|status| status.ready_replicas).unwrap_or(0),
        containers: containers.collect(),
        name,
    })
}

async fn leases(client: &Client, namespace: &str) -> Result<Vec<LeaseSeen>, Error> {
    let all: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let all = within(REQUEST_TIMEOUT, all.list(&ListParams::default()))
        .await
        .map_err(failed("list", format!("the leases of namespace {namespace}")))?;
    let seen = |lease: Lease| {
        let name = lease.name_any();
        let spec = lease.spec.unwrap_or_default();
        LeaseSeen {
            name,
            holder: spec.holder_identity.unwrap_or_default(),
            renewed_ms: spec.renew_time.map(|time| time.0.as_millisecond()),
            lasts_ms: i64::from(spec.lease_duration_seconds.unwrap_or(0)) * 1_000,
        }
    };
    Ok(all.into_iter().map(seen).collect())
}

/// What waits, and the drivers with an open gate that also had no node a moment later.
async fn gangs(client: &Client) -> Result<(Vec<pending::Pending>, Vec<String>), Error> {
    let first = pending::list(client).await?;
    let is_open = |pod: &pending::Pending| pod.gate.is_none() && pod.role == "driver";
    if !first.iter().any(is_open) {
        return Ok((first, Vec::new()));
    }
    sleep(PLACED).await;
    let second = pending::list(client).await?;
    let stays = |pod: &&pending::Pending| is_open(pod) && first.iter().any(|old| is_open(old) && old.uid == pod.uid);
    let unplaced = second.iter().filter(stays);
    let unplaced = unplaced.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    Ok((second, unplaced))
}

async fn nodes(client: &Client) -> Result<Vec<NodeSeen>, Error> {
    let all: Api<Node> = Api::all(client.clone());
    let all = within(REQUEST_TIMEOUT, all.list(&ListParams::default()))
        .await
        .map_err(failed("list", "the nodes"))?;
    let seen = |node: Node| NodeSeen {
        name: node.name_any(),
        labels: node.metadata.labels.unwrap_or_default(),
        provider_id: node.spec.and_then(|spec| spec.provider_id).unwrap_or_default(),
    };
    Ok(all.into_iter().map(seen).collect())
}

async fn others(client: &Client) -> Result<Vec<String>, Error> {
    let groups = within(REQUEST_TIMEOUT, client.list_api_groups())
        .await
        .map_err(failed("list", "the API groups"))?;
    let served = |name: &str| groups.groups.iter().any(|group| group.name == name);
    let found = OTHERS.iter().filter(|(group, _)| served(group));
    Ok(found.map(|(_, name)| (*name).to_owned()).collect())
}

/// Asks whether the services may do what they need. Rights by namespace are asked for each namespace instead.
async fn allowed(client: &Client, namespace: &str, is_labelled: bool) -> Vec<RightSeen> {
    let wanted = rights::all()
        .into_iter()
        .filter(|right| !(is_labelled && right.by_namespace));
    stream::iter(wanted)
        .map(|right| async move {
            let place = if right.own { namespace } else { "" };
            RightSeen {
                text: format!("{} lacks {right}", right.account.name()),
                allowed: may(client, namespace, &right, place).await.ok(),
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

/// Whether the service of the install in `own` may do something, in one namespace or, with none, in all.
async fn may(client: &Client, own: &str, right: &Right, namespace: &str) -> Result<bool, Error> {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
    let review = json!({
        "spec": {
            "user": format!("system:serviceaccount:{own}:{}", right.account.name()),
            "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{own}"), "system:authenticated"],
            "resourceAttributes": {
                "group": right.group, "resource": resource, "subresource": subresource, "name": right.name,
                "verb": right.verb, "namespace": namespace,
            },
        },
    });
    let review: SubjectAccessReview = serde_json::from_value(review).unwrap_or_default();
    let all: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = within(REQUEST_TIMEOUT, all.create(&PostParams::default(), &review))
        .await
        .map_err(failed("ask", format!("whether {} may {right}", right.account.name())))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
