//! Pods bound per second: gangs by KOMPASS, and as many plain pods by a default scheduler, in turn on one cluster.
//!
//! Pods are there before their scheduler starts, and what counts is from the first to the last one seen bound; drivers
//! of gangs have been bound before, since nobody else creates executors. The webhook sees every driver and executor as
//! they are created, which is not in the time measured; its affinities are what the scheduler then works with.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use kompass_local_cluster::process::Daemon;
use kompass_tests::deployment::Deployment;
use kompass_tests::spark::Application;
use serde_json::Value;

use crate::measure::{self, Cpu, WRITES, metric, process};
use crate::recorder::Recorder;
use crate::{load, say};

const GANGS: usize = 250;
const EXECUTORS: u64 = 19;
const PODS: usize = GANGS * 20;
const ROUNDS: usize = 3;
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// All plug-ins as they come; limits of requests far above what can be used, as for KOMPASS's.
const DEFAULT_SCHEDULER: &str = "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: { qps: 5000, burst: 10000 }
leaderElection: { leaderElect: false }
";

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut deployment = crate::deployment(false).await?;
    let recorder = Recorder::start(&deployment);
    let (mut plain, mut gangs, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        plain.push(Box::pin(default_scheduler(&mut deployment, &recorder)).await?);
        let (executors, whole) = Box::pin(kompass(&mut deployment, &recorder)).await?;
        gangs.push(executors);
        all.push(whole);
        say(&format!(
            "round {round}: {:.2} x for executors, {:.2} x for all",
            gangs[round - 1] / plain[round - 1],
            all[round - 1] / plain[round - 1]
        ));
    }
    let (plain, gangs, all) = (measure::median(plain), measure::median(gangs), measure::median(all));
    say(&format!(
        "medians of {ROUNDS}: default scheduler {plain:.0} pods/s, KOMPASS {gangs:.0} executors/s ({:.2} x), {all:.0} \
         pods/s with the drivers' start ({:.2} x)",
        gangs / plain,
        all / plain
    ));
    drop(recorder);
    deployment.stop().await
}

/// Plain pods of an executor's size, without KOMPASS.
async fn default_scheduler(deployment: &mut Deployment, recorder: &Recorder) -> anyhow::Result<f64> {
    let client = deployment.cluster().client().clone();
    let shape = Application::new("plain", 1_000, EXECUTORS, 1_000);
    load::create_pods(&client, (0..PODS).map(|number| plain_pod(&shape, number))).await?;
    recorder
        .until("all pods to be there", |recorder| recorder.names().len() == PODS)
        .await?;
    let mut scheduler = deployment
        .cluster()
        .start_scheduler("plain-scheduler", DEFAULT_SCHEDULER, &[])
        .await?;
    let result = measured("default scheduler", deployment, recorder, &scheduler, 0..PODS).await;
    scheduler.stop(STOP_LIMIT).await?;
    let rate = result?;
    load::delete_all(&client, recorder).await?;
    Ok(rate)
}

fn plain_pod(shape: &Application, number: usize) -> Value {
    let mut pod = shape.executor_pod("", number as u64);
    pod["metadata"] = serde_json::json!({ "name": format!("plain-exec-{number}") });
    pod
}

/// Gangs: executors per second, and pods per second where the drivers' start counts too.
async fn kompass(deployment: &mut Deployment, recorder: &Recorder) -> anyhow::Result<(f64, f64)> {
    let client = deployment.cluster().client().clone();
    deployment.start_extender().await?;
    deployment.start_webhook().await?;
    deployment.start_scheduler().await?;
    let gangs: Vec<Application> = (0..GANGS)
        .map(|number| Application::new(format!("app-{number}"), 1_000, EXECUTORS, 1_000))
        .collect();
    let drivers = load::create_drivers(&client, &gangs).await?;
    let started = Instant::now();
    load::create_configurations(&client, &gangs, &drivers).await?;
    let is_driver = |name: &str| name.ends_with("-driver");
    recorder
        .until("all drivers to be bound", |recorder| {
            recorder.bound(is_driver).len() == GANGS
        })
        .await?;
    let last = *recorder.bound(is_driver).last().context("no driver is bound")?;
    let drivers_took = last - started;
    say(&format!(
        "KOMPASS: {GANGS} gangs configured, planned and their drivers bound in {drivers_took:.2?}"
    ));

    let mut scheduler = deployment.scheduler.take().context("the scheduler does not run")?;
    scheduler.stop(STOP_LIMIT).await?;
    let started = Instant::now();
    let executors = gangs
        .iter()
        .zip(&drivers)
        .flat_map(|(gang, uid)| (1..=EXECUTORS).map(|id| gang.executor_pod(uid, id)));
    load::create_pods(&client, executors).await?;
    say(&format!(
        "KOMPASS: {} executors created by way of the webhook in {:.1?}",
        PODS - GANGS,
        started.elapsed()
    ));
    recorder
        .until("all executors to be there", |recorder| recorder.names().len() == PODS)
        .await?;
    deployment.start_scheduler().await?;
    let scheduler = deployment.scheduler.take().context("the scheduler does not run")?;
    let result = measured("KOMPASS", deployment, recorder, &scheduler, GANGS..PODS).await;
    deployment.webhook = None;
    drop(scheduler);
    deployment.extender = None;
    let rate = result?;
    load::delete_all(&client, recorder).await?;
    let executors = (PODS - GANGS) as f64;
    Ok((rate, PODS as f64 / (executors / rate + drivers_took.as_secs_f64())))
}

/// Counts from the first to the last of the pods that a scheduler binds; `pods`: how many are bound before and after.
async fn measured(
    who: &str,
    deployment: &mut Deployment,
    recorder: &Recorder,
    scheduler: &Daemon,
    pods: std::ops::Range<usize>,
) -> anyhow::Result<f64> {
    let client = deployment.cluster().client().clone();
    let mut processes = vec![
        ("API server", deployment.cluster().api_server().pid()),
        ("etcd", deployment.cluster().etcd().pid()),
        process("scheduler", Some(scheduler))?,
    ];
    processes.extend(
        deployment
            .extender
            .as_ref()
            .map(|extender| ("extender", extender.pid())),
    );
    let (cpu, writes) = (Cpu::of(&processes)?, writes(&client).await?);
    let started = Instant::now();
    recorder
        .until("all pods to be bound", |recorder| {
            recorder.bound(|_| true).len() >= pods.end
        })
        .await?;
    let (used, took) = (cpu.used()?, started.elapsed());
    // Events may come a little later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let writes = self::writes(&client).await? - writes;
    let bound = recorder.bound(|_| true);
    let first = *bound.get(pods.start).context("nothing was bound")?;
    let last = *bound.last().context("nothing was bound")?;
    let rate = (pods.len() - 1) as f64 / (last - first).as_secs_f64();
    let used: Vec<String> = used
        .into_iter()
        .map(|(name, seconds)| format!("{name} {seconds:.1}"))
        .collect();
    say(&format!(
        "{who}: {} pods in {:.2?}, {rate:.0} pods/s; {:.2} API writes a pod; CPU seconds in {took:.1?}: {}",
        pods.len(),
        last - first,
        writes / pods.len() as f64,
        used.join(", ")
    ));
    Ok(rate)
}

/// Changing requests that the API server has answered so far.
async fn writes(client: &kompass_local_cluster::client::Client) -> anyhow::Result<f64> {
    Ok(metric(
        &client.get_text("/metrics").await?,
        "apiserver_request_total",
        &WRITES,
    ))
}
