//! The service on a real Prometheus, filled with what it would have scraped of kube-state-metrics and an extender, and on a
//! real API server.

#![cfg(test)]

mod acts;
mod beside;
mod cluster;
mod kills;
mod stand_in;
mod troubles;

use std::fmt::Write as _;
use std::time::Duration;

use clap::Parser as _;
use http::StatusCode;
use kompass_local_cluster::prometheus::Server;
use kompass_predictor::Service;
use kompass_predictor::args::Args;
use kompass_service::client;
use kompass_service::clock::Clock;
use serde_json::Value;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 3_600;
/// 2026-11-02 00:00 UTC.
const NOW_S: i64 = 1_793_577_600;
const DAYS: i64 = 12;
/// When jobs come: two minutes after each even hour.
const SCHEDULE: &str = "2 */2 * * *";
const KEY: &str = "etl-0123abcd";
/// Of the job that an extender has shown last.
const WIDER: &str = "name.etl-4567cdef";

/// Samples of one metric, which the format wants together.
#[derive(Default)]
struct Metric(String);

impl Metric {
    fn each_minute(&mut self, name: &str, labels: &str, (from_s, to_s): (i64, i64), value: i64) {
        for at_s in (from_s..to_s).step_by(60) {
            writeln!(self.0, "{name}{{{labels}}} {value} {at_s}").unwrap();
        }
    }
}

/// At [`SCHEDULE`] four jobs a minute apart, each with a driver and an executor of one node each, for 20 minutes.
fn samples() -> String {
    samples_until(NOW_S)
}

/// The same until another full minute, the next burst two minutes after it.
fn samples_until(now_s: i64) -> String {
    let begin_s = now_s - DAYS * 24 * HOUR_S;
    let bursts = (0..DAYS * 12).map(|burst| begin_s + 2 * MINUTE_S + burst * 2 * HOUR_S);
    let jobs: Vec<i64> = bursts
        .flat_map(|at_s| (0..4).map(move |number| at_s + number * MINUTE_S + 7))
        .collect();
    let mut metrics: [Metric; 8] = Default::default();
    for (number, &from_s) in jobs.iter().enumerate() {
        for (role, pod) in [
            ("driver", format!("etl-{number}-driver")),
            ("executor", format!("etl-{number}-exec-1")),
        ] {
            let who = format!("namespace=\"jobs\",pod=\"{pod}\",uid=\"{pod}\"");
            let end_s = from_s + 20 * MINUTE_S;
            // Scraped at full minutes; a pod that has ended is shown for ten minutes more.
            let shown = ((from_s / 60 + 1) * 60, (end_s / 60 + 10) * 60);
            let ended = ((end_s / 60 + 1) * 60, shown.1);
            let labels = format!(
                "{who},label_spark_role=\"{role}\",label_spark_app_selector=\"spark-{number}\",\
                 label_kompass_dev_profile_key=\"{KEY}\""
            );
            let [created, started, completed, phases, requests, labelled, ..] = &mut metrics;
            created.each_minute("kube_pod_created", &who, shown, from_s);
            started.each_minute("kube_pod_start_time", &who, shown, from_s + 5);
            completed.each_minute("kube_pod_completion_time", &who, ended, end_s);
            phases.each_minute("kube_pod_status_phase", &format!("{who},phase=\"Succeeded\""), ended, 1);
            for (resource, value) in [("cpu", 1), ("memory", 1 << 30)] {
                let request = format!("{who},container=\"spark\",resource=\"{resource}\"");
                requests.each_minute("kube_pod_container_resource_requests", &request, shown, value);
            }
            labelled.each_minute("kube_pod_labels", &labels, shown, 1);
        }
    }
    let [created, .., kin, _] = &mut metrics;
    let own = "namespace=\"monitoring\",pod=\"kube-state-metrics-0\",uid=\"k\"";
    created.each_minute("kube_pod_created", own, (begin_s, now_s), begin_s);
    // An extender that came a minute ago and has counted nothing yet, but for whose kin the job is.
    let lately = (now_s - MINUTE_S, now_s);
    let info = format!("instance=\"a\",profile_key=\"{KEY}\",wider=\"{WIDER}\"");
    kin.each_minute("kompass_extender_profile_key_info", &info, lately, 1);
    metrics[7].each_minute(
        "kompass_extender_gangs_ended_total",
        "instance=\"a\",outcome=\"succeeded\"",
        lately,
        0,
    );
    metrics.map(|metric| metric.0).concat() + "# EOF\n"
}

