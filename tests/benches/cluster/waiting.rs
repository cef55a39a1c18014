//! A thousand gangs wait: what that costs, and how soon one starts when there is room.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use kompass_local_cluster::client::Client;
use kompass_local_cluster::kwok::Shape;
use kompass_tests::deployment::Deployment;
use kompass_tests::spark::Application;
use kompass_tests::wait_for;

use crate::measure::{Cpu, metric, process};
use crate::recorder::Recorder;
use crate::{PATIENCE, load, measure, say};

const GANGS: usize = 1_000;
/// Nodes of the pool that they wait for, each full with another gang.
const POOL: usize = 60;
const SAMPLES: usize = 50;
const WINDOW: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut deployment = crate::deployment(true).await?;
    let recorder = Recorder::start(&deployment);
    add_pool(&mut deployment, "queue", POOL).await?;
    add_pool(&mut deployment, "last", 1).await?;
    let gangs: Vec<Application> = (0..POOL + GANGS)
        .map(|number| gang(&format!("app-{number:04}"), "queue"))
        .collect();
    let client = deployment.cluster().client().clone();
    submit(&client, &gangs).await?;
    submit(&client, &[gang("last-0", "last")]).await?;
    all_wait(&deployment, GANGS).await?;
    recorder
        .until("the pools to be full", |recorder| {
            recorder.bound(|_| true).len() == POOL + 1
        })
        .await?;

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

async fn add_pool(deployment: &mut Deployment, pool: &str, nodes: usize) -> anyhow::Result<()> {
    let shape = Shape {
        name_prefix: pool.to_owned(),
        cpu_millis: 8_000,
        labels: [("pool".to_owned(), pool.to_owned())].into(),
        ready_at_once: true,
        ..Shape::default()
    };
    deployment.cluster().add_fake_nodes(nodes, &shape).await?;
    Ok(())
}

async fn submit(client: &Client, gangs: &[Application]) -> anyhow::Result<()> {
    let drivers = load::create_drivers(client, gangs).await?;
    load::create_configurations(client, gangs, &drivers).await
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

/// A gang of the long queue ends; the next one starts on its node.
async fn head(
    deployment: &Deployment,
    recorder: &Recorder,
    client: &Client,
    number: usize,
) -> anyhow::Result<Duration> {
    let of_queue = |name: &str| name.starts_with("app-");
    let ends = recorder.first_bound(of_queue).context("no gang runs")?;
    let freed = Instant::now();
    load::delete_pod(client, &ends).await?;
    let next = |recorder: &Recorder| recorder.bound(of_queue).last().copied().filter(|bound| *bound > freed);
    recorder
        .until("the next driver to be bound", |recorder| next(recorder).is_some())
        .await?;
    let bound = next(recorder).context("the driver is gone")?;
    // The queue stays a thousand long.
    submit(client, &[gang(&format!("app-{:04}", POOL + GANGS + number), "queue")]).await?;
    all_wait(deployment, GANGS).await?;
    Ok(bound - freed)
}

/// The last one in line, of another queue, gets the room of the one before it.
async fn tail(
    deployment: &Deployment,
    recorder: &Recorder,
    client: &Client,
    number: usize,
) -> anyhow::Result<Duration> {
    let last = gang(&format!("last-{}", number + 1), "last");
    let name = last.driver();
    submit(client, &[last]).await?;
    all_wait(deployment, GANGS + 1).await?;
    let freed = Instant::now();
    load::delete_pod(client, &gang(&format!("last-{number}"), "last").driver()).await?;
    recorder
        .until("the last driver to be bound", |recorder| {
            recorder.seen(&name).bound.is_some()
        })
        .await?;
    Ok(recorder.seen(&name).bound.context("the driver is gone")? - freed)
}
