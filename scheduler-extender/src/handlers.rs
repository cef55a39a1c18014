//! The HTTP API: kube-scheduler's three verbs, what the gangs do, and the rules of their queues.
//!
//! Fail direction: what can't be read is refused with 400 and words (kube-scheduler then tries the pod again by its
//! back-off); what can be read but makes no sense gets a text in `Error`, with the same effect. Nothing is ever allowed
//! by mistake.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use kompass_kube::convert;
use kompass_planner::FilterAnswer;
use kompass_queues::view;
use kompass_service::{body, logging};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use crate::bind;
use crate::state::App;
use crate::wire::{BindArgs, BindResult, FilterArgs, FilterResult, NodeList, VETO};

/// 5,000 nodes in full are some 60 MB; nobody should configure that, but it must not fail without a word.
const FILTER_BODY_LIMIT: usize = 96 << 20;
const BIND_BODY_LIMIT: usize = 64 << 10;
/// The node that stands for all of them in a refusal. It need not exist.
const EVERYWHERE: &str = "kompass";

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/filter", post(filter))
        .route("/bind", post(bind))
        .route("/preempt", post(preempt))
        .with_state(Arc::clone(&app))
        .merge(view(app))
}

/// The routes that only show: whoever can ask them can't have a pod bound.
pub fn view(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/gangs", get(gangs))
        .route("/v1/gangs/{namespace}/{driver}", get(gang))
        .route("/v1/queues", get(queues))
        .with_state(app)
}

async fn filter(State(app): State<Arc<App>>, body: Body) -> Response {
    let bytes = match read(&app, "filter", body, FILTER_BODY_LIMIT).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal,
    };
    brake(&app).await;
    let timer = app.metrics.filter_seconds.start_timer();
    let response = match serde_json::from_slice::<FilterArgs<'_>>(&bytes) {
        Ok(args) => answer(&app, args),
        Err(error) => malformed(&app, "filter", "ExtenderArgs", &error),
    };
    drop(timer);
    response
}

/// The scheduler has no back-pressure of its own: it goes on to the next pod while Binds pile up until they time out.
/// Its one serial step is Filter, so Filter waits while all Binds are taken. (Those that queue are ahead of it.)
async fn brake(app: &App) {
    if app.binds.available_permits() == 0 {
        let _timer = app.metrics.filter_brake_seconds.start_timer();
        // Whether it got a slot or not: it goes on now.
        let _ = timeout(app.limits.brake, app.binds.acquire()).await;
    }
}

fn answer(app: &App, args: FilterArgs<'_>) -> Response {
    let Some(pod) = args.pod else {
        return error_answer(app, "failed to filter: the request has no Pod");
    };
    let pod = match convert::pod(pod) {
        Ok((pod, _warnings)) => pod,
        Err(error) => return error_answer(app, &format!("failed to filter: {}", logging::chain(&error))),
    };
    let full = args.nodes.is_some();
    let nodes = args.nodes.unwrap_or_default();
    let names = args.node_names.unwrap_or_default();
    let decided = app.planner(|planner, now_ms| {
        if full {
            planner.filter(&pod, &nodes.names(), now_ms)
        } else {
            planner.filter(&pod, &names, now_ms)
        }
    });
    app.wake.notify_one();
    let kind = match &decided {
        FilterAnswer::Node(_) => "node",
        FilterAnswer::NotInList => "not-in-list",
        FilterAnswer::Unresolvable(_) => "unresolvable",
        FilterAnswer::NotReady(_) => "not-ready",
    };
    app.metrics.filter_answers.with([kind]).inc();
    tracing::debug!(namespace = pod.namespace, pod = pod.name, answer = ?decided, "filter");
    render(&decided, full.then_some(nodes))
}

/// `nodes`: the candidates, where they came in full and must go back in full.
fn render(decided: &FilterAnswer, nodes: Option<NodeList>) -> Response {
    let kept = match decided {
        FilterAnswer::Node(node) => Some(node.as_str()),
        _ => None,
    };
    let mut result = FilterResult::default();
    match nodes {
        Some(nodes) => result.nodes = Some(nodes.only(kept.unwrap_or_default())),
        None => result.node_names = Some(kept.into_iter().collect()),
    }
    match *decided {
        FilterAnswer::Unresolvable(text) => {
            result.failed_and_unresolvable_nodes.insert(EVERYWHERE, text);
        }
        FilterAnswer::NotReady(text) => result.error = text.into(),
        FilterAnswer::Node(_) | FilterAnswer::NotInList => {}
    }
    json_response(StatusCode::OK, &result)
}

fn error_answer(app: &App, text: &str) -> Response {
    app.metrics.filter_answers.with(["error"]).inc();
    tracing::warn!(error = text, "refused a Filter request");
    json_response(
        StatusCode::OK,
        &FilterResult {
            error: text.into(),
            ..FilterResult::default()
        },
    )
}

