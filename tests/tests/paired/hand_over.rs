//! An extender that is frozen, and replicas that take over from each other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::fault_proxy::{Effect, Moment};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{all_done, submit_all};

/// Longer than the lease, so that another replica could have taken over meanwhile.
const FROZEN: Duration = Duration::from_secs(20);
/// For some of the gangs to be done, a lease that runs out and a scheduler's back-off included.
const LIMIT: Duration = Duration::from_secs(90);

fn gangs(prefix: &str, count: usize) -> Vec<Application> {
    (0..count)
        .map(|number| Application::new(format!("{prefix}-{number:02}"), 1_000, 4, 1_000))
        .collect()
}

/// Work that takes a while: some gangs run whenever something happens.
fn slow() -> Behaviour {
    Behaviour {
        run_for: Duration::from_secs(2),
        ..Behaviour::default()
    }
}

async fn leads(deployment: &Deployment, address: SocketAddr) -> Result<(), String> {
    let page = deployment
        .get(address, "/v1/gangs")
        .await
        .map_err(|error| format!("{error:#}"))?;
    let page: Value = serde_json::from_str(&page).map_err(|error| error.to_string())?;
    if page["leads"] == true {
        Ok(())
    } else {
        Err(format!("{address} does not lead"))
    }
}

async fn some_done(drivers: &Drivers, count: usize) {
    wait_for("some gangs to be done", LIMIT, || async {
        let done = drivers.done();
        if done >= count { Ok(()) } else { Err(done) }
    })
    .await
    .unwrap();
}

/// Freezes the extender for [`FROZEN`] and lets it go on; how many gangs were done just before that.
async fn freeze(deployment: &Deployment, drivers: &Drivers) -> usize {
    let extender = deployment.extender.as_ref().unwrap();
    extender.sigstop().unwrap();
    // Not a wait for something: the time is what is tested.
    tokio::time::sleep(FROZEN).await;
    let done = drivers.done();
    extender.sigcont().unwrap();
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_20_seconds_it_goes_on_where_the_cluster_is_then() {
    let deployment = Deployment::start(Options {
        nodes: 3,
        faults: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let applications = gangs("app", 8);
    // The moment is a Bind of which it never hears in time.
    let record = deployment.extender.as_ref().unwrap().record().clone();
    let stop = Effect::Signal(record, Signal::SIGSTOP);
    let mut frozen = deployment
        .extender_faults()
        .arm(Moment::Before, stop, |seen| seen.binds("app-02-exec-"));
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, slow());
    submit_all(&deployment, &applications).await.unwrap();
    frozen.hit(LIMIT).await.unwrap();
    let before = freeze(&deployment, &drivers).await;
    all_done(&drivers, &applications, LIMIT).await.unwrap();
    println!(
        "{before} of {} gangs were done when the extender went on",
        applications.len()
    );
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn a_leader_that_was_frozen_finds_another_in_its_place() {
    let options = Options {
        nodes: 3,
        leader_election: true,
        ..Options::default()
    };
    let deployment = Deployment::start(options).await.unwrap();
    let second = deployment.start_second_replica().await.unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let applications = gangs("app", 8);
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, slow());
    submit_all(&deployment, &applications).await.unwrap();
    some_done(&drivers, 2).await;
    leads(&deployment, deployment.extender_address()).await.unwrap();
    let before = freeze(&deployment, &drivers).await;
    // Its own scheduler goes on to ask it; the other one plans.
    leads(&deployment, second.address).await.unwrap();
    leads(&deployment, deployment.extender_address())
        .await
        .expect_err("two lead");
    all_done(&drivers, &applications, LIMIT).await.unwrap();
    println!(
        "{before} of {} gangs were done when the old leader went on",
        applications.len()
    );
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn replicas_take_over_from_a_killed_and_from_an_orderly_leader() {
    let options = Options {
        nodes: 3,
        leader_election: true,
        ..Options::default()
    };
    let mut deployment = Deployment::start(options).await.unwrap();
    let second = deployment.start_second_replica().await.unwrap();
    wait_for("the first replica to lead", LIMIT, || {
        leads(&deployment, deployment.extender_address())
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let applications = gangs("app", 14);
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, slow());
    submit_all(&deployment, &applications).await.unwrap();
    some_done(&drivers, 2).await;

    // A machine is lost: its extender and its scheduler at once.
    deployment.extender.as_mut().unwrap().kill_9().await.unwrap();
    deployment.scheduler.as_mut().unwrap().kill_9().await.unwrap();
    let killed = Instant::now();
    wait_for("the second replica to lead", LIMIT, || {
        leads(&deployment, second.address)
    })
    .await
    .unwrap();
    println!(
        "the second replica leads {:?} after the first was killed",
        killed.elapsed()
    );
    let done = drivers.done();
    deployment.start_extender().await.unwrap();
    deployment.start_scheduler().await.unwrap();
    some_done(&drivers, done + 2).await;

    // A roll-out: SIGTERM to both.
    let mut leaving = second;
    let told = Instant::now();
    leaving.extender.stop(LIMIT).await.unwrap();
    leaving.scheduler.stop(LIMIT).await.unwrap();
    wait_for("the first replica to lead", LIMIT, || {
        leads(&deployment, deployment.extender_address())
    })
    .await
    .unwrap();
    let took = told.elapsed();
    println!("the first replica leads {took:?} after the second was told to end");
    assert!(took < Duration::from_secs(10), "the lease was not given back: {took:?}");
    all_done(&drivers, &applications, LIMIT).await.unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
