//! Filter with 5,000 names: in process from body to body, and over loopback HTTP as kube-scheduler calls it, on one kept
//! connection, one call after another. The goals at the 99th percentile: 0.5 ms and 2 ms.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use kompass_core::{Node, Resources};
use kompass_kube::lease::Claim;
use kompass_kube::{convert, object};
use kompass_planner::{Config, Planner};
use kompass_scheduler_extender::handlers;
use kompass_scheduler_extender::metrics::Metrics;
use kompass_scheduler_extender::state::{App, Limits};
use kompass_service::clock::Clock;
use kompass_service::metrics::Registry;
use kompass_service::readiness::Readiness;
use kompass_service::server::Server;
use kompass_service::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const NODES: usize = 5_000;
/// Calls whose percentiles are shown, which criterion does not do.
const CALLS: usize = 10_000;
const REQUEST: &str = include_str!("../tests/data/extender-filter.cacheable.3-nodes.request.json");

fn node(index: usize) -> String {
    format!("ip-10-{}-{}-17.eu-central-1.compute.internal", index / 250, index % 250)
}

/// A recorded request with all nodes as candidates.
fn request() -> (String, kompass_core::Pod) {
    let mut request: Value = serde_json::from_str(REQUEST).expect("the recording is JSON");
    request["Pod"]["spec"]["nodeSelector"] = Value::Null;
    request["NodeNames"] = (0..NODES).map(node).collect::<Vec<_>>().into();
    let pod: object::Pod = serde_json::from_value(request["Pod"].clone()).expect("the recording has a pod");
    (request.to_string(), convert::pod(pod).expect("the pod can be read").0)
}

fn app(pod: &kompass_core::Pod) -> Arc<App> {
    let service = tower::service_fn(|_request: http::Request<kube::client::Body>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(
            json!({}).to_string().into_bytes(),
        )))
    });
    let client = kube::Client::new(service, "default");
    let shutdown = Shutdown::new(&Readiness::new());
    let metrics = Metrics::register(&Registry::new());
    let (_sender, claim) = tokio::sync::watch::channel(Claim::unconditional());
    let planner = Planner::new(Config::default());
    let app = App::new(
        planner,
        client,
        Limits::default(),
        metrics,
        shutdown,
        claim,
        Clock::system(),
    );
    app.planner(|planner, now_ms| {
        for index in 0..NODES {
            planner.apply_node(Node {
                name: node(index),
                allocatable: Resources::from_mib(32_000, 131_072),
                max_pods: 110,
                ready: true,
                ..Node::default()
            });
        }
        planner.apply_pod(pod, now_ms);
        planner.synced(now_ms);
        planner.take_over(now_ms);
    });
    app
}

fn filter_in_process(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let (body, pod) = request();
    // The client in it needs a runtime to be made.
    let router = {
        let _guard = runtime.enter();
        handlers::router(app(&pod))
    };
    let body = bytes(body);
    let call = || {
        runtime.block_on(async {
            let request = http::Request::post("/filter")
                .header("content-type", "application/json")
                .body(axum::body::Body::from(body.clone()))
                .expect("the request is valid");
            let response = router.clone().oneshot(request).await.expect("a router always answers");
            checked(response.status(), response.into_body()).await
        })
    };
    show("filter, 5,000 names, in process", call);
    c.bench_function("filter, 5,000 names, in process", |bencher| bencher.iter(call));
}

fn filter_over_loopback(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let (body, pod) = request();
    let (mut sender, address) = runtime.block_on(async {
        let server = Server::bind(([127, 0, 0, 1], 0).into())
            .await
            .expect("loopback has a free port");
        let address = server.address();
        tokio::spawn(server.serve(handlers::router(app(&pod)), CancellationToken::new()));
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("the option is known");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("the server speaks HTTP");
        tokio::spawn(connection);
        (sender, address)
    });
    let body = bytes(body);
    let mut call = || {
        runtime.block_on(async {
            let request = http::Request::post("/filter")
                .header("host", address.to_string())
                .header("content-type", "application/json")
                .body(Full::new(body.clone()))
                .expect("the request is valid");
            sender.ready().await.expect("the connection is kept");
            let response = sender.send_request(request).await.expect("an answer comes");
            checked(response.status(), response.into_body()).await
        })
    };
    show("filter, 5,000 names, loopback HTTP", &mut call);
    c.bench_function("filter, 5,000 names, loopback HTTP", |bencher| bencher.iter(&mut call));
}

/// The body of a good answer.
async fn checked<B>(status: http::StatusCode, body: B) -> axum::body::Bytes
where
    B: hyper::body::Body<Error: std::fmt::Debug>,
{
    let answer = body.collect().await.expect("the answer ends").to_bytes();
    assert!(status.is_success());
    assert!(
        answer.starts_with(br#"{"Nodes":null,"NodeNames":["ip-"#),
        "there is room: {answer:?}"
    );
    black_box(answer)
}

/// Prints the percentiles that the goals are about.
#[expect(clippy::print_stdout, reason = "a bench talks to its reader")]
fn show(name: &str, mut call: impl FnMut() -> axum::body::Bytes) {
    let time = |_| {
        let started = Instant::now();
        call();
        started.elapsed()
    };
    let mut times: Vec<Duration> = (0..CALLS).map(time).collect();
    times.sort_unstable();
    let at = |percent: usize| times[(CALLS - 1) * percent / 100];
    println!("{name}: p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(50), at(99), at(100));
}

fn bytes(text: String) -> axum::body::Bytes {
    axum::body::Bytes::from(text.into_bytes())
}

criterion_group!(benches, filter_in_process, filter_over_loopback);
criterion_main!(benches);
