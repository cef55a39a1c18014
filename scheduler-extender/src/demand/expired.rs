//! Removes what holds empty nodes past its time. The predictor renews what it holds and removes what it does not want any
//! more; this is for when it is gone.

use std::collections::BTreeSet;
use std::fmt::Debug;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodTemplate;
use kompass_core::names;
use kompass_kube::buffers;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kompass_service::logging;
use kube::api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, Preconditions};
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use super::{Error, failed};

/// The predictor may be about to renew it.
const GRACE: SignedDuration = SignedDuration::from_mins(1);

/// Looks through KOMPASS's own namespace.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Kinds of which a missing right was told; once each is enough.
    told: BTreeSet<String>,
}

impl Sweep {
    /// Removes Jobs, capacity buffers and pod templates whose stamp is past, as long as `leads`.
    pub(super) async fn run(
        &mut self,
        client: &Client,
        namespace: &str,
        now: Timestamp,
        leads: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        // One kind that can't be removed keeps no other.
        let jobs = self.remove("jobs", &jobs, now, &leads).await;
        // Where there are no capacity buffers nobody needs rights on them.
        let served = buffers::served(client, REQUEST_TIMEOUT).await;
        if let Some(resource) = served.map_err(|source| failed("find", buffers::PLURAL, source))? {
            let all: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            let buffers = self.remove(buffers::PLURAL, &all, now, &leads).await;
            let templates: Api<PodTemplate> = Api::namespaced(client.clone(), namespace);
            self.remove("podtemplates", &templates, now, &leads).await?;
            buffers?;
        }
        jobs
    }

    async fn remove<K: DeserializeOwned + Clone + Debug>(
        &mut self,
        what: &str,
        api: &Api<K>,
        now: Timestamp,
        leads: &impl Fn() -> bool,
    ) -> Result<(), Error> {
        let held = ListParams::default().labels(names::HEADROOM_LABEL);
        let listed = match within(REQUEST_TIMEOUT, api.list_metadata(&held)).await {
            Ok(listed) => listed,
            Err(error) => return self.unless_forbidden("list", what, error),
        };
        let mut first = Ok(());
        for metadata in listed.into_iter().map(|object| object.metadata) {
            if !is_expired(&metadata, now) || !leads() {
                continue;
            }
            let name = metadata.name.unwrap_or_default();
            tracing::info!(name, what, "removing what holds nodes past its time");
            let parameters = DeleteParams {
                // Not if it was renewed since.
                preconditions: Some(Preconditions {
                    uid: metadata.uid,
                    resource_version: metadata.resource_version,
                }),
                ..DeleteParams::background()
            };
            match within(REQUEST_TIMEOUT, api.delete(&name, &parameters)).await {
                Err(error) if !matches!(error.status(), Some(404 | 409)) => {
                    // Nor does one object keep the others.
                    let told = self.unless_forbidden("delete", what, error);
                    first = first.and(told);
                }
                _ => {}
            }
        }
        first
    }

    fn unless_forbidden(&mut self, verb: &'static str, what: &str, error: RequestError) -> Result<(), Error> {
        if error.status() != Some(403) {
            return Err(failed(verb, what, error));
        }
        if self.told.insert(what.to_owned()) {
            tracing::warn!(
                error = logging::chain(&error),
                "nodes may stay held when the predictor is gone: give the extender's Role list and delete on {what}"
            );
        }
        Ok(())
    }
}

/// Whether its stamp is past, or can't be read: then nothing else would end it.
fn is_expired(metadata: &ObjectMeta, now: Timestamp) -> bool {
    let annotations = metadata.annotations.as_ref();
    let stamp = annotations.and_then(|all| all.get(names::EXPIRES_ANNOTATION));
    let expires = stamp.and_then(|stamp| stamp.parse::<Timestamp>().ok());
    metadata.deletion_timestamp.is_none() && expires.is_none_or(|expires| now.duration_since(expires) > GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_its_stamp_by_a_minute_or_has_none_is_removed() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        for (stamp, expected) in [
            (Some("2026-01-01T00:08:59Z"), true),
            (Some("2026-01-01T00:09:00Z"), false),
            (Some("2026-01-01T00:20:00Z"), false),
            (Some("tomorrow"), true),
            (None, true),
        ] {
            let mut metadata = ObjectMeta {
                annotations: stamp.map(|stamp| [("kompass.dev/expires".to_owned(), stamp.to_owned())].into()),
                ..ObjectMeta::default()
            };
            assert_eq!(is_expired(&metadata, now), expected, "{stamp:?}");
            metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            assert!(!is_expired(&metadata, now));
        }
    }

    #[tokio::test]
    async fn a_missing_right_is_no_error_and_told_once() {
        let client = crate::fake::client_with(403, "Forbidden");
        let jobs: Api<Job> = Api::namespaced(client, "kompass");
        let mut sweep = Sweep::default();
        for _ in 0..2 {
            sweep
                .remove("jobs", &jobs, Timestamp::UNIX_EPOCH, &|| true)
                .await
                .unwrap();
            assert!(
                sweep.told.contains("jobs") && sweep.told.len() == 1,
                "of this kind alone"
            );
        }
        let client = crate::fake::client_with(500, "InternalError");
        let jobs: Api<Job> = Api::namespaced(client, "kompass");
        let error = sweep.remove("jobs", &jobs, Timestamp::UNIX_EPOCH, &|| true).await;
        assert_eq!(error.unwrap_err().to_string(), "failed to list jobs");
    }
}
