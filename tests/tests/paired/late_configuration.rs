//! `ConfigMap`s that come late or never, and gangs that can never fit.

use std::time::Duration;

use kompass_tests::deployment::{Deployment, Options};
use kompass_tests::spark::Application;
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;

use crate::{all_done, run_all};

#[tokio::test]
async fn a_configuration_may_come_after_0_1_9_and_60_seconds_or_never() {
    let deployment = Deployment::start(Options::default()).await.unwrap();
    let delays = [Some(0), Some(1), Some(9), Some(60), None];
    let applications: Vec<Application> = delays
        .iter()
        .enumerate()
        .map(|(number, delay)| Application {
            conf_delay: delay.map(Duration::from_secs),
            ..Application::new(format!("late-{number}"), 500, 2, 500)
        })
        .collect();
    let drivers = run_all(&deployment, &applications, Duration::from_mins(2))
        .await
        .unwrap();
    let timelines = drivers.timelines();
    // In time, the driver waits for its configuration; too late, it starts on a guess.
    let bound = |number: usize| timelines[&format!("late-{number}")].driver_bound.unwrap();
    assert!(bound(2) >= Duration::from_secs(8), "{:?}", bound(2));
    assert!(bound(3) < Duration::from_secs(30), "{:?}", bound(3));
    assert!(bound(4) < Duration::from_secs(30), "{:?}", bound(4));
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn a_gang_larger_than_the_cluster_waits_with_a_reason_and_holds_nobody_up() {
    let deployment = Deployment::start(Options::default()).await.unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let large = Application::new("large", 500, 1_000, 1_000);
    large
        .submit(deployment.client(), kompass_tests::deployment::JOBS)
        .await
        .unwrap();
    wait_for("a reason to wait", Duration::from_secs(30), || async {
        let page = deployment
            .get(deployment.extender_address(), "/v1/gangs/jobs/large-driver")
            .await;
        let page = page.map_err(|error| format!("{error:#}"))?;
        if page.contains("too-large") { Ok(()) } else { Err(page) }
    })
    .await
    .unwrap();
    let others: Vec<Application> = (0..4)
        .map(|number| Application::new(format!("small-{number}"), 500, 2, 500))
        .collect();
    let drivers = run_all(&deployment, &others, Duration::from_mins(1)).await.unwrap();
    all_done(&drivers, &others, Duration::from_secs(1)).await.unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
