//! Room that was promised and is lost: to a scheduler that knows nothing of promises, or with its node.

use std::time::Duration;

use kompass_core::GangPlan;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use kube::ResourceExt as _;
use kube::api::DeleteParams;

use crate::{PATIENCE, all_done, bound, gang, plan};

/// For a gang to be planned again and to run: stuck executors are given some seconds to find a place.
const LIMIT: Duration = Duration::from_mins(1);

/// Submits a gang whose driver creates no executor yet, and waits until the driver runs.
async fn submit_held(deployment: &Deployment, application: &Application) -> (Drivers, GangPlan) {
    let behaviour = Behaviour {
        run_for: Duration::from_secs(3),
        held: true,
        ..Behaviour::default()
    };
    let drivers = Drivers::start(
        deployment.client().clone(),
        JOBS,
        std::slice::from_ref(application),
        behaviour,
    );
    application.submit(deployment.client(), JOBS).await.unwrap();
    let driver = bound(deployment, &application.driver(), PATIENCE).await.unwrap();
    (drivers, plan(&driver).unwrap())
}

/// A node of the plan where executors will run, but not the driver.
fn node_without_driver(plan: &GangPlan) -> String {
    plan.executors
        .iter()
        .map(|(node, _)| node)
        .find(|node| **node != plan.driver)
        .unwrap()
        .clone()
}

#[tokio::test]
async fn another_scheduler_takes_promised_room_and_no_node_is_overbooked() {
    let deployment = Deployment::start(Options::default()).await.unwrap();
    let watchdog = Watchdog::start_for_bound(deployment.client());
    let robbed = Application::new("robbed", 1_000, 6, 2_000);
    let (drivers, _) = submit_held(&deployment, &robbed).await;
    // Thirteen of sixteen CPUs are promised; the default scheduler sees one of them taken.
    for name in ["thief-0", "thief-1"] {
        deployment.create_foreign(name, 3_000).await.unwrap();
        bound(&deployment, name, PATIENCE).await.unwrap();
    }
    drivers.let_go();
    let view = wait_for("the lost slots to be told", LIMIT, || async {
        let view = gang(&deployment, &robbed).await.map_err(|error| format!("{error:#}"))?;
        let (bound, missing) = (view["executors_bound"].as_u64(), view["slots_missing"].as_u64());
        if missing > Some(0) && bound.zip(missing).is_some_and(|(bound, missing)| bound + missing == 6) {
            Ok(view)
        } else {
            Err(view.to_string())
        }
    })
    .await
    .unwrap();
    println!("{} of 6 executors run beside the thieves", view["executors_bound"]);
    assert!(drivers.timelines()["robbed"].all_bound.is_none());
    for name in ["thief-0", "thief-1"] {
        deployment
            .pods()
            .delete(name, &DeleteParams::default().grace_period(0))
            .await
            .unwrap();
    }
    all_done(&drivers, &[robbed], LIMIT).await.unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_of_the_plan_dies_before_and_after_its_executors() {
    let deployment = Deployment::start(Options::default()).await.unwrap();
    let watchdog = Watchdog::start_for_bound(deployment.client());

    let before = Application::new("before", 1_000, 4, 2_000);
    let (drivers, first) = submit_held(&deployment, &before).await;
    let lost = node_without_driver(&first);
    deployment.lose_node(&lost).await.unwrap();
    wait_for("a plan without the lost node", PATIENCE, || async {
        let driver = deployment
            .pods()
            .get(&before.driver())
            .await
            .map_err(|error| error.to_string())?;
        let plan = plan(&driver).map_err(|error| error.to_string())?;
        let is_whole = plan.executor_count() == 4 && plan.executors_on(&lost) == 0;
        if is_whole { Ok(()) } else { Err(format!("{plan:?}")) }
    })
    .await
    .unwrap();
    drivers.let_go();
    all_done(&drivers, &[before], LIMIT).await.unwrap();
    assert_eq!(
        drivers.timelines()["before"].created,
        4,
        "no executor had to be made twice"
    );
    drivers.stop().await;

    deployment.add_nodes("spare", 1, 4_000).await.unwrap();
    let after = Application::new("after", 1_000, 4, 2_000);
    let (drivers, second) = submit_held(&deployment, &after).await;
    drivers.let_go();
    wait_for("all executors to run", LIMIT, || async {
        let timeline = drivers.timelines().remove("after").unwrap_or_default();
        timeline.all_bound.ok_or_else(|| format!("{timeline:?}"))
    })
    .await
    .unwrap();
    let lost = node_without_driver(&second);
    let driver = deployment.pods().get(&after.driver()).await.unwrap();
    let there = deployment
        .executors_by_node(&driver.uid().unwrap())
        .await
        .unwrap()
        .get(&lost)
        .copied();
    deployment.lose_node(&lost).await.unwrap();
    all_done(&drivers, &[after], LIMIT).await.unwrap();
    assert!(drivers.timelines()["after"].created >= 4 + there.unwrap_or(0));
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
