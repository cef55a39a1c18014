//! `kompass backtest --prometheus` on a real Prometheus with a past that is made up.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::extender::{Extender, Truth, scrape};
use crate::samples::{Chance, DAY_MS, HOUR_MS, MINUTE_MS, Samples};
use crate::server::Server;

/// 2025-01-01, and 20 days later. Long ago, as no clock may be before the end of the past that is looked at.
const BEGIN_MS: i64 = 1_735_689_600_000;
const DAYS: i64 = 20;
/// Nothing was scraped then, in the test.
const GAP: (i64, i64) = (BEGIN_MS + 15 * DAY_MS, BEGIN_MS + 15 * DAY_MS + 2 * HOUR_MS);

/// Each day packs of six gangs of a node each within a minute, every 25 minutes for some hours: longer than an idle node is
/// kept.
fn gangs() -> Vec<Truth> {
    let mut chance = Chance(1);
    let mut gangs = Vec::new();
    for day in 0..DAYS {
        let first_ms = BEGIN_MS + day * DAY_MS + 3 * HOUR_MS + chance.below(12 * HOUR_MS);
        for pack in 0..12 {
            for _ in 0..6 {
                gangs.push(Truth {
                    profile: "etl-0a1b2c3d",
                    submit_ms: first_ms + pack * 25 * MINUTE_MS + chance.below(MINUTE_MS),
                    wait_ms: 1_500,
                    run_ms: 30_000 + chance.below(200_000),
                    outcome: "succeeded",
                    executors: 3,
                    executor_milli: 2_000,
                    executor_bytes: 8 << 30,
                });
            }
        }
    }
    gangs
}

async fn backtest(folder: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kompass"));
    command.current_dir(folder).kill_on_drop(true).arg("backtest");
    command.args(["--node-cpu-milli", "8000", "--node-memory-mib", "32768"]);
    command.args(options).output().await.unwrap()
}

fn results(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

#[tokio::test]
async fn the_past_of_a_prometheus_is_backtested_as_its_trace_is() {
    let mut samples = Samples::default();
    let extender = Extender {
        instance: "10.0.0.1:8080",
        from_ms: BEGIN_MS,
        to_ms: BEGIN_MS + DAYS * DAY_MS,
        restarts_ms: Vec::new(),
    };
    scrape(&mut samples, &extender, &gangs(), &[GAP]);
    let server = Server::with(&samples.text(), &[]).await.unwrap();
    let url = server.url();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();

    let past = ["--prometheus", &url, "--since", "20d", "--until", "2025-01-21"];
    let files = [
        "--json",
        "asked.json",
        "--html",
        "asked.html",
        "--save-trace",
        "saved.csv",
    ];
    let output = backtest(folder, &[&past[..], &files].concat()).await;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(folder.join("asked.html")).unwrap();
    for text in [&told, &page] {
        assert!(text.contains("2025-01-16 (") && text.contains(&url), "{text}");
    }
    let mut asked = results(folder, "asked.json");
    let text = asked["recommendation"]["text"].as_str().unwrap();
    // Everybody waits for a node without headroom, so that something is worth keeping.
    assert!(told.contains(text) && !text.contains("Keep no nodes"), "{told}");
    let source = asked["source"].take();
    assert_eq!(
        [&source["kind"], &source["server"], &source["from"], &source["to"]],
        [
            "prometheus",
            url.as_str(),
            "2025-01-01T00:00:00Z",
            "2025-01-21T00:00:00Z"
        ]
    );
    let gaps: Vec<&Value> = source["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["why"] == "no_samples")
        .collect();
    assert_eq!(gaps.len(), 1, "{source}");
    let unknown_s = source["unknown_test_s"].as_i64().unwrap();
    assert!((6_600..=7_320).contains(&unknown_s), "{source}");
    assert_eq!(asked["gangs"], DAYS * 12 * 6, "{source}");

    let again = backtest(folder, &["--trace", "saved.csv", "--json", "again.json"]).await;
    assert!(again.status.success(), "{again:?}");
    let mut again = results(folder, "again.json");
    assert_eq!(again["source"].take()["file"], "saved.csv");
    // A trace does not say when nobody looked, so that hours of the gap count as quiet ones in its forecasts.
    let unknown = |results: &mut Value| {
        let forecast = results["forecast"].take();
        let hours = forecast["hours"].as_array().unwrap();
        hours.iter().filter(|hour| hour["arrived"].is_null()).count()
    };
    assert!((1..=3).contains(&unknown(&mut asked)) && unknown(&mut again) == 0);
    assert!(again == asked, "the same results");

    // What can be done where there is not enough of it.
    for (options, words) in [
        (["--since", "3d", "--until", "2025-01-21"], "--since 20d"),
        (["--since", "28d", "--until", "2025-01-06"], "until 2025-01-20 00:"),
        (
            ["--since", "3d", "--until", "2024-06-01"],
            "has neither KOMPASS's series",
        ),
        (["--since", "2h", "--until", "2025-01-21"], "failed to find jobs"),
        (["--since", "3d", "--until", "9000-01-01"], "still to come"),
    ] {
        let options = [&["--prometheus", &url][..], &options].concat();
        let output = backtest(folder, &options).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{options:?}: {said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[tokio::test]
async fn a_trace_and_a_prometheus_exclude_each_other() {
    let folder = tempfile::tempdir().unwrap();
    for options in [
        &[][..],
        &["--trace", "a.csv", "--prometheus", "http://p"],
        &["--trace", "a.csv", "--since", "3d"],
        &["--trace", "a.csv", "--save-trace", "b.csv"],
        &["--prometheus", "p:9090"],
        &["--prometheus", "http://p", "--since", "3"],
    ] {
        let output = backtest(folder.path(), options).await;
        assert_eq!(output.status.code(), Some(2), "{options:?}: {output:?}");
    }
}