async fn text(service: &Service, path: &str) -> (StatusCode, String) {
    let address = service.address().to_string().parse().unwrap();
    let (status, body) = client::get(&address, path, Duration::from_secs(10), 1 << 20)
        .await
        .unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(service: &Service, path: &str) -> (StatusCode, Value) {
    let (status, body) = text(service, path).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

/// On nodes that one driver and its executor fill twice over, with waiting dear.
async fn start(prometheus: &Server, more: &str) -> Service {
    kompass_service::tls::install_crypto_provider();
    let url = prometheus.url();
    let args = format!(
        "kompass-predictor --prometheus {url} --since 12d --node-cpu-milli 1000 --node-memory-mib 1024 --wait-price 200 \
         --mode recommend --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --shutdown-grace 0s {more}"
    );
    let args = Args::parse_from(args.split_whitespace());
    let (clock, _) = Clock::manual(NOW_S.unsigned_abs() * 1_000);
    Service::start(args.resolve().unwrap(), clock).await.unwrap()
}

/// What `/v1/decisions` tells once it is as wanted.
async fn decided(service: &Service, wanted: impl Fn(&Value) -> bool) -> Value {
    let told = tokio::time::timeout(Duration::from_mins(2), async {
        service.readiness().ready().await;
        loop {
            let (_, told) = get(service, "/v1/decisions").await;
            if told["decisions"].as_array().is_some_and(|all| !all.is_empty()) && wanted(&told) {
                return told;
            }
            tokio::task::yield_now().await;
        }
    });
    told.await.expect("it takes too long")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_is_learned_from() {
    let server = Server::with(&samples(), &[]).await.unwrap();
    let service = start(&server, "").await;
    let told = decided(&service, |_| true).await;

    assert_eq!(told["trouble"], Value::Null, "{told}");
    let (model, decision) = (&told["model"], &told["decisions"][0]);
    assert_eq!(model["gangs"], DAYS * 12 * 4, "{model}");
    assert_eq!(
        (&model["unknown_ms"], &decision["reactive"]),
        (&Value::from(0), &Value::from(false)),
        "{told}"
    );
    for keys in [format!("key={KEY}"), format!("key=never-seen&key={WIDER}")] {
        let (status, answer) = get(&service, &format!("/v1/runtime?{keys}")).await;
        assert_eq!(status, StatusCode::OK, "{keys}");
        let (p50_s, samples) = (answer["p50_s"].as_i64().unwrap(), answer["samples"].as_i64().unwrap());
        assert!((1_000..1_500).contains(&p50_s), "19 min 55 s: {answer}");
        assert_eq!(samples, DAYS * 12 * 4, "{answer}");
    }
    let (_, shape) = get(&service, &format!("/v1/shape?key=never-seen&key={WIDER}")).await;
    assert_eq!(
        (&shape["executors_p90"], &shape["executor_cpu_milli"]),
        (&1.into(), &1_000.into()),
        "{shape}"
    );
    assert_eq!(
        (&shape["driver_memory_mib"], &shape["key"]),
        (&1_024.into(), &WIDER.into()),
        "{shape}"
    );
    assert_eq!(get(&service, "/v1/shape").await.0, StatusCode::BAD_REQUEST);
    let (_, forecast) = get(&service, "/v1/forecast").await;
    assert_eq!(forecast["by"], "model", "{forecast}");
    assert_eq!(forecast["profiles"][0]["profile"], KEY, "{forecast}");
    // A burst of four comes at the begin of every other hour, this one's too.
    let [this, next] = [0, 1].map(|hour| forecast["gangs"]["hours"][hour]["gangs"].as_f64().unwrap());
    assert!(this > 2.0 && next < 2.0, "{forecast}");
    service.shutdown().trigger();
    service.run().await.unwrap();
}
