//! Certificates of our own: authorities in a Secret that all replicas share, a leaf of each replica's own.
//!
//! A new authority is first only trusted, and signs some time later: until then the API server has learnt of it, by the
//! registration that each replica keeps.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_service::tls::Validity;
use kube::Api;
use kube::api::PostParams;

use super::authorities::Authorities;
use super::{Error, PERIOD, Place, SECRET, Shown, Trust};

const KEY: &str = "authorities.json";
/// Life of a leaf.
const LEAF_LIFE: Duration = Duration::from_hours(24 * 30);

#[derive(Default)]
pub(super) struct SelfMade {
    /// The authorities last seen: a Secret that is deleted comes back as it was, or what is shown would lose its trust.
    held: Option<Authorities>,
    /// The authority that signed the leaf in use, and the leaf's validity.
    leaf: Option<(String, Validity)>,
}

impl SelfMade {
    /// One round; returns the time until the next.
    pub(super) async fn renew(&mut self, place: &Place, shown: &mut Shown) -> Result<Duration, Error> {
        let now_ms = place.clock.now_ms();
        let authorities = self.shared_authorities(&place.api, now_ms).await?;
        shown.trust(Trust::Bundle(authorities.trust(now_ms)));
        let signer = authorities.signer(now_ms);
        let certificate = &signer.pair.certificate_pem;
        let is_current = self
            .leaf
            .as_ref()
            .is_some_and(|(authority, validity)| authority == certificate && !validity.is_due(now_ms));
        if !is_current {
            let leaf = signer.issue(&place.subjects, Validity::starting(now_ms, LEAF_LIFE))?;
            let end_ms = leaf.validity.not_after_ms;
            shown
                .show(&leaf.certificate_pem, &leaf.key_pem, certificate, end_ms)
                .await?;
            self.leaf = Some((certificate.clone(), leaf.validity));
        }
        shown.well();
        Ok(PERIOD)
    }

    /// The authorities that all replicas share, brought up to date. Whoever loses the race takes what the winner wrote.
    async fn shared_authorities(&mut self, api: &Api<Secret>, now_ms: u64) -> Result<Authorities, Error> {
        // Twice: to write, and to read what another wrote meanwhile. A third clash is left to the next round.
        let mut clash = None;
        for _ in 0..2 {
            let stored = within(REQUEST_TIMEOUT, api.get_opt(SECRET))
                .await
                .map_err(|source| Error::Read {
                    name: SECRET.to_owned(),
                    source,
                })?;
            let data = stored
                .as_ref()
                .and_then(|secret| secret.data.as_ref())
                .and_then(|data| data.get(KEY));
            let known = data
                .map(|bytes| Authorities::from_json(&bytes.0))
                .transpose()
                .map_err(Error::Content)?;
            let is_stored = known.is_some();
            let (wanted, changed) = Authorities::renewed(known.or_else(|| self.held.clone()), now_ms)?;
            self.held = Some(wanted.clone());
            if is_stored && !changed {
                return Ok(wanted);
            }
            let is_there = stored.is_some();
            let secret = secret(stored, &wanted);
            let written = if is_there {
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
}

/// The Secret with these authorities. One that is there keeps all else: an install may have made it, empty.
fn secret(stored: Option<Secret>, authorities: &Authorities) -> Secret {
    let mut secret = stored.unwrap_or_else(|| Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some([("app.kubernetes.io/part-of".to_owned(), "kompass".to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    });
    let authorities = ByteString(authorities.to_json());
    secret.data.get_or_insert_default().insert(KEY.to_owned(), authorities);
    secret
}
