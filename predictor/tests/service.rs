//! The service against a Prometheus that is a stub: it has what kube-state-metrics shows of drivers and executors, or is
//! gone.

#![cfg(test)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser as _;
use http::StatusCode;
use kompass_predictor::Service;
use kompass_predictor::args::Args;
use kompass_service::client;
use kompass_service::clock::Clock;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 3_600;
/// 2026-11-02 00:00 UTC.
const NOW_S: i64 = 1_793_577_600;
/// What the webhook waits for an answer.
const LIMIT: Duration = Duration::from_millis(300);
const KEY: &str = "etl-0123abcd";

/// A Prometheus that can be switched off.
struct Stub {
    address: String,
    gone: Arc<AtomicBool>,
    /// What is asked about longer ago than two days is refused.
    lately_only: Arc<AtomicBool>,
}

impl Stub {
    /// `days` of jobs before [`NOW_S`].
    async fn new(days: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let gone = Arc::new(AtomicBool::new(false));
        let lately_only = Arc::new(AtomicBool::new(false));
        let (is_gone, is_short) = (Arc::clone(&gone), Arc::clone(&lately_only));
        // It ends with the test's runtime.
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(form) = form(&mut stream).await else { continue };
                let is_old = start_s(&form).is_some_and(|start_s| start_s < NOW_S - 48 * HOUR_S);
                let refuses = is_gone.load(Ordering::Acquire) || (is_old && is_short.load(Ordering::Acquire));
                let (status, body) = if refuses {
                    ("404 Not Found", "404 page not found".to_owned())
                } else {
                    ("200 OK", answer(&form, days))
                };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                // The client may have gone already.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            address,
            gone,
            lately_only,
        }
    }

    async fn service(&self) -> Service {
        self.service_with(&[]).await
    }

    async fn service_with(&self, more: &[&str]) -> Service {
        kompass_service::tls::install_crypto_provider();
        let least = [
            "kompass-predictor",
            "--prometheus",
            &self.address,
            "--since",
            "12d",
            "--node-cpu-milli",
            "1000",
            "--node-memory-mib",
            "1024",
            "--wait-price",
            "200",
            "--mode",
            "recommend",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--shutdown-grace",
            "0s",
        ];
        let args = Args::parse_from([&least, more].concat());
        let (clock, _) = Clock::manual(NOW_S.unsigned_abs() * 1_000);
        Service::start(args.resolve().unwrap(), clock).await.unwrap()
    }
}

