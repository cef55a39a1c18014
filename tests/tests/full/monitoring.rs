//! Prometheus, its operator and kube-state-metrics as the chart brings them, in pods: what they read of KOMPASS's pods.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context as _;
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use serde_json::Value;

use crate::PATIENCE;
use crate::installed::{Installed, JOBS, NAMESPACE, words};

/// What is read, and of how many pods. kube-scheduler asks whoever wants its metrics for his rights.
const JOB_PODS: [(&str, f64); 5] = [
    ("kompass-scheduler", 2.0),
    ("kompass-kube-scheduler", 2.0),
    ("kompass-admission-webhook", 2.0),
    ("kompass-predictor", 1.0),
    ("kube-state-metrics", 1.0),
];

pub(crate) async fn prometheus_reads_every_part(installed: &Installed) -> anyhow::Result<()> {
    let began = Instant::now();
    installed.local_up(&["--monitoring"]).await?;
    println!("with Prometheus up after {:?}", began.elapsed());
    let expected: BTreeMap<String, f64> = JOB_PODS.map(|(job, pods)| (job.to_owned(), pods)).into();
    wait_for("Prometheus to read every pod", PATIENCE, || async {
        let read = query(installed, "sum by (job) (up{job=~\"kompass.*|kube-state-metrics\"})").await?;
        let read = by_label(&read, "job")?;
        if read == expected {
            Ok(())
        } else {
            Err(format!("{read:?}"))
        }
    })
    .await?;
    wait_for("every rule to be evaluated", PATIENCE, || rules(installed)).await?;

    // From a driver's start to what a dashboard shows.
    let application = Application::new("watched", 1_000, 2, 1_000).on_fake_nodes();
    let applications = std::slice::from_ref(&application);
    let drivers = Drivers::start(installed.client.clone(), JOBS, applications, Behaviour::default());
    application.submit(&installed.client, JOBS).await?;
    wait_for("a gang to be counted", PATIENCE, || async {
        for (metric, least) in [
            ("sum(kompass_extender_gangs_finished_total)", 1.0),
            ("sum(kube_pod_labels{label_spark_role=\"driver\"})", 1.0),
            ("sum(scheduler_schedule_attempts_total{result=\"scheduled\"})", 3.0),
        ] {
            let answer = query(installed, metric).await?;
            let value = number(&answer["result"][0])?;
            if value < least {
                return Err(format!("{metric} is {value}; {:?}", drivers.timelines()));
            }
        }
        Ok(())
    })
    .await?;
    memory(installed).await;

    let output = installed.script(&["uninstall", "--yes"]).await?;
    anyhow::ensure!(output.status.success(), "{}", words(&output));
    anyhow::ensure!(installed.pods().await?.is_empty(), "pods of KOMPASS are left");
    Ok(())
}

/// What the parts take, for whoever reads the test's output.
async fn memory(installed: &Installed) {
    let all =
        format!("sum by (container) (container_memory_working_set_bytes{{namespace=\"{NAMESPACE}\",container!=\"\"}})");
    match query(installed, &all)
        .await
        .and_then(|answer| by_label(&answer, "container"))
    {
        Ok(bytes) => {
            let mib = bytes
                .iter()
                .map(|(name, bytes)| format!("{name} {:.0} MiB", bytes / f64::from(1 << 20)));
            println!("memory: {}", mib.collect::<Vec<_>>().join(", "));
        }
        Err(error) => println!("memory is not known: {error}"),
    }
}

/// Every rule of the chart is known to Prometheus, and none fails.
async fn rules(installed: &Installed) -> Result<(), String> {
    let answer = ask(installed, "rules").await?;
    let groups = answer["groups"].as_array().cloned().unwrap_or_default();
    let rules: Vec<&Value> = groups
        .iter()
        .filter_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    let alerts = rules.iter().filter(|rule| rule["type"] == "alerting").count();
    let bad: Vec<&&Value> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    if alerts > 40 && bad.is_empty() {
        Ok(())
    } else {
        Err(format!("{alerts} alerts, {bad:?}"))
    }
}

async fn query(installed: &Installed, promql: &str) -> Result<Value, String> {
    let escaped: String = form_urlencoded::byte_serialize(promql.as_bytes()).collect();
    ask(installed, &format!("query?query={escaped}")).await
}

/// Through the API server, as a user without a port-forward would.
async fn ask(installed: &Installed, path: &str) -> Result<Value, String> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/services/kompass-prometheus:9090/proxy/api/v1/{path}");
    let asked = async {
        let request = http::Request::get(path).body(Vec::new())?;
        let mut answer: Value = installed.client.request(request).await?;
        Ok::<Value, anyhow::Error>(answer["data"].take())
    };
    asked.await.map_err(|error| format!("{error:#}"))
}

fn by_label(answer: &Value, label: &str) -> Result<BTreeMap<String, f64>, String> {
    let series = answer["result"].as_array().ok_or("no result")?;
    let one = |series: &Value| {
        let name = series["metric"][label].as_str().unwrap_or_default().to_owned();
        Ok((name, number(series)?))
    };
    series.iter().map(one).collect()
}

fn number(series: &Value) -> Result<f64, String> {
    let text = series["value"][1].as_str().context("no value");
    let number = text.and_then(|text| Ok(text.parse()?));
    number.map_err(|error: anyhow::Error| format!("{error:#} in {series}"))
}
