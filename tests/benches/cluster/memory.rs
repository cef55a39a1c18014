//! Size of the extender in a cluster of 5,000 nodes and 50,000 pods, and how soon it is back after `kill -9`.

use std::time::{Duration, Instant};

use kompass_core::profile::{self, JobProfile, Shape, Source};
use kompass_core::{GangPlan, constraints::Constraints, names, plan};
use kompass_tests::spark::Application;
use serde_json::{Value, json};

use crate::{NODES, load, measure, say};

/// A recorded executor of Spark 4.1.4, as large as they are.
const EXECUTOR: &str =
    include_str!("../../../scheduler-extender/tests/data/extender-filter.cacheable.executor.request.json");
/// Running gangs, each of a driver and nine executors.
const GANGS: usize = 1_000;
const EXECUTORS: usize = 9;
/// Pods in all; the rest are nobody's.
const PODS: usize = 50_000;
const RESTARTS: usize = 5;

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut deployment = crate::deployment(false).await?;
    let client = deployment.cluster().client().clone();
    let started = Instant::now();
    let recording: Value = serde_json::from_str(EXECUTOR)?;
    let pod = &recording["Pod"];
    let applications: Vec<Application> = (0..GANGS)
        .map(|number| Application::new(format!("app-{number}"), 500, EXECUTORS as u64, 500))
        .collect();
    let drivers: Vec<Value> = applications
        .iter()
        .enumerate()
        .map(|(number, app)| driver(app, number))
        .collect();
    load::create_pods(&client, drivers).await?;
    let list = client
        .get(&format!(
            "{}?labelSelector=spark-role%3Ddriver&limit={GANGS}",
            load::path("pods")
        ))
        .await?;
    let drivers: Vec<(String, String)> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pod| (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"])))
        .collect();
    anyhow::ensure!(drivers.len() == GANGS, "{} drivers were created", drivers.len());
    let executors = drivers
        .iter()
        .flat_map(|owner| (0..EXECUTORS).map(move |id| executor(pod, owner, id)));
    load::create_pods(&client, executors).await?;
    // Plans name their driver's UID, which is only known now.
    for (name, uid) in &drivers {
        let annotations = json!({ names::PLAN_ANNOTATION: gang_plan(name, uid).to_annotation() });
        let path = format!("{}/{name}", load::path("pods"));
        client
            .merge_patch(&path, &json!({ "metadata": { "annotations": annotations } }))
            .await?;
    }
    let others = (0..PODS - GANGS * (1 + EXECUTORS)).map(|number| other(pod, number));
    load::create_pods(&client, others).await?;
    say(&format!(
        "{NODES} nodes and {PODS} pods created in {:.0?}",
        started.elapsed()
    ));

    let (mut times, mut peaks, mut settled) = (Vec::new(), Vec::new(), Vec::new());
    deployment.start_extender().await?;
    for _ in 0..RESTARTS {
        // Dropping kills it with SIGKILL.
        deployment.extender = None;
        let started = Instant::now();
        deployment.start_extender().await?;
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (_, process) = measure::process("extender", deployment.extender.as_ref())?;
        let (now, peak) = measure::memory_mib(process)?;
        settled.push(now as f64);
        peaks.push(peak as f64);
    }
    let metrics = deployment.get(deployment.extender_admin(), "/metrics").await?;
    say(&format!(
        "known to the extender: {} pods, {} nodes, {} gangs",
        measure::metric(&metrics, "kompass_extender_pods", &[]),
        measure::metric(&metrics, "kompass_extender_nodes", &[]),
        measure::metric(&metrics, "kompass_extender_gangs", &[]),
    ));
    say(&format!("killed to ready again: {}", measure::percentiles(times)));
    say(&format!(
        "memory of the extender: {} MiB after 5 s, {} MiB at most (medians of {RESTARTS})",
        measure::median(settled),
        measure::median(peaks)
    ));
    deployment.stop().await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn node(number: usize) -> String {
    format!("node-{}", number % NODES)
}

/// The number in the name of a driver.
fn number(driver: &str) -> usize {
    driver
        .split('-')
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn driver(application: &Application, number: usize) -> Value {
    let shape = Shape {
        cpu_milli: 500,
        memory_mib: 896,
        extended: std::collections::BTreeMap::new(),
    };
    let profile = JobProfile {
        version: profile::VERSION,
        spark_version: Some("4.1.4".to_owned()),
        driver: shape.clone(),
        executor: shape,
        executors_at_start: EXECUTORS as u64,
        executors_max: Some(EXECUTORS as u64),
        dynamic_allocation: false,
        executor_constraints: Constraints::default(),
        executor_priority_class: None,
        profile_key: format!("key-{number}"),
        runtime: None,
        source: Source::Conf,
        warnings: Vec::new(),
    };
    let mut pod = application.driver_pod();
    pod["metadata"]["annotations"] = json!({ names::PROFILE_ANNOTATION: profile.to_annotation() });
    pod["spec"]["schedulerName"] = names::SCHEDULER.into();
    pod["spec"]["nodeName"] = node(number).into();
    pod
}

fn gang_plan(driver: &str, uid: &str) -> GangPlan {
    let number = number(driver);
    GangPlan {
        version: plan::VERSION,
        uid: uid.to_owned(),
        driver: node(number),
        executors: (0..EXECUTORS).map(|id| (node(number + id), 1)).collect(),
        planned_ms: 1,
    }
}

fn executor(recorded: &Value, (driver, uid): &(String, String), id: usize) -> Value {
    let mut pod = recorded.clone();
    pod["metadata"] = json!({
        "name": format!("{driver}-exec-{id}"),
        "labels": recorded["metadata"]["labels"],
        "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "controller": true, "name": driver, "uid": uid }],
    });
    pod["metadata"]["labels"][names::GANG_LABEL] = uid.as_str().into();
    settle(pod, &node(number(driver) + id), names::SCHEDULER)
}

fn other(recorded: &Value, number: usize) -> Value {
    let mut pod = recorded.clone();
    pod["metadata"] =
        json!({ "name": format!("other-{number}"), "labels": { "app": format!("app-{}", number % 100) } });
    settle(pod, &node(number), "default-scheduler")
}

fn settle(mut pod: Value, node: &str, scheduler: &str) -> Value {
    pod["spec"]["schedulerName"] = scheduler.into();
    pod["spec"]["nodeName"] = node.into();
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "500m", "memory": "896Mi" } });
    pod
}