/// The form of a request.
async fn form(stream: &mut TcpStream) -> Option<Vec<(String, String)>> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1)?.lines().next()?;
            if body.len() >= length.trim().parse().ok()? {
                return Some(form_urlencoded::parse(body.as_bytes()).into_owned().collect());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
fn start_s(form: &[(String, String)]) -> Option<i64> {
    let (_, start) = form.iter().find(|(name, _)| name == "start")?;
    start.parse::<f64>().ok().map(|start| start as i64)
}

/// Every two hours four jobs a minute apart, each with a driver and an executor of one node each, for 20 minutes.
fn jobs(days: i64) -> impl Iterator<Item = (String, i64)> {
    (1..=days * 12).flat_map(|burst| {
        (0..4).map(move |number| {
            let name = format!("etl-{burst:04}-{number}");
            (name, NOW_S - burst * 2 * HOUR_S + number * MINUTE_S)
        })
    })
}

fn answer(form: &[(String, String)], days: i64) -> String {
    let of = |name: &str| {
        form.iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    };
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
    let time = |name: &str| of(name).and_then(|value| value.parse::<f64>().ok()).unwrap() as i64;
    let query = of("query").unwrap();
    let (start, end, step) = (time("start"), time("end"), time("step").max(1));
    let mut result: Vec<String> = Vec::new();
    let mut tell = |labels: &str, values: &dyn Fn(i64) -> Option<i64>| {
        let mut samples = String::new();
        let mut at = start;
        while at <= end {
            if let Some(value) = values(at) {
                let comma = if samples.is_empty() { "" } else { "," };
                let _ = write!(samples, "{comma}[{at},\"{value}\"]");
            }
            at += step;
        }
        if !samples.is_empty() {
            result.push(format!("{{\"metric\":{{{labels}}},\"values\":[{samples}]}}"));
        }
    };
    let begin = NOW_S - days * 24 * HOUR_S;
    if query.starts_with("count(") {
        tell("", &|at| (at >= begin).then_some(1));
    } else if !query.contains("kompass_extender") && !query.contains("init_container") {
        for (name, from) in jobs(days) {
            for pod in [format!("{name}-driver"), format!("{name}-exec-1")] {
                let who = format!("\"namespace\":\"jobs\",\"pod\":\"{pod}\",\"uid\":\"{pod}\"");
                let until = from + 20 * MINUTE_S;
                // It is shown for ten minutes more, and found in what is asked for once in hours for six hours.
                let slowly = |value: i64| move |at: i64| (from <= at && at <= until + 6 * HOUR_S).then_some(value);
                if query.contains("kube_pod_labels") {
                    let role = if pod.ends_with("-driver") { "driver" } else { "executor" };
                    let labels = format!("\"label_spark_role\":\"{role}\",\"label_spark_app_selector\":\"{name}\"");
                    tell(
                        &format!("{who},{labels},\"label_kompass_dev_profile_key\":\"{KEY}\""),
                        &slowly(1),
                    );
                } else if query.contains(" unless on ") {
                    let gone = until + 10 * MINUTE_S;
                    tell(&who, &|at| (gone <= at && at < gone + 5 * MINUTE_S).then_some(from));
                } else if query.contains("kube_pod_container_resource_requests") {
                    tell(&format!("{who},\"resource\":\"cpu\""), &slowly(1));
                    tell(&format!("{who},\"resource\":\"memory\""), &slowly(1 << 30));
                } else if query.contains("kube_pod_status_phase") {
                    tell(&format!("{who},\"phase\":\"Succeeded\""), &|at| {
                        (until <= at && at <= until + 6 * HOUR_S).then_some(1)
                    });
                } else if query.contains("kube_pod_completion_time") {
                    tell(&who, &|at| (until <= at && at <= until + 6 * HOUR_S).then_some(until));
                } else if query.contains("kube_pod_start_time") {
                    tell(&who, &slowly(from + 5));
                } else if query.contains("kube_pod_created") && !query.contains("[6m]") {
                    tell(&who, &slowly(from));
                }
            }
        }
    }
    format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{}]}}}}",
        result.join(",")
    )
}

