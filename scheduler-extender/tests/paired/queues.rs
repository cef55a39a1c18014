//! The queue file of a running extender.

use std::time::{Duration, Instant};

use clap::Parser as _;
use kompass_scheduler_extender::Service;
use kompass_scheduler_extender::args::Cli;
use serde_json::Value;

use crate::cluster::{self, PATIENCE};
use crate::extender::{Extender, get, get_text};

async fn until(extender: &Extender, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = get(extender, "/v1/queues").await;
        if wanted(&seen) {
            return seen;
        }
        assert!(
            Instant::now() < deadline,
            "/v1/queues did not become as wanted: {seen:#}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_file_is_followed_and_a_wrong_one_starts_nothing() {
    let cluster = cluster::start(0).await;
    let file = cluster.folder().join("queues.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let named = file.to_str().unwrap();

    write("version: 1\nqueues: [{ name: etl, weight: 0 }]\n");
    let cli = [
        "kompass-scheduler-extender",
        "--listen",
        "127.0.0.1:0",
        "--queues",
        named,
    ];
    let config = Cli::try_parse_from(cli).unwrap().serve.resolve().unwrap();
    let said = format!("{:#}", Service::start(config).await.unwrap_err());
    assert!(
        said.contains(named) && said.contains("the weight 0 of the queue \"etl\""),
        "{said}"
    );

    write("version: 1\nqueues: [{ name: etl, weight: 2, limit: { cpu: 1500m } }]\n");
    let extender = Extender::start(&cluster, "127.0.0.1:0", &["--queues", named]).await;
    let seen = get(&extender, "/v1/queues").await;
    assert_eq!(
        (&seen["in_force"], &seen["file"]),
        (&true.into(), &named.into()),
        "{seen}"
    );
    assert_eq!(seen["queues"][0]["limit"]["cpu"], "1500m");
    let etl = &seen["state"][0];
    assert_eq!(
        (&etl["name"], &etl["weight"], &etl["waiting"]),
        (&"etl".into(), &2.into(), &0.into()),
        "{seen}"
    );

    write("version: 1\nqueues: [{ name: etl, weight: 3 }]\n");
    until(&extender, |seen| seen["queues"][0]["weight"] == 3).await;
    write("version: 1\nqueues: [{ name: etl, wieght: 4 }]\n");
    let seen = until(&extender, |seen| seen["in_force"] == false).await;
    assert_eq!(seen["queues"][0]["weight"], 3, "the old rules stay");
    assert!(
        seen["refused"]["message"].as_str().unwrap().contains("`wieght`"),
        "{seen}"
    );
    let metrics = get_text(&extender, "/metrics").await;
    for line in [
        "kompass_extender_queue_file_in_force 0\n",
        "kompass_extender_queue_file_loads_total{result=\"applied\"} 2\n",
        "kompass_extender_queue_file_loads_total{result=\"refused\"} 1\n",
        "kompass_extender_watch_events_total{kind=\"namespace\"}",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    extender.stop().await;
    cluster.stop().await.unwrap();
}
