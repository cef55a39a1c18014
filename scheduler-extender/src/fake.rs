//! A service's state without a cluster, for tests.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kompass_kube::lease::Claim;
use kompass_planner::{Config, Planner};
use kompass_service::clock::Clock;
use kompass_service::metrics::Registry;
use kompass_service::readiness::Readiness;
use kompass_service::shutdown::Shutdown;
use kube::client::Body;
use serde_json::json;

use crate::metrics::Metrics;
use crate::state::{App, Limits};

/// An API server that has nothing.
pub(crate) fn client() -> kube::Client {
    client_with(404, "NotFound")
}

/// An API server that answers everything with this refusal.
pub(crate) fn client_with(code: u16, reason: &'static str) -> kube::Client {
    let service = tower::service_fn(move |_request: Request<Body>| async move {
        let status =
            json!({ "kind": "Status", "status": "Failure", "message": "none", "reason": reason, "code": code });
        let body = Body::from(serde_json::to_vec(&status).unwrap());
        Ok::<_, Infallible>(http::Response::builder().status(code).body(body).unwrap())
    });
    kube::Client::new(service, "default")
}

/// A state that has seen nothing yet.
pub(crate) fn app() -> Arc<App> {
    let shutdown = Shutdown::new(&Readiness::new());
    let metrics = Metrics::register(&Registry::new());
    let (_sender, claim) = tokio::sync::watch::channel(Claim::unconditional());
    let limits = Limits {
        brake: Duration::from_millis(30),
        ..Limits::default()
    };
    let planner = Planner::new(Config::default());
    App::new(planner, client(), limits, metrics, shutdown, claim, Clock::system())
}