async fn get(service: &Service, path: &str) -> (StatusCode, String) {
    let address = service.address().to_string().parse().unwrap();
    let (status, body) = client::get(&address, path, Duration::from_secs(10), 1 << 20)
        .await
        .unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Waits until something has been decided; the test's own limit bounds it.
async fn decided(service: &Service) -> Value {
    loop {
        let (_, body) = get(service, "/v1/decisions").await;
        let told: Value = serde_json::from_str(&body).unwrap();
        if told["decisions"].as_array().is_some_and(|all| !all.is_empty()) {
            return told;
        }
        tokio::task::yield_now().await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(2), future)
        .await
        .expect("it takes too long")
}

async fn end(service: Service) {
    service.shutdown().trigger();
    within(service.run()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_learns_decides_and_tells_run_times() {
    let stub = Stub::new(12).await;
    let service = stub.service().await;
    within(service.readiness().ready()).await;
    let told = within(decided(&service)).await;
    let model = &told["model"];
    assert_eq!(
        (&told["mode"], &told["trouble"]),
        (&Value::from("recommend"), &Value::Null)
    );
    // The first burst is at the very begin of the window.
    assert!((564..=576).contains(&model["gangs"].as_i64().unwrap()), "{model}");
    let money = |cost: &Value| cost["nodes"].as_f64().unwrap() + cost["waiting"].as_f64().unwrap();
    assert!(
        money(&model["cost"]) < money(&model["reactive_cost"]),
        "waiting is dear: {model}"
    );
    let decision = &told["decisions"][0];
    assert_eq!(decision["reactive"], false, "{decision}");
    assert!(
        decision["reason"].as_str().unwrap().contains("it would have cost"),
        "{decision}"
    );

    let path = format!("/v1/runtime?key=never-seen&key={KEY}");
    let address = service.address().to_string().parse().unwrap();
    let (status, body) = client::get(&address, &path, LIMIT, 4 << 10).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let fields: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        ["key", "p50_s", "p90_s", "samples"],
        "what the webhook reads, by the contract"
    );
    assert_eq!(answer["key"], KEY);
    assert!(answer["samples"].as_i64().unwrap() > 100, "{answer}");
    let (p50_s, p90_s) = (answer["p50_s"].as_i64().unwrap(), answer["p90_s"].as_i64().unwrap());
    assert!(1_000 < p50_s && p50_s <= p90_s && p90_s < 1_500, "{answer}");

    assert_eq!(
        get(&service, "/v1/runtime?key=never-seen").await,
        (StatusCode::NO_CONTENT, String::new())
    );
    for bad in [
        "/v1/runtime",
        "/v1/runtime?key=a&key=b&key=c&key=d&key=e",
        "/v1/runtime?key=",
        "/v1/decisions?last=x",
    ] {
        assert_eq!(get(&service, bad).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    let (_, metrics) = get(&service, "/metrics").await;
    for line in [
        "kompass_predictor_trainings_total{result=\"learned\"} 1",
        "kompass_predictor_decisions_total{kind=\"rule\"} 1",
        "kompass_predictor_model_age_seconds 0",
        "kompass_predictor_recommended_nodes",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    end(service).await;
}

/// Waits until a decision is as wanted; the test's own limit bounds it.
async fn decided_so(service: &Service, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let told = decided(service).await;
        if wanted(&told["decisions"][0]) {
            return told;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_without_a_prometheus_it_knows_what_it_knew() {
    let folder = tempfile::tempdir().unwrap();
    let keep = ["--model-dir", folder.path().to_str().unwrap()];
    let stub = Stub::new(12).await;
    let service = stub.service_with(&keep).await;
    within(service.readiness().ready()).await;
    let before = within(decided(&service)).await;
    end(service).await;

    stub.gone.store(true, Ordering::Release);
    let service = stub.service_with(&keep).await;
    within(service.readiness().ready()).await;
    let told = within(decided(&service)).await;
    assert_eq!(
        (&told["model"], &told["file_trouble"]),
        (&before["model"], &Value::Null)
    );
    let decision = &told["decisions"][0];
    let reason = decision["reason"].as_str().unwrap();
    assert!(
        decision["reactive"] == true && reason.contains("the last day is not known"),
        "{decision}"
    );
    // Run times are known all the same.
    assert_eq!(get(&service, &format!("/v1/runtime?key={KEY}")).await.0, StatusCode::OK);
    end(service).await;

    // The last day alone is known: the whole past is asked for in longer parts.
    stub.gone.store(false, Ordering::Release);
    stub.lately_only.store(true, Ordering::Release);
    let service = stub.service_with(&keep).await;
    let told = within(decided_so(&service, |decision| decision["reactive"] == false)).await;
    assert_eq!(told["model"], before["model"]);
    assert_eq!(told["decisions"][0]["wanted"], before["decisions"][0]["wanted"]);
    end(service).await;

    // Torn, with none before it: nothing but the reason is left.
    stub.gone.store(true, Ordering::Release);
    let file = folder.path().join("past");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let service = stub.service_with(&keep).await;
    let told = within(decided(&service)).await;
    let decision = &told["decisions"][0];
    assert_eq!((&told["model"], &decision["nodes"]), (&Value::Null, &Value::from(0)));
    assert!(
        decision["reason"].as_str().unwrap().contains("checksum does not match"),
        "{decision}"
    );
    end(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_too_little_history_it_is_ready_and_reactive() {
    let stub = Stub::new(0).await;
    // Of the half hour before now nothing but that it was seen.
    let service = stub.service().await;
    within(service.readiness().ready()).await;
    let told = within(decided(&service)).await;
    assert_eq!(told["model"], Value::Null);
    assert!(
        told["trouble"]
            .as_str()
            .unwrap()
            .contains("hours of it are known, 24 are needed"),
        "{told}"
    );
    let decision = &told["decisions"][0];
    assert_eq!(
        (&decision["reactive"], &decision["nodes"]),
        (&Value::from(true), &Value::from(0))
    );
    assert!(
        decision["reason"].as_str().unwrap().contains("24 are needed"),
        "{decision}"
    );
    assert_eq!(get(&service, "/readyz").await.0, StatusCode::OK);
    end(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_prometheus_it_is_not_ready_and_says_why() {
    let stub = Stub::new(0).await;
    stub.gone.store(true, Ordering::Release);
    let service = stub.service().await;
    let told = within(decided(&service)).await;
    assert_eq!(told["decisions"][0]["reactive"], true);
    let (status, text) = get(&service, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("learned from the past (failed to"), "{text}");
    assert_eq!(get(&service, "/v1/runtime?key=etl").await.0, StatusCode::NO_CONTENT);
    end(service).await;
}
