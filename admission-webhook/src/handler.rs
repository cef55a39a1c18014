//! The endpoint that the API server calls: `POST /mutate`.
//!
//! Fail direction: a review is always answered, in time, with "allowed"; only what is no review at all gets an error
//! (and the registration says that an error means "admit").

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{StatusCode, header};
use kompass_core::{Pod, Role};
use kompass_service::body;
use kompass_service::clock::Clock;
use kompass_spark::{DriverPod, profile_key, role};
use serde_json::Value;
use tokio::time::timeout;

use crate::admit::{self, Gang, Mode, Outcome, Rules, Verdict};
use crate::gangs::Gangs;
use crate::metrics;
use crate::review::{self, Request};
use crate::strangers::{Stranger, Strangers};

/// A review holds at most two objects of etcd's 1.5 MiB.
const BODY_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// For a whole review, below the 2 s after which the API server goes on without us.
const DEADLINE: Duration = Duration::from_millis(1_500);
/// For reading one driver that the watch has not shown.
const LOOKUP_LIMIT: Duration = Duration::from_millis(300);

/// Reads single drivers from the API server.
pub trait Lookup: Send + Sync {
    /// The pod of that name: `Ok(None)` if there is none.
    fn driver<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Pod>, LookupError>>;
}

/// The API server could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the driver")]
pub struct LookupError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What the handler needs.
pub struct Admission {
    /// Settings.
    pub rules: Rules,
    /// Whether decisions take effect.
    pub mode: Mode,
    /// The gangs known.
    pub gangs: Arc<Gangs>,
    /// For drivers that are not known.
    pub lookup: Box<dyn Lookup>,
    /// Owners that were found to be no drivers.
    pub strangers: Strangers,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: metrics::Webhook,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// The routes.
pub fn router(admission: Arc<Admission>) -> Router {
    Router::new().route("/mutate", post(mutate)).with_state(admission)
}

async fn mutate(State(admission): State<Arc<Admission>>, body: Body) -> Response {
    let timer = admission.metrics.seconds.start_timer();
    let read = async {
        let bytes = body::read(body, BODY_LIMIT_BYTES).await.map_err(|error| match error {
            body::Error::TooLarge { .. } => refusal(StatusCode::PAYLOAD_TOO_LARGE, &error),
            body::Error::Read(_) => refusal(StatusCode::BAD_REQUEST, &error),
        })?;
        review::parse(&bytes).map_err(|error| refusal(StatusCode::BAD_REQUEST, &error))
    };
    let request = match timeout(DEADLINE, read).await {
        Ok(Ok(request)) => request,
        Ok(Err(refusal)) => {
            admission.metrics.refused.inc();
            timer.discard();
            return refusal;
        }
        Err(_elapsed) => {
            admission.metrics.refused.inc();
            return (
                StatusCode::REQUEST_TIMEOUT,
                axum::Json(serde_json::json!({"error": "body not sent in time"})),
            )
                .into_response();
        }
    };
    let uid = request.uid.clone();
    let decided = timeout(DEADLINE, AssertUnwindSafe(admission.decide(request)).catch_unwind()).await;
    let verdict = decided.ok().and_then(Result::ok).unwrap_or_else(|| {
        tracing::error!(uid, "a review failed, the pod is admitted unchanged");
        admission.metrics.reviews.with(["other", "failed"]).inc();
        let mut verdict = Verdict::unchanged(Outcome::NotOurs);
        if admission.mode == Mode::Enforce {
            let text = "kompass: internal error, the pod is admitted unchanged";
            verdict.warnings.push(text.to_owned());
        }
        verdict
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        review::answer(&uid, &verdict),
    )
        .into_response()
}

/// An error with its reason, as JSON.
fn refusal(status: StatusCode, error: &dyn std::error::Error) -> Response {
    let text = kompass_service::logging::chain(error);
    tracing::warn!(error = text, "refused a request");
    (status, axum::Json(serde_json::json!({ "error": text }))).into_response()
}

impl Admission {
    /// Decides about one review.
    pub async fn decide(&self, request: Request) -> Verdict {
        let Request {
            uid: _,
            namespace,
            dry_run,
            pod,
        } = request;
        let Some(pod) = pod else {
            self.metrics.reviews.with(["other", Outcome::NotOurs.as_str()]).inc();
            return Verdict::unchanged(Outcome::NotOurs);
        };
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let (role, verdict) = match role::of(&pod) {
            Some(Role::Driver) => {
                let key = DriverPod::from_json(&pod).map(|driver| profile_key::of(&namespace, &driver));
                ("driver", admit::driver(pod, &key.unwrap_or_default(), &self.rules))
            }
            Some(Role::Executor) => ("executor", self.executor(pod, &namespace, &name, dry_run).await),
            None => ("other", admit::other(pod)),
        };
        let outcome = verdict.outcome.as_str();
        let (counted, message) = match self.mode {
            Mode::Enforce => (outcome, "admitted"),
            Mode::Shadow => ("shadow", "admitted unchanged, in shadow mode"),
        };
        self.metrics.reviews.with([role, counted]).inc();
        tracing::info!(
            namespace,
            pod = name,
            role,
            outcome,
            manager = verdict.manager,
            dry_run,
            "{message}"
        );
        match self.mode {
            Mode::Enforce => verdict,
            Mode::Shadow => {
                self.metrics.shadow.with([role, outcome]).inc();
                Verdict::unchanged(verdict.outcome)
            }
        }
    }

    async fn executor(&self, pod: Value, namespace: &str, name: &str, dry_run: bool) -> Verdict {
        let now_ms = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let owner = self.owner(&pod, namespace);
        let leader = match &owner {
            None => Leader::Nobody,
            Some((driver, uid)) => match self.gangs.view(namespace, name, uid, now_ms) {
                Some(gang) => Leader::Driver(gang),
                None => self.look_up(namespace, driver, uid, now_ms).await,
            },
        };
        let leader = match (self.mode, leader) {
            (Mode::Shadow, Leader::Driver(gang)) => Leader::Driver(self.as_if_taken(gang)),
            (_, leader) => leader,
        };
        let verdict = match &leader {
            Leader::Driver(gang) => admit::executor(pod, Some(gang), &self.rules),
            Leader::Gone => admit::executor(pod, None, &self.rules),
            Leader::Nobody => {
                let key = profile_key::of_client(namespace, &pod);
                admit::client_executor(pod, key.as_deref(), &self.rules)
            }
        };
        if let (Some((_, uid)), Outcome::Pinned, false) = (&owner, verdict.outcome, dry_run || name.is_empty()) {
            self.gangs.admitted(uid, name, now_ms);
        }
        verdict
    }

    /// Name and UID of an executor's driver: the pod that owns it, or the driver of its application. The name is empty
    /// where it isn't needed, since the driver is known.
    fn owner(&self, pod: &Value, namespace: &str) -> Option<(String, String)> {
        if let Some(owner) = role::driver_of(pod) {
            return Some((owner.name.to_owned(), owner.uid.to_owned()));
        }
        let application = role::allocated_application(pod)?;
        let uid = self.gangs.driver_of_application(namespace, application)?;
        Some((String::new(), uid))
    }

    /// The gang as if its driver had been taken: in shadow mode the driver stayed with its scheduler.
    fn as_if_taken(&self, gang: Gang) -> Gang {
        let scheduler = if self.rules.places(&gang.scheduler) {
            kompass_core::names::SCHEDULER.to_owned()
        } else {
            gang.scheduler
        };
        Gang { scheduler, ..gang }
    }

    /// The gang of a driver that the watch has not shown. An API server that doesn't answer in time is no reason to
    /// tear the gang apart: its executors go to KOMPASS's scheduler without a pin.
    async fn look_up(&self, namespace: &str, name: &str, uid: &str, now_ms: u64) -> Leader {
        match self.strangers.get(namespace, uid, now_ms) {
            Some(Stranger::Other) => return Leader::Nobody,
            Some(Stranger::Gone) => return Leader::Gone,
            None => {}
        }
        let known = |scheduler: String| Gang {
            uid: uid.to_owned(),
            scheduler,
            ..Gang::default()
        };
        let (result, leader) = match timeout(LOOKUP_LIMIT, self.lookup.driver(namespace, name)).await {
            // In client mode any pod may own the executors.
            Ok(Ok(Some(owner))) if owner.uid == uid && owner.role != Some(Role::Driver) => ("found", Leader::Nobody),
            Ok(Ok(Some(driver))) if driver.uid == uid => {
                let plan = driver.plan.filter(|plan| plan.uid == uid).map(Arc::new);
                let gang = Gang {
                    plan,
                    ..known(driver.scheduler)
                };
                ("found", Leader::Driver(gang))
            }
            Ok(Ok(_)) => ("absent", Leader::Gone),
            Ok(Err(error)) => {
                tracing::warn!(namespace, driver = name, error = %error.0, "failed to read the driver of an executor");
                (
                    "failed",
                    Leader::Driver(known(kompass_core::names::SCHEDULER.to_owned())),
                )
            }
            Err(_elapsed) => (
                "timed-out",
                Leader::Driver(known(kompass_core::names::SCHEDULER.to_owned())),
            ),
        };
        self.metrics.lookups.with([result]).inc();
        let stranger = match &leader {
            Leader::Nobody => Some(Stranger::Other),
            Leader::Gone => Some(Stranger::Gone),
            Leader::Driver(_) => None,
        };
        if let Some(stranger) = stranger {
            self.strangers.learn(namespace, uid, stranger, now_ms);
        }
        leader
    }
}

/// Whom an executor belongs to.
enum Leader {
    /// A driver pod.
    Driver(Gang),
    /// A driver pod that is not there any more.
    Gone,
    /// No driver pod: client mode.
    Nobody,
}
