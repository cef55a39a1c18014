//! Pods that have no node yet and that KOMPASS has something to do with.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_kube::{object, patch};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::error::{chain, failed};

/// Pods of one page of a list.
const PAGE: u32 = 500;
/// Requests at once.
const AT_ONCE: usize = 16;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// A pod without a node that waits behind KOMPASS's gate or for KOMPASS's scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// `driver`, `executor`, or empty.
    pub role: String,
    /// Where KOMPASS's gate stands among its gates, if it does.
    pub gate: Option<usize>,
    /// It names KOMPASS's scheduler.
    pub ours: bool,
    /// A profile is written on it.
    pub has_profile: bool,
    /// A plan is written on it.
    pub has_plan: bool,
    /// When it was created.
    pub created_ms: i64,
}

impl Pending {
    /// `None` for a pod that has a node, has ended, is on its way out, or has nothing to do with KOMPASS.
    pub fn of(pod: &object::Pod) -> Option<Self> {
        let gate = pod
            .spec
            .scheduling_gates
            .iter()
            .position(|gate| gate.name == names::GANG_GATE);
        let ours = pod.spec.scheduler_name == names::SCHEDULER;
        let is_waiting = pod.spec.node_name.is_empty()
            && matches!(pod.status.phase.as_str(), "" | "Pending")
            && pod.metadata.deletion_timestamp.is_none();
        if !is_waiting || (gate.is_none() && !ours) {
            return None;
        }
        let has = |key: &str| {
            let annotations = pod.metadata.annotations.as_ref();
            annotations.is_some_and(|all| all.contains_key(key))
        };
        let labels = pod.metadata.labels.as_ref();
        Some(Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            role: labels
                .and_then(|all| all.get(names::SPARK_ROLE_LABEL))
                .cloned()
                .unwrap_or_default(),
            gate,
            ours,
            has_profile: has(names::PROFILE_ANNOTATION),
            has_plan: has(names::PLAN_ANNOTATION),
            created_ms: pod
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(0, |time| time.0.as_millisecond()),
        })
    }
}

/// All of them, of every namespace.
pub async fn list(client: &Client) -> Result<Vec<Pending>, Error> {
    let pods: Api<object::Pod> = Api::all(client.clone());
    let mut parameters = ListParams::default()
        .fields("spec.nodeName=,status.phase=Pending")
        .limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = within(REQUEST_TIMEOUT, pods.list(&parameters))
            .await
            .map_err(failed("list", "pods that wait"))?;
        found.extend(page.items.iter().filter_map(Pending::of));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// What came of lifting gates.
#[derive(Debug, Default)]
pub struct Lifted {
    /// So many gates were lifted.
    pub gates: usize,
    /// Those that could not be, and why.
    pub failed: BTreeMap<String, String>,
}

/// Lifts KOMPASS's gate from every pod that has it, until none has come for `quiet`: the API servers go on calling the webhook
/// for a moment after its configuration has changed. Gates of others stay. After `limit` it ends in any case.
pub async fn lift_all(client: &Client, quiet: Duration, limit: Duration) -> Result<Lifted, Error> {
    let (mut lifted, started) = (Lifted::default(), Instant::now());
    let mut last = started;
    loop {
        let gated: Vec<_> = list(client)
            .await?
            .into_iter()
            .filter(|pod| pod.gate.is_some())
            .collect();
        if !gated.is_empty() {
            last = Instant::now();
        }
        let mut results = stream::iter(gated)
            .map(|pod| async move { (lift(client, &pod).await, format!("{}/{}", pod.namespace, pod.name)) })
            .buffer_unordered(AT_ONCE);
        while let Some((result, name)) = results.next().await {
            match result {
                Ok(()) => {
                    lifted.failed.remove(&name);
                    lifted.gates += 1;
                }
                // Seen again in the next look, or gone.
                Err(patch::Error::Changed(_) | patch::Error::Gone(_)) => {
                    lifted.failed.remove(&name);
                }
                Err(error) => {
                    lifted.failed.insert(name, chain(&error));
                }
            }
        }
        if last.elapsed() >= quiet || started.elapsed() >= limit {
            return Ok(lifted);
        }
        sleep(LOOK).await;
    }
}

async fn lift(client: &Client, pod: &Pending) -> Result<(), patch::Error> {
    let Some(index) = pod.gate else { return Ok(()) };
    let gate = format!("/spec/schedulingGates/{index}");
    let operations = patch::Operations::new()
        .test("/metadata/uid", pod.uid.as_str())
        .test(&format!("{gate}/name"), names::GANG_GATE)
        .remove(&gate);
    let pods: Api<object::Pod> = Api::namespaced(client.clone(), &pod.namespace);
    patch::send(&pods, &pod.name, &operations, REQUEST_TIMEOUT)
        .await
        .map(drop)
}

/// Waits until no pod without a node names KOMPASS's scheduler; what is left at `limit`. `changed` is told each new number.
pub async fn until_placed(client: &Client, limit: Duration, changed: impl Fn(usize)) -> Result<Vec<Pending>, Error> {
    let (started, mut told) = (Instant::now(), None);
    loop {
        let left: Vec<_> = list(client).await?.into_iter().filter(|pod| pod.ours).collect();
        if told != Some(left.len()) {
            told = Some(left.len());
            changed(left.len());
        }
        if left.is_empty() || started.elapsed() >= limit {
            return Ok(left);
        }
        sleep(LOOK).await;
    }
}

/// Deletes these pods, if they are still the same and without a node as far as is known.
pub async fn delete(client: &Client, pods: &[Pending]) -> Result<(), Error> {
    for pod in pods {
        let api: Api<object::Pod> = Api::namespaced(client.clone(), &pod.namespace);
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match within(REQUEST_TIMEOUT, api.delete(&pod.name, &parameters)).await {
            Err(error) if !matches!(error.status(), Some(404 | 409)) => {
                return Err(failed("delete", format!("the pod {}/{}", pod.namespace, pod.name))(
                    error,
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: &serde_json::Value, status: &serde_json::Value) -> object::Pod {
        serde_json::from_value(json!({
            "metadata": { "namespace": "etl", "name": "a-driver", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "spark-role": "driver" }, "annotations": { "kompass.dev/job-profile": "{}" } },
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn what_waits_for_kompass_is_told_from_all_else() {
        let two = json!([{ "name": "kueue.x-k8s.io/admission" }, { "name": "kompass.dev/gang" }]);
        let (none, pending) = (json!({}), json!({ "phase": "Pending" }));
        let gated = json!({ "schedulerName": "kompass", "schedulingGates": two });
        let gated = Pending::of(&pod(&gated, &pending)).unwrap();
        assert_eq!((gated.gate, gated.ours, gated.role.as_str()), (Some(1), true, "driver"));
        assert!(gated.has_profile && !gated.has_plan && gated.created_ms == 1_767_225_600_000);
        let open = Pending::of(&pod(&json!({ "schedulerName": "kompass" }), &none)).unwrap();
        assert_eq!(open.gate, None);
        // Another webhook has given it to another scheduler after ours.
        let taken = json!({ "schedulerName": "x", "schedulingGates": two });
        assert!(!Pending::of(&pod(&taken, &pending)).unwrap().ours);
        for (spec, status) in [
            (json!({ "schedulerName": "default-scheduler" }), &pending),
            (json!({ "schedulerName": "kompass", "nodeName": "n" }), &pending),
            (json!({ "schedulerName": "kompass" }), &json!({ "phase": "Failed" })),
        ] {
            assert_eq!(Pending::of(&pod(&spec, status)), None);
        }
    }
}
