use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::RawQuery;
use axum::response::{IntoResponse, Response};
use kompass_service::metrics::Registry;
use tokio::net::TcpListener;

use super::*;
use crate::metrics;

fn keys() -> Keys {
    Keys {
        own: "job-1".into(),
        wider: vec!["dag.d-2".into(), "name.n-3".into()],
    }
}

/// A predictor that gives this answer to the right question, how often it was asked, and the estimates of it.
async fn predictor(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> (Estimates, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let runtime = axum::routing::get(move |RawQuery(query): RawQuery| async move {
        count.fetch_add(1, Ordering::AcqRel);
        assert_eq!(query.as_deref(), Some("key=job-1&key=dag.d-2&key=name.n-3"));
        answer()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(axum::serve(listener, Router::new().route("/v1/runtime", runtime)).into_future());
    (estimates(&address), asked)
}

fn estimates(address: &str) -> Estimates {
    let metrics = metrics::Profiler::register(&Registry::with_process());
    Estimates::new(Some(address.parse().unwrap()), Clock::system(), metrics.estimates)
}

async fn told(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Option<RuntimeEstimate> {
    let (estimates, asked) = predictor(move || answer.clone().into_response()).await;
    estimates.question(&keys()).expect("a question").await;
    assert_eq!(asked.load(Ordering::Acquire), 1);
    estimates.of("job-1")
}

#[tokio::test]
async fn what_the_predictor_tells_is_known_from_then_on() {
    let (estimates, asked) =
        predictor(|| r#"{"p50_s":60,"p90_s":90,"samples":7,"key":"dag.d-2"}"#.into_response()).await;
    assert_eq!(estimates.of("job-1"), None);
    estimates.question(&keys()).expect("a question").await;
    let estimate = estimates.of("job-1").unwrap();
    assert_eq!((estimate.p50_s, estimate.p90_s, estimate.samples), (60, 90, 7));
    assert!(estimates.question(&keys()).is_none());
    assert_eq!(asked.load(Ordering::Acquire), 1);
}

#[tokio::test]
async fn lies_garbage_and_errors_are_no_estimates() {
    let good = r#"{"p50_s":60,"p90_s":90,"samples":7,"key":"job-1"}"#;
    assert!(told(good).await.is_some());
    assert_eq!(told(StatusCode::NO_CONTENT).await, None);
    assert_eq!(told((StatusCode::INTERNAL_SERVER_ERROR, good)).await, None);
    assert_eq!(
        told((StatusCode::FOUND, [("location", "/v1/runtime")], good)).await,
        None
    );
    assert_eq!(told(r#"{"p50_s":90,"p90_s":60,"samples":7,"key":"job-1"}"#).await, None);
    assert_eq!(told("\u{0}<html>").await, None);
    assert_eq!(told(format!("{good}{}", " ".repeat(MAX_BYTES))).await, None);
}

#[tokio::test]
async fn one_that_hangs_is_asked_without_waiting_and_left_alone_after_some_failures() {
    // The kernel takes connections; nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let estimates = estimates(&listener.local_addr().unwrap().to_string());
    estimates.ask(&keys());
    assert_eq!(estimates.of("job-1"), None);
    let others = ["a", "b"].map(|own| {
        let keys = Keys {
            own: own.into(),
            wider: Vec::new(),
        };
        estimates.question(&keys).expect("a question")
    });
    futures::future::join_all(others).await;
    let asking = estimates.0.as_ref().unwrap();
    // The first one was asked before them and has the same limit, but its task may still have to run.
    while asking.book().is_asking("job-1") {
        tokio::task::yield_now().await;
    }
    let next = Keys {
        own: "next".into(),
        wider: Vec::new(),
    };
    assert!(estimates.question(&next).is_none());
}

#[tokio::test]
async fn without_a_predictor_nothing_is_asked() {
    let metrics = metrics::Profiler::register(&Registry::with_process());
    let none = Estimates::new(None, Clock::system(), metrics.estimates);
    assert!(none.question(&keys()).is_none());
    assert_eq!(none.of("job-1"), None);
}

#[test]
fn keys_that_would_change_the_question_are_not_asked_for() {
    let foreign = Keys {
        own: "a&key=b".into(),
        wider: Vec::new(),
    };
    assert_eq!(path(&foreign), None);
}
