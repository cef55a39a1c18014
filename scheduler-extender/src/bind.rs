//! The Bind verb: at most so many writes at once, all by a deadline, and only what was seen counts as done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kompass_core::{GangPlan, names};
use kompass_kube::bind::{self, Outcome, Request};
use kompass_kube::client::within;
use kompass_kube::object;
use kompass_planner::{BindRefusal, BindResult};
use kompass_service::logging;
use kube::Api;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::state::App;
use crate::wire::BindArgs;

/// A write that could not be confirmed within this is not begun.
pub const LEAST_TIME: Duration = Duration::from_secs(1);
/// All annotations of a pod bound by us, at most. Kubernetes refuses every later write, the kubelet's status included,
/// to a pod with more than 256 KiB, but does not check a Binding.
const MAX_ANNOTATION_BYTES: usize = 200 << 10;

/// Why a Bind is answered with an error.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Not a request that can be bound.
    #[error("failed to bind: the request lacks a pod name, namespace, UID or node")]
    Incomplete,
    /// See [`crate::pulse`].
    #[error("failed to bind: the extender did not run for a while and the request may be out of date")]
    Doubtful,
    /// Too many Binds.
    #[error("failed to bind in time: too many others are being written")]
    Busy,
    /// The planner has changed its mind.
    #[error(transparent)]
    Refused(#[from] BindRefusal),
    /// With the plan the pod's annotations would be too large.
    #[error("failed to bind: with its gang plan the pod's annotations have more than {MAX_ANNOTATION_BYTES} bytes")]
    TooLarge,
    /// The API server.
    #[error(transparent)]
    Write(#[from] bind::Error),
}

/// Binds and answers with the text of an error, empty on success.
///
/// The work goes on when the scheduler hangs up: a write that is under way must be followed to its end.
pub async fn bind(app: Arc<App>, args: BindArgs) -> String {
    let deadline = Instant::now() + app.limits.bind_deadline;
    let (answer, answered) = oneshot::channel();
    let shutdown = app.shutdown.clone();
    shutdown.spawn_brief(async move {
        let _in_flight = app.metrics.binds_in_flight.track();
        let result = run(&app, &args, deadline).await;
        let kind = match &result {
            Ok(()) => "bound",
            Err(Error::Incomplete) => "incomplete",
            Err(Error::Doubtful) => "doubtful",
            Err(Error::Busy) => "busy",
            Err(Error::Refused(_)) => "refused",
            Err(Error::TooLarge) => "too-large",
            Err(Error::Write(error)) => kind(error),
        };
        app.metrics.bind_answers.with([kind]).inc();
        let text = result.map_or_else(|error| logging::chain(&error), |()| String::new());
        if text.is_empty() {
            tracing::info!(
                namespace = args.pod_namespace,
                pod = args.pod_name,
                node = args.node,
                "bound"
            );
        } else {
            let (namespace, pod, node) = (&args.pod_namespace, &args.pod_name, &args.node);
            tracing::warn!(namespace, pod, node, error = text, "failed to bind");
        }
        // The scheduler may have hung up.
        let _ = answer.send(text);
    });
    answered
        .await
        .unwrap_or_else(|_| "failed to bind: the work ended without an answer".to_owned())
}

async fn run(app: &App, args: &BindArgs, deadline: Instant) -> Result<(), Error> {
    if [&args.pod_name, &args.pod_namespace, &args.pod_uid, &args.node]
        .iter()
        .any(|field| field.is_empty())
    {
        return Err(Error::Incomplete);
    }
    let _slot = timeout_at(deadline - LEAST_TIME, app.binds.acquire())
        .await
        .map_err(|_elapsed| Error::Busy)?
        .map_err(|_closed| Error::Busy)?;
    if app.is_doubtful() {
        return Err(Error::Doubtful);
    }
    let order = app.planner(|planner, now_ms| planner.bind_started(&args.pod_uid, &args.node, now_ms))?;
    let outcome = match write(app, args, order.plan, deadline).await {
        Ok(outcome) => Ok(outcome),
        Err(Error::Write(error)) => Err(error),
        Err(other) => {
            app.planner(|planner, now_ms| {
                planner.bind_done(&args.pod_uid, &args.node, &BindResult::Failed, now_ms);
            });
            app.wake.notify_one();
            return Err(other);
        }
    };
    app.planner(|planner, now_ms| {
        // What was read says more than the refusal, and says it before the watch does.
        match &outcome {
            Ok(Outcome::AlreadyBound(pod)) | Err(bind::Error::Elsewhere { pod, .. }) => {
                planner.apply_pod(pod, now_ms);
            }
            _ => {}
        }
        planner.bind_done(&args.pod_uid, &args.node, &result(&outcome), now_ms);
    });
    app.wake.notify_one();
    outcome.map(|_| ()).map_err(Error::Write)
}

async fn write(app: &App, args: &BindArgs, plan: Option<GangPlan>, deadline: Instant) -> Result<Outcome, Error> {
    let mut annotations = BTreeMap::new();
    if let Some(plan) = plan {
        // The driver came ungated (the webhook was away): the plan goes onto it with the Binding.
        let plan = plan.to_annotation();
        if plan.len() + annotation_bytes(app, args, deadline).await? > MAX_ANNOTATION_BYTES {
            return Err(Error::TooLarge);
        }
        annotations.insert(names::PLAN_ANNOTATION.to_owned(), plan);
    }
    let request = Request {
        namespace: args.pod_namespace.clone(),
        name: args.pod_name.clone(),
        uid: args.pod_uid.clone(),
        node: args.node.clone(),
        annotations,
    };
    Ok(bind::bind(&app.client, &request, deadline).await?)
}

/// Bytes of the annotations that the pod has, as Kubernetes counts them.
async fn annotation_bytes(app: &App, args: &BindArgs, deadline: Instant) -> Result<usize, Error> {
    let pods: Api<object::Pod> = Api::namespaced(app.client.clone(), &args.pod_namespace);
    let remaining = deadline.saturating_duration_since(Instant::now());
    let pod = within(remaining, pods.get(&args.pod_name))
        .await
        .map_err(bind::Error::Unbound)?;
    let annotations = pod.metadata.annotations.unwrap_or_default();
    Ok(annotations.iter().map(|(name, value)| name.len() + value.len()).sum())
}

fn result(outcome: &Result<Outcome, bind::Error>) -> BindResult {
    match outcome {
        Ok(_) => BindResult::Bound,
        Err(bind::Error::Elsewhere { node, .. }) => BindResult::Elsewhere(node.clone()),
        Err(bind::Error::Unknown(_)) => BindResult::Unknown,
        Err(
            bind::Error::Gone
            | bind::Error::Replaced
            | bind::Error::Gated
            | bind::Error::TooLarge
            | bind::Error::Unbound(_),
        ) => BindResult::Failed,
    }
}

const fn kind(error: &bind::Error) -> &'static str {
    match error {
        bind::Error::Gone => "gone",
        bind::Error::Replaced => "replaced",
        bind::Error::Elsewhere { .. } => "elsewhere",
        bind::Error::Gated => "gated",
        bind::Error::TooLarge => "too-large",
        bind::Error::Unbound(_) => "unbound",
        bind::Error::Unknown(_) => "unknown",
    }
}
