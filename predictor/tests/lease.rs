//! Two replicas and a lease: an API server that is a stub keeps it, and can be silenced.

#![cfg(test)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser as _;
use http::StatusCode;
use kompass_predictor::Service;
use kompass_predictor::args::Args;
use kompass_service::client;
use kompass_service::clock::Clock;
use serde_json::{Value, json};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kompass/leases";

/// One lease with a resourceVersion, as the API server keeps it.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    silent: Arc<AtomicBool>,
}

impl Server {
    async fn start(&self) -> SocketAddr {
        let routes = Router::new()
            .route(LEASES, post(create))
            .route(&format!("{LEASES}/predictor"), get(read).put(replace))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    fn answer(&self, change: impl FnOnce(&mut Option<Value>) -> Response) -> Response {
        if self.silent.load(Ordering::Acquire) {
            return refuse(StatusCode::SERVICE_UNAVAILABLE);
        }
        change(&mut self.lease.lock().unwrap())
    }
}

fn refuse(code: StatusCode) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "", "code": code.as_u16(),
        "reason": if code == StatusCode::NOT_FOUND { "NotFound" } else { "Conflict" },
    });
    (code, Json(status)).into_response()
}

async fn read(State(server): State<Server>) -> Response {
    server.answer(|lease| match lease {
        Some(lease) => Json(lease.clone()).into_response(),
        None => refuse(StatusCode::NOT_FOUND),
    })
}

async fn create(State(server): State<Server>, Json(new): Json<Value>) -> Response {
    server.answer(|lease| {
        if lease.is_some() {
            refuse(StatusCode::CONFLICT)
        } else {
            store(lease, new)
        }
    })
}

async fn replace(State(server): State<Server>, Json(new): Json<Value>) -> Response {
    server.answer(|lease| {
        let version = lease.as_ref().map(|lease| &lease["metadata"]["resourceVersion"]);
        if version == Some(&new["metadata"]["resourceVersion"]) {
            store(lease, new)
        } else {
            refuse(StatusCode::CONFLICT)
        }
    })
}

fn store(lease: &mut Option<Value>, mut new: Value) -> Response {
    let before = lease
        .as_ref()
        .and_then(|lease| lease["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok());
    new["metadata"]["resourceVersion"] = (before.unwrap_or(0) + 1).to_string().into();
    *lease = Some(new.clone());
    Json(new).into_response()
}

/// A replica without a past: it decides for nothing, and recommends that.
async fn replica(folder: &std::path::Path, server: SocketAddr, identity: &str) -> Service {
    kompass_service::tls::install_crypto_provider();
    let kubeconfig = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\n\
         clusters: [{{name: one, cluster: {{server: 'http://{server}'}}}}]\n\
         contexts: [{{name: one, context: {{cluster: one, user: one}}}}]\n\
         users: [{{name: one, user: {{}}}}]\n"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let args = Args::parse_from([
        "kompass-predictor",
        // Nothing listens there.
        "--prometheus",
        "http://127.0.0.1:1",
        "--node-cpu-milli",
        "1000",
        "--node-memory-mib",
        "1024",
        "--mode",
        "recommend",
        "--lease",
        "kompass/predictor",
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--identity",
        identity,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--shutdown-grace",
        "0s",
    ]);
    Service::start(args.resolve().unwrap(), Clock::system()).await.unwrap()
}

async fn text(service: &Service, path: &str) -> String {
    let address = service.address().to_string().parse().unwrap();
    let (_, body) = client::get(&address, path, Duration::from_secs(10), 1 << 20)
        .await
        .unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// What it recommends, and what it says of the leader.
async fn told(service: &Service) -> (Option<String>, Value) {
    let metrics = text(service, "/metrics").await;
    let recommended = metrics
        .lines()
        .find_map(|line| line.strip_prefix("kompass_predictor_recommended_nodes "));
    let decisions: Value = serde_json::from_str(&text(service, "/v1/decisions").await).unwrap();
    (recommended.map(str::to_owned), decisions["leader"].clone())
}

/// Waits until a replica recommends this, in the name of that leader.
async fn wait(service: &Service, recommended: &str, leads: bool, holder: Option<&str>) {
    let expected = (
        Some(recommended.to_owned()),
        json!({ "leads": leads, "holder": holder }),
    );
    let limit = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        let told = told(service).await;
        if told == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < limit, "{told:?} is not {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn end(service: Service) {
    service.shutdown().trigger();
    tokio::time::timeout(Duration::from_mins(1), service.run())
        .await
        .expect("it takes too long")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_one_recommends_and_none_without_the_lease() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::default();
    let address = server.start().await;
    let one = replica(folder.path(), address, "one").await;
    wait(&one, "0", true, Some("one")).await;
    let two = replica(folder.path(), address, "two").await;
    wait(&two, "NaN", false, Some("one")).await;
    // The first one ends and gives the lease back.
    end(one).await;
    wait(&two, "0", true, Some("two")).await;
    // Not renewed: it counts itself out before another could take over.
    server.silent.store(true, Ordering::Release);
    let (renewed, duration) = {
        let lease = server.lease.lock().unwrap();
        let spec = &lease.as_ref().unwrap()["spec"];
        let renewed: jiff::Timestamp = spec["renewTime"].as_str().unwrap().parse().unwrap();
        (renewed, spec["leaseDurationSeconds"].as_i64().unwrap())
    };
    wait(&two, "NaN", false, Some("two")).await;
    let since = jiff::Timestamp::now().duration_since(renewed);
    assert!(since.as_secs() < duration, "{since:?} of {duration} s");
    end(two).await;
}
