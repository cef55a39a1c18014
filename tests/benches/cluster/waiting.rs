//! A thousand gangs wait: what that costs, and how soon one starts when there is room.

use std::time::{Duration, Instant};

use kompass_local_cluster::kwok::Shape;
use kompass_tests::deployment::Deployment;
use kompass_tests::spark::Application;
use kompass_tests::wait_for;
use serde_json::Value;

use crate::measure::{Cpu, metric, process};
use crate::recorder::Recorder;
use crate::{PATIENCE, load, measure, say};

const GANGS: usize = 1_000;
/// Nodes of the pool that they wait for, each full.
const POOL: usize = 60;
const SAMPLES: usize = 50;
const WINDOW: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut deployment = crate::deployment(true).await?;
    let recorder = Recorder::start(&deployment);
    add_full_pool(&mut deployment, "queue", POOL).await?;
    add_full_pool(&mut deployment, "last", 1).await?;
    let gangs: Vec<Application> = (0..GANGS)
        .map(|number| gang(&format!("app-{number:04}"), "queue"))
        .collect();
    let client = deployment.cluster().client().clone();
    let uids = load::create_drivers(&client, &gangs).await?;
    load::create_configurations(&client, &gangs, &uids).await?;
    all_wait(&deployment, GANGS).await?;

    // Events and demands of the beginning are over.
    tokio::time::sleep(Duration::from_secs(5)).await;
    idle(&mut deployment).await?;

    let (mut heads, mut tails) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES {
        heads.push(head(&deployment, &recorder, &client, number).await?);
        tails.push(tail(&deployment, &recorder, &client, number).await?);
    }
    say(&format!(
        "room to the next driver of the queue bound, 1,000 waiting: {}",
        measure::percentiles(heads)
    ));
    say(&format!(
        "room to the last driver in line bound, 1,000 before it: {}",
        measure::percentiles(tails)
    ));
    drop(recorder);
    deployment.stop().await
}

/// A gang that fills a node of its pool.
fn gang(name: &str, pool: &str) -> Application {
    let mut application = Application::new(name, 2_500, 2, 2_500);
    application.node_selector = vec![("pool".to_owned(), pool.to_owned())];
    application.labels = vec![("kompass.dev/queue".to_owned(), pool.to_owned())];
    application
}

async fn add_full_pool(deployment: &mut Deployment, pool: &str, nodes: usize) -> anyhow::Result<()> {
    let shape = Shape {
        name_prefix: pool.to_owned(),
        cpu_millis: 8_000,
        labels: [("pool".to_owned(), pool.to_owned())].into(),
        ready_at_once: true,
        ..Shape::default()
    };
    let cluster = deployment.cluster();
    let fillers =
        (0..nodes).map(|number| load::filler(&format!("filler-{pool}-{number}"), &format!("{pool}-{number}"), 8_000));
    load::create_pods(cluster.client(), fillers).await?;
    cluster.add_fake_nodes(nodes, &shape).await?;
    Ok(())
}

/// Waits until so many gangs wait for room, all of them told why.
async fn all_wait(deployment: &Deployment, gangs: usize) -> anyhow::Result<()> {
    wait_for("all gangs to wait", PATIENCE, || async {
        let text = deployment
            .get(deployment.extender_admin(), "/metrics")
            .await
            .map_err(|error| error.to_string())?;
        let waiting = metric(&text, "kompass_extender_gangs", &[r#"state="waiting""#]);
        let unprofiled = metric(&text, "kompass_extender_gangs_waiting", &[r#"reason="no-profile""#]);
        if waiting - unprofiled >= gangs as f64 {
            Ok(())
        } else {
            Err(format!("{waiting} wait, {unprofiled} of them for a profile"))
        }
    })
    .await
}

/// What it costs that they wait while nothing happens.
async fn idle(deployment: &mut Deployment) -> anyhow::Result<()> {
    let processes = [
        process("extender", deployment.extender.as_ref())?,
        process("scheduler", deployment.scheduler.as_ref())?,
        process("webhook", deployment.webhook.as_ref())?,
        ("API server", deployment.cluster().api_server().pid()),
    ];
    let filtered = filter_calls(deployment).await?;
    let (cpu, started) = (Cpu::of(&processes)?, Instant::now());
    tokio::time::sleep(WINDOW).await;
    let elapsed = started.elapsed().as_secs_f64();
    let used: Vec<String> = cpu
        .used()?
        .into_iter()
        .map(|(name, seconds)| format!("{name} {:.3}", seconds / elapsed))
        .collect();
    let filtered = filter_calls(deployment).await? - filtered;
    say(&format!(
        "1,000 gangs wait, {elapsed:.0} s: {filtered} Filter calls, cores: {}",
        used.join(", ")
    ));
    Ok(())
}

async fn filter_calls(deployment: &Deployment) -> anyhow::Result<f64> {
    let text = deployment.get(deployment.extender_admin(), "/metrics").await?;
    Ok(metric(&text, "kompass_extender_filter_answers_total", &[]))
}

/// A node of the long queue becomes free; its first gang starts.
async fn head(
    deployment: &Deployment,
    recorder: &Recorder,
    client: &kompass_local_cluster::client::Client,
    number: usize,
) -> anyhow::Result<Duration> {
    let started = |recorder: &Recorder| recorder.bound(|name| name.starts_with("app-")).len();
    let before = started(recorder);
    let freed = Instant::now();
    load::delete_pod(client, &format!("filler-queue-{number}")).await?;
    recorder
        .until("the next driver to be bound", |recorder| started(recorder) > before)
        .await?;
    let bound = recorder.bound(|name| name.starts_with("app-"));
    let last = *bound.last().ok_or_else(|| anyhow::anyhow!("no driver is bound"))?;
    // The queue stays a thousand long.
    let next = gang(&format!("app-{:04}", GANGS + number), "queue");
    let uids = load::create_drivers(client, std::slice::from_ref(&next)).await?;
    load::create_configurations(client, std::slice::from_ref(&next), &uids).await?;
    all_wait(deployment, GANGS).await?;
    Ok(last.saturating_duration_since(freed))
}

/// The only node that the last gang can use becomes free.
async fn tail(
    deployment: &Deployment,
    recorder: &Recorder,
    client: &kompass_local_cluster::client::Client,
    number: usize,
) -> anyhow::Result<Duration> {
    let last = gang(&format!("last-{number}"), "last");
    let name = last.driver();
    let uids = load::create_drivers(client, std::slice::from_ref(&last)).await?;
    load::create_configurations(client, std::slice::from_ref(&last), &uids).await?;
    all_wait(deployment, GANGS + 1).await?;
    let freed = Instant::now();
    load::delete_pod(client, "filler-last-0").await?;
    recorder
        .until("the last driver to be bound", |recorder| {
            recorder.seen(&name).bound.is_some()
        })
        .await?;
    let bound = recorder
        .seen(&name)
        .bound
        .ok_or_else(|| anyhow::anyhow!("the driver is gone"))?;
    let filler: Value = load::filler("filler-last-0", "last-0", 8_000);
    load::delete_pod(client, &name).await?;
    load::create_pods(client, [filler]).await?;
    recorder
        .until("the node to be full", |recorder| {
            recorder.seen("filler-last-0").bound.is_some()
        })
        .await?;
    Ok(bound.saturating_duration_since(freed))
}
