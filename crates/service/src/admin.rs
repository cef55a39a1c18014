//! The administrative endpoints of every service: `/livez`, `/readyz`, `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::metrics::Registry;
use crate::readiness::Readiness;

/// The routes. `/livez` answers while the process can answer at all; a stuck task ends the process by itself.
pub fn router(readiness: Readiness, registry: Registry) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics).with_state(registry))
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    if readiness.is_ready() {
        let concerns = readiness
            .concerns()
            .into_iter()
            .map(|concern| format!("amiss: {concern}\n"));
        return format!("ok\n{}", concerns.collect::<String>()).into_response();
    }
    let text = format!("not ready, missing: {}\n", readiness.lacks().join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(registry): State<Registry>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        registry.render(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = crate::body::read(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readyz_lists_what_is_missing() {
        let readiness = Readiness::new();
        let condition = readiness.condition("pods watched");
        let router = router(readiness, Registry::new());
        let (status, text) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("pods watched"), "{text}");
        condition.lost_since("the API server is away");
        let (_, text) = get(&router, "/readyz").await;
        assert!(text.contains("pods watched (the API server is away)"), "{text}");
        condition.met();
        assert_eq!(get(&router, "/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
        condition.concern("it is old");
        let (status, text) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("amiss: pods watched (it is old)"), "{text}");
        assert_eq!(get(&router, "/livez").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_rendered() {
        let registry = Registry::new();
        registry.counter("kompass_test_things_total", "Things.").inc();
        let (status, text) = get(&router(Readiness::new(), registry), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("kompass_test_things_total 1\n"), "{text}");
    }
}
