//! The HTTP API: run times for the admission webhook, decisions and forecasts for people and programs.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::arrivals::Arrivals;
use crate::outlook::Outlook;
use crate::state::App;

/// Keys in a question for a run time.
const KEYS_MAX: usize = 4;
/// Bytes of the value of a label.
const KEY_BYTES_MAX: usize = 63;
/// No run is expected to take longer, seconds: a year.
const LONGEST_S: u64 = 366 * 24 * 3_600;

/// The routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/runtime", get(runtime))
        .route("/v1/shape", get(shape))
        .route("/v1/decisions", get(decisions))
        .route("/v1/forecast", get(forecast))
        .route("/v1/actions", get(actions))
        .with_state(app)
}

/// How long a job runs, from the driver's start to its end.
#[derive(Debug, Serialize)]
struct RunTime<'a> {
    p50_s: u64,
    p90_s: u64,
    samples: u64,
    /// The key that it was learned from.
    key: &'a str,
}

/// The keys in a question, the job's own first; none if they are no good.
fn keys(query: Option<String>) -> Option<Vec<String>> {
    let query = query.unwrap_or_default();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let keys = pairs.filter(|(name, _)| name == "key").map(|(_, key)| key.into_owned());
    let keys: Vec<String> = keys.take(KEYS_MAX + 1).collect();
    let fits = |key: &String| (1..=KEY_BYTES_MAX).contains(&key.len());
    ((1..=KEYS_MAX).contains(&keys.len()) && keys.iter().all(fits)).then_some(keys)
}

/// How many executors of which size a job has.
#[derive(Debug, Serialize)]
struct GangShape<'a> {
    executors_p50: u64,
    executors_p90: u64,
    executor_cpu_milli: u64,
    executor_memory_mib: u64,
    driver_cpu_milli: u64,
    driver_memory_mib: u64,
    samples: u64,
    /// The key that it was learned from.
    key: &'a str,
}

async fn shape(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let Some(keys) = keys(query) else {
        return refuse("ask with one to four keys of 1 to 63 bytes: /v1/shape?key=<own>&key=<wider>");
    };
    let shapes = Arc::clone(&app.state().shapes);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let Some(told) = shapes.estimate(&keys) else {
        return StatusCode::NO_CONTENT.into_response();
    };
    Json(GangShape {
        executors_p50: told.executors_p50,
        executors_p90: told.executors_p90,
        executor_cpu_milli: told.size.executor_cpu_milli,
        executor_memory_mib: told.size.executor_memory_mib,
        driver_cpu_milli: told.size.driver_cpu_milli,
        driver_memory_mib: told.size.driver_memory_mib,
        samples: told.samples,
        key: told.key,
    })
    .into_response()
}

/// The contract with the admission webhook, see docs/architecture.md.
async fn runtime(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let answers = &app.metrics.runtime_answers;
    let Some(keys) = keys(query) else {
        answers.with(["refused"]).inc();
        return refuse("ask with one to four keys of 1 to 63 bytes: /v1/runtime?key=<own>&key=<wider>");
    };
    let runtimes = Arc::clone(&app.state().runtimes);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let Some(told) = runtimes.estimate(&keys, 0, &[]) else {
        answers.with(["unknown"]).inc();
        return StatusCode::NO_CONTENT.into_response();
    };
    answers.with(["told"]).inc();
    Json(RunTime {
        p50_s: told.estimate.p50_s.min(LONGEST_S),
        p90_s: told.estimate.p90_s.min(LONGEST_S),
        samples: told.estimate.samples,
        key: told.key,
    })
    .into_response()
}

/// The decisions of the last day at most, last one first, and the model behind them.
async fn decisions(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let Some(last) = last(query) else {
        return refuse("ask for so many with a whole number: /v1/decisions?last=12");
    };
    let state = app.state();
    let model = state.model.as_ref().map(|model| {
        json!({
            "from_ms": model.from_ms,
            "until_ms": model.until_ms,
            "unknown_ms": model.unknown_ms,
            "gangs": model.gangs.len(),
            "gangs_too_large": model.too_large,
            "policy": model.choice.policy,
            "parameter": model.choice.parameter,
            "cost": model.choice.cost,
            "reactive_cost": model.choice.reactive,
            "fixed_nodes": model.choice.fixed.0,
            "fixed_cost": model.choice.fixed.1,
            "surely_cheaper_by": model.choice.interval.map(|(low, high)| (-high, -low)),
            "words": model.choice.to_string(),
        })
    });
    let decisions: Vec<_> = state.decisions().iter().take(last).collect();
    let answer = json!({
        "mode": app.config.mode,
        "leader": app.leader(),
        "model": model,
        "trouble": state.trouble,
        "file_trouble": state.file_trouble,
        "decisions": decisions,
    });
    Json(answer).into_response()
}

/// What is held, and what was done, last one first.
async fn actions(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let Some(last) = last(query) else {
        return refuse("ask for so many with a whole number: /v1/actions?last=12");
    };
    let leader = app.leader();
    let state = app.state();
    let pays = state.pays();
    let actions: Vec<_> = state.journal.entries().take(last).collect();
    let answer = json!({
        "mode": app.config.mode,
        "leader": leader,
        "acts": state.acts,
        "aim": state.aim,
        "pays": pays.is_ok(),
        "why_not": pays.err(),
        "actions": actions,
    });
    Json(answer).into_response()
}

/// How many are asked for; none if that is no number.
fn last(query: Option<String>) -> Option<usize> {
    let query = query.unwrap_or_default();
    let last = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "last");
    match last {
        None => Some(usize::MAX),
        Some((_, last)) => last.parse().ok(),
    }
}

async fn forecast(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Expected<'a> {
        #[serde(flatten)]
        outlook: &'a Outlook,
        #[serde(flatten)]
        arrivals: &'a Arrivals,
    }
    let state = app.state();
    let arrivals = &state.arrivals;
    match &state.outlook {
        Some(outlook) => Json(Expected { outlook, arrivals }).into_response(),
        None => Json(json!({ "by": "nothing", "reason": "nothing has been read yet", "hours": [] })).into_response(),
    }
}

fn refuse(text: &str) -> Response {
    let refusal = json!({ "code": "malformed", "message": text });
    (StatusCode::BAD_REQUEST, Json(refusal)).into_response()
}
