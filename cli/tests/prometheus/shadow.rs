//! `kompass shadow-report`.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::samples::{BEGIN_MS, HOUR_MS, MINUTE_MS, Samples};
use crate::server::Server;

const SECOND_MS: i64 = 1_000;

/// A pod: its name, and when it was created, got its node (or never did), ended and was deleted.
struct Pod {
    name: String,
    created_ms: i64,
    started_ms: Option<i64>,
    ended_ms: Option<i64>,
    deleted_ms: i64,
    milli: i64,
}

/// A driver for two hours, from its creation on, and two executors that it asks for half a minute later, each of which gets
/// its node after so long or never.
fn job(name: &str, created_ms: i64, waits: [Option<i64>; 2]) -> Vec<Pod> {
    let end_ms = created_ms + 2 * HOUR_MS;
    let asked_ms = created_ms + 30 * SECOND_MS;
    let driver = Pod {
        name: format!("{name}-driver"),
        created_ms,
        started_ms: Some(created_ms + 4 * SECOND_MS),
        ended_ms: Some(end_ms),
        deleted_ms: end_ms + HOUR_MS,
        milli: 1_000,
    };
    let executors = waits.iter().zip(1..).map(|(wait_ms, number)| Pod {
        name: format!("{name}-exec-{number}"),
        created_ms: asked_ms,
        started_ms: wait_ms.map(|wait_ms| asked_ms + wait_ms),
        ended_ms: None,
        deleted_ms: end_ms,
        milli: 2_000,
    });
    std::iter::once(driver).chain(executors).collect()
}

/// As kube-state-metrics shows them, scraped each minute for a day.
fn scraped(pods: &[Pod]) -> Samples {
    let mut samples = Samples::default();
    for (index, pod) in pods.iter().enumerate() {
        let place = format!(
            "instance=\"10.0.0.9:8080\",job=\"kube-state-metrics\",namespace=\"etl\",pod=\"{}\",uid=\"u{index}\"",
            pod.name
        );
        let mut at_ms = BEGIN_MS;
        while at_ms < BEGIN_MS + 24 * HOUR_MS {
            let past = |time: Option<i64>| time.filter(|time| *time <= at_ms).map(|time| (time / SECOND_MS) as f64);
            if at_ms < pod.deleted_ms
                && let Some(created) = past(Some(pod.created_ms))
            {
                samples.add("kube_pod_created", &place, at_ms, created);
                if let Some(started) = past(pod.started_ms) {
                    samples.add("kube_pod_start_time", &place, at_ms, started);
                }
                if let Some(ended) = past(pod.ended_ms) {
                    samples.add("kube_pod_completion_time", &place, at_ms, ended);
                }
                let requests =
                    |resource, unit| format!("{place},container=\"spark\",resource=\"{resource}\",unit=\"{unit}\"");
                let metric = "kube_pod_container_resource_requests";
                samples.add(metric, &requests("cpu", "core"), at_ms, pod.milli as f64 / 1_000.0);
                samples.add(metric, &requests("memory", "byte"), at_ms, f64::from(1 << 30));
            }
            at_ms += MINUTE_MS;
        }
    }
    samples
}

async fn report(url: &str, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kompass"));
    command.args([
        "shadow-report",
        "--prometheus",
        url,
        "--since",
        "1d",
        "--until",
        "2026-09-02",
    ]);
    command.args(options).kill_on_drop(true).output().await.unwrap()
}

#[tokio::test]
async fn two_jobs_that_hold_what_the_other_lacks_are_told_with_what_that_cost() {
    let at = |minutes| BEGIN_MS + 2 * HOUR_MS + minutes * MINUTE_MS;
    let quick = Some(3 * SECOND_MS);
    let mut pods = [
        job("good", at(-60), [quick, quick]),
        // Each has an executor at once; the other comes after an hour, or never.
        job("slow", at(0), [quick, Some(HOUR_MS)]),
        job("never", at(10), [quick, None]),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    // Its driver never got a node: it held nothing.
    pods.extend(
        job("refused", at(20), [None, None])
            .into_iter()
            .take(1)
            .map(|driver| Pod {
                started_ms: None,
                ended_ms: None,
                ..driver
            }),
    );
    // What has no executor is Spark's by its labels alone.
    let mut samples = scraped(&pods);
    let labels = "instance=\"10.0.0.9:8080\",job=\"kube-state-metrics\",namespace=\"etl\",pod=\"refused-driver\",uid=\"u9\",\
                  label_spark_role=\"driver\"";
    for minute in 0..100 {
        samples.add("kube_pod_labels", labels, at(20 + minute), 1.0);
    }
    let server = Server::with(&samples.text(), &[]).await.unwrap();

    let output = report(&server.url(), &["--json"]).await;
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| told[name].as_f64().unwrap();
    let near = |name: &str, expected: f64, by: f64| {
        assert!(
            (number(name) - expected).abs() <= by,
            "{name} is not {expected}: {told:#}"
        );
    };
    for (name, expected) in [
        ("gangs", 3.0),
        ("never_ran", 1.0),
        ("short_gangs", 2.0),
        ("without_node", 1.0),
        ("stand_offs", 1.0),
        ("most_at_once", 2.0),
    ] {
        near(name, expected, 0.0);
    }
    // An hour of the one; of the other all but the half minute before it asked. Both at once from the tenth minute on.
    let (minute, hour) = (60_000.0, 3_600_000.0);
    near("wait_p50_ms", 4_000.0, 0.0);
    near("longest_ms", 119.5 * minute, minute);
    near("short_ms", hour + 119.5 * minute, minute);
    near("stand_off_ms", 50.0 * minute, minute);
    // A driver and an executor each: three CPUs and two GiB.
    near("cpu_hours", 3.0 * (60.0 + 119.5) / 60.0, 0.1);
    near("gib_hours", 2.0 * (60.0 + 119.5) / 60.0, 0.1);
    assert_eq!(told["worst"][0]["driver"], "never-driver", "{told:#}");

    let node = ["--node-cpu-milli=6000", "--node-memory-mib=64000", "--node-price=0.5"];
    let output = report(&server.url(), &node).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    // Half a node for three hours.
    for words in [
        "3 gangs whose driver ran, 1 that never did",
        "Several at once, each holding what others lacked: 1 times",
        "1.5 hours of a node or 0.75 in money",
        "etl/never-driver",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn a_prometheus_without_kube_state_metrics_is_told_so() {
    let mut samples = Samples::default();
    samples.add("up", "job=\"node\"", BEGIN_MS + HOUR_MS, 1.0);
    let server = Server::with(&samples.text(), &[]).await.unwrap();
    let output = report(&server.url(), &[]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("kube-state-metrics"), "{said}");
}
