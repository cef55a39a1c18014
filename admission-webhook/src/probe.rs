//! The self-probe: the API server is asked to call us, and says why it can't.
//!
//! A Lease is created as a dry run, so that nothing is stored, with a label that only the probe's own entry in the
//! registration matches. Our answer marks it: a Lease that comes back without the mark shows that the API server has
//! not read the registration yet.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kompass_service::body;
use kompass_service::readiness::Condition;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::registration::{PROBE_LABEL, PROBE_PATH};

/// Written on the Lease by our answer.
const MARK: &str = "kompass.dev/probed";
/// A review of a Lease without a spec.
const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// Between two probes once one went well.
const PERIOD: Duration = Duration::from_mins(5);
/// After one that failed. Probes are cheap, and pods wait for the first that goes well.
const RETRY: Duration = Duration::from_secs(1);

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the API server said.
    #[error("failed to be called by the API server")]
    Refused(#[source] RequestError),
    /// Nobody has answered.
    #[error("failed to be called by the API server: it has not read the registration yet")]
    Unmarked,
}

/// The route that answers.
pub(crate) fn router() -> Router {
    Router::new().route(PROBE_PATH, post(answer))
}

async fn answer(body: Body) -> Response {
    let read = timeout(Duration::from_secs(4), body::read(body, BODY_LIMIT_BYTES)).await;
    let review: Option<Value> = read
        .ok()
        .and_then(Result::ok)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let uid = review.as_ref().and_then(|review| review["request"]["uid"].as_str());
    let Some(uid) = uid else {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "not an AdmissionReview"})),
        )
            .into_response();
    };
    let patch = json!([{"op": "add", "path": "/metadata/annotations", "value": {MARK: "true"}}]);
    Json(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": uid,
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": STANDARD.encode(patch.to_string()),
        },
    }))
    .into_response()
}

/// Probes until `draining` is cancelled: after each change of what is registered (`in_force`), and now and then.
/// `reached` is met by the first probe that goes well, and told of later ones that don't: a webhook that takes itself
/// out of its Service could be reached by nobody.
pub(crate) async fn keep(
    client: Client,
    namespace: String,
    mut in_force: watch::Receiver<Option<String>>,
    reached: Condition,
    metrics: metrics::Webhook,
    draining: CancellationToken,
) {
    let leases = Api::<Lease>::namespaced(client, &namespace);
    let rounds = async {
        // An end: the service is ending.
        if in_force.wait_for(Option::is_some).await.is_err() {
            return std::future::pending().await;
        }
        loop {
            let probed = probe(&leases).await;
            metrics
                .probes
                .with([if probed.is_ok() { "ok" } else { "failed" }])
                .inc();
            let period = match probed {
                Ok(()) => {
                    reached.met();
                    PERIOD
                }
                Err(error) => {
                    let error = kompass_service::logging::chain(&error);
                    tracing::warn!(error, "the API server does not reach the webhook");
                    reached.concern(error);
                    RETRY
                }
            };
            tokio::select! {
                () = sleep(period) => {}
                Ok(()) = in_force.changed() => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = draining.cancelled() => {}
        () = rounds => {}
    }
}

/// Asks once.
pub(crate) async fn probe(leases: &Api<Lease>) -> Result<(), Error> {
    let lease = Lease {
        metadata: ObjectMeta {
            generate_name: Some("kompass-probe-".to_owned()),
            labels: Some([(PROBE_LABEL.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: None,
    };
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let created = within(REQUEST_TIMEOUT, leases.create(&parameters, &lease))
        .await
        .map_err(Error::Refused)?;
    if created.annotations().contains_key(MARK) {
        Ok(())
    } else {
        Err(Error::Unmarked)
    }
}
