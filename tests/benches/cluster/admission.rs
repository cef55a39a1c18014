//! What admission costs at 500 pods a second, and how soon thousands of gated drivers have their profiles.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kompass_local_cluster::client::Client;
use kompass_tests::deployment::Deployment;
use kompass_tests::spark::Application;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::measure::{self, Cpu, metric};
use crate::recorder::Recorder;
use crate::{load, say};

/// Pods a second, unless told otherwise.
pub(crate) const RATE: u64 = 500;
const PODS: u64 = 10_000;
const GANGS: u64 = 100;
const DRIVERS: usize = 10_000;
/// Requests at once; more than that is a server that does not keep up.
const IN_FLIGHT: usize = 256;

/// Executors of 100 gangs, and as many pods that the webhook never sees, in turn.
pub(crate) async fn run(rate: u64) -> anyhow::Result<()> {
    let mut deployment = crate::deployment(false).await?;
    let recorder = Recorder::start(&deployment);
    let client = deployment.cluster().client().clone();
    deployment.start_extender().await?;
    deployment.start_webhook().await?;
    deployment.start_scheduler().await?;
    let gangs: Vec<Application> = (0..GANGS)
        .map(|number| Application::new(format!("app-{number}"), 500, PODS / GANGS, 100))
        .collect();
    let drivers = load::create_drivers(&client, &gangs).await?;
    load::create_configurations(&client, &gangs, &drivers).await?;
    let all = usize::try_from(GANGS)?;
    recorder
        .until("all drivers to be bound", |recorder| {
            recorder.bound(|name| name.ends_with("-driver")).len() == all
        })
        .await?;
    // What is measured is the way in, not the way to a node.
    let mut scheduler = deployment.scheduler.take().context("the scheduler does not run")?;
    scheduler.stop(Duration::from_secs(10)).await?;

    let plain = |number: u64| {
        let mut pod = gangs[0].executor_pod("", number);
        pod["metadata"] = serde_json::json!({ "name": format!("plain-{number}") });
        pod
    };
    let executor = |number: u64| {
        let at = usize::try_from(number % GANGS).unwrap_or(0);
        gangs[at].executor_pod(&drivers[at], number / GANGS + 1)
    };
    let quarter = PODS / 2;
    let processes = [
        ("API server", deployment.cluster().api_server().pid()),
        ("etcd", deployment.cluster().etcd().pid()),
        measure::process("webhook", deployment.webhook.as_ref())?,
        measure::process("extender", deployment.extender.as_ref())?,
        ("load", i32::try_from(std::process::id())?),
    ];
    for part in 0..2 {
        let numbers = part * quarter..(part + 1) * quarter;
        let cpu = Cpu::of(&processes)?;
        let times = at_rate(&client, rate, numbers.clone().map(plain)).await?;
        say(&format!(
            "pods past the webhook, {rate}/s: {}; {}",
            measure::percentiles(times),
            cpu_ms(&cpu, quarter)?
        ));
        let cpu = Cpu::of(&processes)?;
        let times = at_rate(&client, rate, numbers.map(executor)).await?;
        say(&format!(
            "executors through it, {rate}/s: {}; {}",
            measure::percentiles(times),
            cpu_ms(&cpu, quarter)?
        ));
    }
    let page = metrics(&deployment).await?;
    for percent in [50.0, 99.0] {
        let within = quantile_ms(&page, "kompass_webhook_review_seconds_bucket", percent);
        say(&format!("inside the webhook, p{percent:.0}: at most {within:.1} ms"));
    }
    memory(&page);
    drop(recorder);
    deployment.stop().await
}