async fn bind(State(app): State<Arc<App>>, body: Body) -> Response {
    let _timer = app.metrics.bind_seconds.start_timer();
    let bytes = match read(&app, "bind", body, BIND_BODY_LIMIT).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal,
    };
    let args = match serde_json::from_slice::<BindArgs>(&bytes) {
        Ok(args) => args,
        Err(error) => return malformed(&app, "bind", "ExtenderBindingArgs", &error),
    };
    let error = bind::bind(app, args).await;
    json_response(StatusCode::OK, &BindResult { error })
}

/// KOMPASS evicts nobody, so what is proposed is not even looked at.
async fn preempt(State(app): State<Arc<App>>, body: Body) -> Response {
    match read(&app, "preempt", body, FILTER_BODY_LIMIT).await {
        Ok(_ignored) => {
            app.metrics.preempt_vetoes.inc();
            ([(header::CONTENT_TYPE, "application/json")], VETO).into_response()
        }
        Err(refusal) => refusal,
    }
}

async fn gangs(State(app): State<Arc<App>>) -> Response {
    let gangs = app.planner(|planner, now_ms| planner.gangs_with_starts(now_ms));
    let leads = app.claim.borrow().is_held();
    json_response(
        StatusCode::OK,
        &json!({ "leads": leads, "gangs": gangs, "finished": app.finished.recent() }),
    )
}

async fn gang(State(app): State<Arc<App>>, Path((namespace, driver)): Path<(String, String)>) -> Response {
    let gangs = app.planner(|planner, now_ms| planner.gangs_with_starts(now_ms));
    let mut gangs = gangs.into_iter();
    if let Some(gang) = gangs.find(|gang| gang.namespace == namespace && gang.name == driver) {
        return json_response(StatusCode::OK, &json!({ "gang": gang }));
    }
    if let Some(finished) = app.finished.find(&namespace, &driver) {
        return json_response(StatusCode::OK, &json!({ "finished": finished }));
    }
    let text = format!(
        "no gang with the driver {namespace}/{driver}: it has never been seen, or it ended long ago, or the pod is no \
         Spark driver of the scheduler {:?}",
        kompass_core::names::SCHEDULER
    );
    refuse(StatusCode::NOT_FOUND, "not-found", &text)
}

/// `version` and `queues` are what a queue file would say, `total` and `state` how it stands now.
async fn queues(State(app): State<Arc<App>>) -> Response {
    let status = app.queues.borrow().clone();
    let (total, state) = app.planner(|planner, _| (view::resources(planner.total()), planner.queue_states()));
    let refused = status
        .refused
        .as_ref()
        .map(|refusal| json!({ "message": refusal.message, "since_ms": refusal.since_ms }));
    // A path need not be UTF-8, JSON must.
    let file = status.path.as_deref().map(|path| path.to_string_lossy());
    json_response(
        StatusCode::OK,
        &json!({
            "file": file,
            "in_force": refused.is_none(),
            "applied_ms": status.applied_ms,
            "refused": refused,
            "version": kompass_queues::VERSION,
            "queues": view::queues(&status.table),
            "leads": app.claim.borrow().is_held(),
            "total": total,
            "state": view::states(&state),
        }),
    )
}

async fn read(app: &App, verb: &str, body: Body, limit: usize) -> Result<Bytes, Response> {
    body::read(body, limit).await.map_err(|error| {
        app.metrics.requests_malformed.with([verb]).inc();
        match error {
            body::Error::TooLarge { .. } => {
                let text = format!("{error}; set nodeCacheCapable to true in the scheduler's configuration");
                refuse(StatusCode::PAYLOAD_TOO_LARGE, "too-large", &text)
            }
            body::Error::Read(_) => refuse(StatusCode::BAD_REQUEST, "unreadable", &logging::chain(&error)),
        }
    })
}

fn malformed(app: &App, verb: &str, what: &str, error: &serde_json::Error) -> Response {
    app.metrics.requests_malformed.with([verb]).inc();
    let text = format!(
        "failed to read the request as {what} of k8s.io/kube-scheduler/extender/v1 ({error}): this endpoint is for \
         kube-scheduler alone; check extenders[].urlPrefix and the verbs in its configuration"
    );
    tracing::warn!(verb, error = %error, "refused a malformed request");
    refuse(StatusCode::BAD_REQUEST, "malformed", &text)
}

fn refuse(status: StatusCode, code: &str, text: &str) -> Response {
    json_response(status, &json!({ "error": { "code": code, "message": text } }))
}

fn json_response(status: StatusCode, answer: &impl Serialize) -> Response {
    // With the length known, Go's client reads to the end and keeps the connection.
    match serde_json::to_vec(answer) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
