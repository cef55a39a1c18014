//! The webhook's certificates: authorities in a Secret that all replicas share, a leaf of each replica's own.
//!
//! A new authority is first only trusted, and signs some time later: until then the API server has learnt of it, by the
//! registration that each replica keeps. Nothing is served that the API server does not trust yet.

mod authorities;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kompass_service::clock::Clock;
use kompass_service::readiness::Condition;
use kompass_service::tls::{self, Live, Subject, Validity};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::authorities::Authorities;
use crate::metrics;

/// Name of the Secret.
pub const SECRET: &str = "kompass-admission-webhook-ca";
const KEY: &str = "authorities.json";
/// Life of a leaf.
const LEAF_LIFE: Duration = Duration::from_hours(24 * 30);
/// Between two looks at the Secret. Short, since wall clocks jump and other replicas write.
const PERIOD: Duration = Duration::from_mins(5);
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Why certificates could not be brought up to date.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read the Secret {SECRET}")]
    Read(#[source] RequestError),
    #[error("failed to write the Secret {SECRET}")]
    Write(#[source] RequestError),
    #[error("failed to read what is in the Secret {SECRET}: delete it and it is made anew")]
    Content(#[source] authorities::Error),
    #[error("failed to make certificates")]
    Make(#[from] tls::Error),
}

/// Where the certificates go.
#[derive(Debug)]
pub struct Outlets {
    /// What the server shows.
    pub live: Arc<Live>,
    /// What the API server is to trust, as PEM.
    pub trust: watch::Sender<Option<String>>,
    /// Met with the first certificate.
    pub ready: Condition,
    /// What is counted.
    pub metrics: metrics::Webhook,
}

/// Keeps the certificates up to date until `draining` is cancelled.
pub async fn keep(
    client: Client,
    namespace: String,
    subjects: Vec<String>,
    clock: Clock,
    outlets: Outlets,
    draining: CancellationToken,
) {
    let api = Api::<Secret>::namespaced(client, &namespace);
    let subjects: Vec<Subject> = subjects.iter().map(|subject| subject.as_str().into()).collect();
    let mut shown: Option<(String, Validity)> = None;
    loop {
        let period = match renew(&api, &subjects, &clock, &outlets, &mut shown).await {
            Ok(()) => PERIOD,
            Err(error) => {
                let error = kompass_service::logging::chain(&error);
                tracing::warn!(error, namespace, "failed to keep the certificates up to date");
                RETRY
            }
        };
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            () = sleep(period) => {}
        }
    }
}

/// One round. `shown` is the authority that signed the leaf in use, and the leaf's validity.
async fn renew(
    api: &Api<Secret>,
    subjects: &[Subject],
    clock: &Clock,
    outlets: &Outlets,
    shown: &mut Option<(String, Validity)>,
) -> Result<(), Error> {
    let now_ms = clock.now_ms();
    let authorities = shared_authorities(api, now_ms).await?;
    let trust = authorities.trust(now_ms);
    outlets.trust.send_if_modified(|known| {
        let changed = known.as_ref() != Some(&trust);
        *known = Some(trust);
        changed
    });
    let signer = authorities.signer(now_ms);
    let current = shown
        .as_ref()
        .is_some_and(|(authority, validity)| *authority == signer.pair.certificate_pem && !validity.is_due(now_ms));
    if !current {
        let leaf = signer.issue(subjects, Validity::starting(now_ms, LEAF_LIFE))?;
        outlets.live.set(&leaf.certificate_pem, &leaf.key_pem)?;
        outlets
            .metrics
            .certificate_end
            .set((leaf.validity.not_after_ms / 1_000) as f64);
        tracing::info!(not_after_ms = leaf.validity.not_after_ms, "showing a new certificate");
        *shown = Some((signer.pair.certificate_pem.clone(), leaf.validity));
        outlets.ready.met();
    }
    Ok(())
}

/// The authorities that all replicas share, brought up to date. Whoever loses the race takes what the winner wrote.
async fn shared_authorities(api: &Api<Secret>, now_ms: u64) -> Result<Authorities, Error> {
    // Twice: to write, and to read what another wrote meanwhile. A third clash is left to the next round.
    let mut clash = None;
    for _ in 0..2 {
        let stored = within(REQUEST_TIMEOUT, api.get_opt(SECRET))
            .await
            .map_err(Error::Read)?;
        let data = stored
            .as_ref()
            .and_then(|secret| secret.data.as_ref())
            .and_then(|data| data.get(KEY));
        let known = data
            .map(|bytes| Authorities::from_json(&bytes.0))
            .transpose()
            .map_err(Error::Content)?;
        let (wanted, changed) = Authorities::renewed(known, now_ms)?;
        if !changed {
            return Ok(wanted);
        }
        let secret = secret(
            stored
                .as_ref()
                .and_then(|secret| secret.metadata.resource_version.clone()),
            &wanted,
        );
        let written = if stored.is_some() {
            within(REQUEST_TIMEOUT, api.replace(SECRET, &PostParams::default(), &secret)).await
        } else {
            within(REQUEST_TIMEOUT, api.create(&PostParams::default(), &secret)).await
        };
        match written {
            Ok(_) => return Ok(wanted),
            Err(error) if error.status() == Some(409) => clash = Some(error),
            Err(error) => return Err(Error::Write(error)),
        }
    }
    Err(Error::Write(clash.expect("the loop ends only with a clash")))
}

fn secret(resource_version: Option<String>, authorities: &Authorities) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            resource_version,
            labels: Some([("app.kubernetes.io/part-of".to_owned(), "kompass".to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(authorities.to_json()))])),
        ..Secret::default()
    }
}
