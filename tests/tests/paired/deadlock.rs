//! The deadlock that KOMPASS is for: drivers fill the cluster and no executor fits.

use std::time::{Duration, Instant};

use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers, is_bound};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use kube::Api;
use kube::api::ListParams;

use crate::{run_all, submit_all};

const GANGS: usize = 50;
const NODES: usize = 10;
/// What fits on ten nodes of four CPUs, one CPU each.
const DRIVERS_THAT_FIT: usize = 40;

fn gangs() -> Vec<Application> {
    (0..GANGS)
        .map(|number| Application::new(format!("app-{number:02}"), 1_000, 2, 1_000))
        .collect()
}

#[tokio::test]
async fn without_kompass_no_executor_ever_runs() {
    let options = Options {
        nodes: NODES,
        webhook: false,
        extender: false,
        ..Options::default()
    };
    let deployment = Deployment::start(options).await.unwrap();
    let applications = gangs();
    // A real driver takes seconds until it creates its first executor; meanwhile the others come.
    let held = Behaviour {
        held: true,
        ..Behaviour::default()
    };
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, held);
    submit_all(&deployment, &applications).await.unwrap();
    wait_for("the drivers to fill the cluster", Duration::from_mins(1), || async {
        match bound(&deployment.pods(), "driver").await {
            DRIVERS_THAT_FIT => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();
    drivers.let_go();
    let stuck_since = Instant::now();
    wait_for("executors to be asked for", Duration::from_secs(30), || async {
        let created: u64 = drivers.timelines().values().map(|timeline| timeline.created).sum();
        if created > 0 { Ok(()) } else { Err(created) }
    })
    .await
    .unwrap();
    let progress = wait_for("an executor to run", Duration::from_secs(30), || async {
        match bound(&deployment.pods(), "executor").await {
            0 => Err("none"),
            count => Ok(count),
        }
    })
    .await;
    assert!(
        progress.is_err(),
        "the baseline is no deadlock: {progress:?} executors ran"
    );
    assert_eq!(drivers.done(), 0);
    println!(
        "without KOMPASS: {DRIVERS_THAT_FIT} drivers bound, no executor within {:?}",
        stuck_since.elapsed()
    );
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn with_kompass_every_gang_finishes() {
    let deployment = Deployment::start(Options {
        nodes: NODES,
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let started = Instant::now();
    let drivers = run_all(&deployment, &gangs(), Duration::from_mins(3)).await.unwrap();
    println!("with KOMPASS: {GANGS} gangs done in {:?}", started.elapsed());
    println!("the watchdog looked {} times", watchdog.finish().await.unwrap());
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

async fn bound(pods: &Api<k8s_openapi::api::core::v1::Pod>, role: &str) -> usize {
    let list = pods
        .list(&ListParams::default().labels(&format!("spark-role={role}")))
        .await
        .unwrap();
    list.iter().filter(|pod| is_bound(pod)).count()
}
