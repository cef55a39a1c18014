//! What should have ended by now: stand-ins, markers, and what holds nodes.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_kube::{buffers, pause};
use kube::api::{DynamicObject, ListParams};
use kube::core::ObjectMeta;
use kube::{Api, Client};

use crate::Error;
use crate::doctor::snapshot::Overdue;
use crate::error::failed;

/// Controllers and the extender's leader look now and then.
const GRACE_MS: i64 = 180_000;

pub(super) async fn read(client: &Client, namespace: &str, now_ms: i64) -> Result<Vec<Overdue>, Error> {
    let mut overdue = Vec::new();
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    for label in [names::STAND_IN_LABEL, names::HEADROOM_LABEL] {
        let listed = within(REQUEST_TIMEOUT, jobs.list(&ListParams::default().labels(label)))
            .await
            .map_err(failed("list", "the Jobs of pause pods"))?;
        for job in listed.items.iter().filter(|job| !pause::has_ended(job)) {
            let deadline_s = job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
            let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
            let started_ms = started.map(|time| time.0.as_millisecond());
            let end_ms = started_ms
                .zip(deadline_s)
                .map(|(from_ms, life_s)| from_ms + life_s * 1_000);
            overdue.extend(late("Job", &job.metadata, end_ms, now_ms));
        }
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let markers = within(
        REQUEST_TIMEOUT,
        pods.list(&ListParams::default().labels(names::MARKER_LABEL)),
    )
    .await
    .map_err(failed("list", "the markers"))?;
    for pod in &markers {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let life_s = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        let created_ms = pod
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0.as_millisecond());
        if !matches!(phase, Some("Succeeded" | "Failed")) {
            let end_ms = created_ms.zip(life_s).map(|(from_ms, life_s)| from_ms + life_s * 1_000);
            overdue.extend(late("Pod", &pod.metadata, end_ms, now_ms));
        }
    }
    let served = buffers::served(client, REQUEST_TIMEOUT)
        .await
        .map_err(failed("look for", "capacity buffers"))?;
    if let Some(resource) = served {
        let all: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let listed = within(
            REQUEST_TIMEOUT,
            all.list_metadata(&ListParams::default().labels(names::HEADROOM_LABEL)),
        )
        .await
        .map_err(failed("list", "the capacity buffers"))?;
        for object in &listed {
            let stamp = object.metadata.annotations.as_ref();
            let stamp = stamp.and_then(|all| all.get(names::EXPIRES_ANNOTATION)?.parse::<Timestamp>().ok());
            let end_ms = stamp.map(Timestamp::as_millisecond);
            overdue.extend(late(buffers::KIND, &object.metadata, end_ms, now_ms));
        }
    }
    Ok(overdue)
}

fn late(kind: &str, metadata: &ObjectMeta, end_ms: Option<i64>, now_ms: i64) -> Option<Overdue> {
    let by_ms = now_ms - end_ms?;
    let name = metadata.name.as_deref().unwrap_or_default();
    (by_ms > GRACE_MS).then(|| Overdue {
        object: format!("{kind} {name}"),
        by_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_its_end_by_more_than_the_grace_is_late() {
        let metadata = ObjectMeta {
            name: Some("x".into()),
            ..ObjectMeta::default()
        };
        let late = |end_ms, now_ms| late("Job", &metadata, end_ms, now_ms).map(|one| (one.object, one.by_ms));
        assert_eq!(late(None, i64::MAX), None);
        assert_eq!(late(Some(0), GRACE_MS), None);
        assert_eq!(late(Some(0), GRACE_MS + 1), Some(("Job x".into(), GRACE_MS + 1)));
    }
}
