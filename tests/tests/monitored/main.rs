//! Prometheus, its operator and kube-state-metrics as the chart brings them, in pods: what they read of KOMPASS's pods. It takes
//! three programs that nothing else needs, and minutes to compile them, so this target is run by `cargo xtask test --full` alone.
//!
//! Needs root, and the programs and images that `cargo xtask prepare --full` makes.

#![cfg(test)]
#![allow(clippy::print_stdout, reason = "a long test tells what it has seen")]

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kompass_local_cluster::full;
use kompass_local_cluster::progress::Progress;
use kompass_tests::deployment::JOBS;
use kompass_tests::installed::{Installed, NAMESPACE, PATIENCE, component, words};
use kompass_tests::spark::{Application, Behaviour, Drivers, Stream};
use kompass_tests::wait_for;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

const NAME: &str = "kompass-monitored";

/// What is read, and of how many pods. kube-scheduler asks whoever wants its metrics for his rights.
const JOB_PODS: [(&str, f64); 5] = [
    ("kompass-scheduler", 2.0),
    ("kompass-kube-scheduler", 2.0),
    ("kompass-admission-webhook", 2.0),
    ("kompass-predictor", 1.0),
    ("kube-state-metrics", 1.0),
];

/// Those of KOMPASS itself, with the scheduler that asks it.
const KOMPASS_JOBS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_every_part_and_its_operator_is_left_to_others() {
    let watched = watch().await;
    let removed = full::down(NAME, &Progress::lines()).await;
    watched.unwrap();
    removed.unwrap();
    assert_eq!(full::leftovers(NAME).unwrap(), Vec::<String>::new());
}

/// The steps share one cluster, so they are one test.
async fn watch() -> anyhow::Result<()> {
    let installed = Installed::up(NAME, &["--monitoring"]).await?;
    prometheus_reads_every_part(&installed).await?;
    a_gang_is_counted(&installed).await?;
    use_of_machines(&installed).await?;
    predictor_is_killed_while_jobs_come(&installed).await?;
    uninstall_leaves_the_kinds_of_the_operator(&installed).await
}

async fn prometheus_reads_every_part(installed: &Installed) -> anyhow::Result<()> {
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
    wait_for("every rule to be evaluated", PATIENCE, || rules(installed)).await
}

/// From a driver's start to what a dashboard shows.
async fn a_gang_is_counted(installed: &Installed) -> anyhow::Result<()> {
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
    .await
}

async fn uninstall_leaves_the_kinds_of_the_operator(installed: &Installed) -> anyhow::Result<()> {
    let output = installed.script(&["uninstall", "--yes"]).await?;
    anyhow::ensure!(output.status.success(), "{}", words(&output));
    anyhow::ensure!(installed.pods().await?.is_empty(), "pods of KOMPASS are left");
    // Others may use the operator's kinds by now: with a kind all of its objects go.
    let kinds = ["get", "customresourcedefinitions", "--output=name"];
    let kinds = installed.cluster.kubectl(&kinds).await?;
    let left = kinds
        .lines()
        .filter(|name| name.ends_with(".monitoring.coreos.com"))
        .count();
    anyhow::ensure!(left == 5, "kinds of the operator: {kinds}");
    Ok(())
}

/// What the parts say of themselves that they take, for whoever reads the test's output. These are debug builds, which take
/// more than released ones.
async fn use_of_machines(installed: &Installed) -> anyhow::Result<()> {
    let memory = "sum by (job) (process_resident_memory_bytes{job=~\"kompass.*\"})";
    let cpu = "sum by (job) (process_cpu_seconds_total{job=~\"kompass.*\"})";
    wait_for("what the parts take to be known", PATIENCE, || async {
        let (memory, cpu) = (query(installed, memory).await?, query(installed, cpu).await?);
        let (memory, cpu) = (by_label(&memory, "job")?, by_label(&cpu, "job")?);
        if memory.len() < KOMPASS_JOBS || cpu.len() < KOMPASS_JOBS {
            return Err(format!("{memory:?}, {cpu:?}"));
        }
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        for (job, bytes) in &memory {
            println!(
                "{job}: {:.0} MiB, {:.1} s of CPU since its start",
                mib(*bytes),
                cpu[job]
            );
        }
        println!("KOMPASS: {:.0} MiB", mib(memory.values().sum()));
        Ok(())
    })
    .await
}

/// What it knows is its model's and Prometheus's: the next one goes on, and jobs have not noticed.
async fn predictor_is_killed_while_jobs_come(installed: &Installed) -> anyhow::Result<()> {
    let is_predictor = |pod: &&Pod| component(pod) == "predictor";
    let all = installed.pods().await?;
    let victim = all.iter().find(is_predictor).context("no predictor runs")?.name_any();
    let stream = Stream::start(&installed.client, PATIENCE, "unpredicted", 12);
    stream.some_done(1).await?;
    let pods: Api<Pod> = Api::namespaced(installed.client.clone(), NAMESPACE);
    pods.delete(&victim, &DeleteParams::default().grace_period(0)).await?;
    wait_for("the next predictor to be read", PATIENCE, || async {
        let up = format!("sum(up{{job=\"kompass-predictor\",pod!=\"{victim}\"}})");
        let answer = query(installed, &up).await?;
        match number(&answer["result"][0]) {
            Ok(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    stream.finish("predictor killed").await
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