/// Gated drivers whose configurations come all at once.
pub(crate) async fn profiles() -> anyhow::Result<()> {
    let mut deployment = crate::deployment(false).await?;
    let recorder = Recorder::start(&deployment);
    let client = deployment.cluster().client().clone();
    deployment.start_webhook().await?;
    let gangs: Vec<Application> = (0..DRIVERS)
        .map(|number| Application::new(format!("app-{}", letters(number)), 500, 3, 500))
        .collect();
    let started = Instant::now();
    let drivers = load::create_drivers(&client, &gangs).await?;
    say(&format!("{DRIVERS} drivers created in {:.1?}", started.elapsed()));
    let started = Instant::now();
    load::create_configurations(&client, &gangs, &drivers).await?;
    let created = started.elapsed();
    recorder
        .until("all drivers to be profiled", |recorder| recorder.profiled() == DRIVERS)
        .await?;
    say(&format!(
        "{DRIVERS} configurations created in {created:.1?}, all drivers profiled {:.1?} after the first",
        started.elapsed()
    ));
    memory(&metrics(&deployment).await?);
    drop(recorder);
    deployment.stop().await
}

/// A number in letters: what looks like the number of a run is no part of a job's name, and each of these is a job of
/// its own.
fn letters(number: usize) -> String {
    let digits = number.to_string();
    digits.bytes().map(|digit| char::from(digit - b'0' + b'g')).collect()
}

/// Creates pods, so many a second, however long each takes.
async fn at_rate(client: &Client, wanted: u64, pods: impl Iterator<Item = Value>) -> anyhow::Result<Vec<Duration>> {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let times = Arc::new(Mutex::new(Vec::new()));
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / wanted));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut requests = JoinSet::new();
    let started = Instant::now();
    let mut count = 0_u32;
    for pod in pods {
        ticks.tick().await;
        let slot = slots.clone().acquire_owned().await?;
        let (client, times) = (client.clone(), times.clone());
        count += 1;
        requests.spawn(async move {
            let began = Instant::now();
            let created = client.create(&load::path("pods"), &pod).await;
            times.lock().await.push(began.elapsed());
            drop(slot);
            created.map(drop)
        });
    }
    while let Some(created) = requests.join_next().await {
        created??;
    }
    let rate = f64::from(count) / started.elapsed().as_secs_f64();
    anyhow::ensure!(
        rate > 0.9 * wanted as f64,
        "the server took {rate:.0} pods a second only"
    );
    Ok(std::mem::take(&mut *times.lock().await))
}

async fn metrics(deployment: &Deployment) -> anyhow::Result<String> {
    deployment.get(deployment.webhook_admin(), "/metrics").await
}

/// Milliseconds of processor time a pod, by process.
#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn cpu_ms(cpu: &Cpu, pods: u64) -> anyhow::Result<String> {
    let used: Vec<String> = cpu
        .used()?
        .into_iter()
        .map(|(name, seconds)| format!("{name} {:.2}", 1_000.0 * seconds / pods as f64))
        .collect();
    Ok(format!("CPU, ms a pod: {}", used.join(", ")))
}

fn memory(page: &str) {
    let mib = metric(page, "process_resident_memory_bytes", &[]) / f64::from(1 << 20);
    say(&format!("memory of the webhook: {mib:.0} MiB"));
}

/// The upper end of the histogram's bucket that a percentile lies in, milliseconds.
fn quantile_ms(page: &str, buckets: &str, percent: f64) -> f64 {
    let mut counts: Vec<(f64, f64)> = page
        .lines()
        .filter_map(|line| {
            let (labels, count) = line.strip_prefix(buckets)?.rsplit_once(' ')?;
            let end = labels.split("le=\"").nth(1)?.split('"').next()?;
            let end = if end == "+Inf" {
                f64::INFINITY
            } else {
                end.parse().ok()?
            };
            Some((end, count.parse().ok()?))
        })
        .collect();
    counts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = counts.last().map_or(0.0, |&(_, count)| count);
    let within = counts.iter().find(|&&(_, count)| count >= all * percent / 100.0);
    within.map_or(f64::NAN, |&(end, _)| end * 1_000.0)
}
