//! Executors that are lost again and again: each comes back on a slot of its gang, and nobody else gets it meanwhile.

use std::time::{Duration, Instant};

use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers, is_bound};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};

use crate::{PATIENCE, all_done, bound, plan};

const EXECUTORS: u64 = 4;
const DELETIONS: usize = 100;

#[tokio::test]
async fn a_hundred_lost_executors_come_back_on_the_slots_of_their_gang() {
    // Thirteen CPUs in all would hold both gangs; with twelve the second waits for whatever the first lets go.
    let deployment = Deployment::start(Options {
        nodes: 3,
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let applications = [
        Application::new("lossy", 1_000, EXECUTORS, 2_000),
        Application::new("next", 500, 2, 2_000),
    ];
    let behaviour = Behaviour {
        run_for: Duration::from_hours(1),
        ..Behaviour::default()
    };
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications[..1], behaviour);
    applications[0].submit(deployment.client(), JOBS).await.unwrap();
    let driver = bound(&deployment, "lossy-driver", PATIENCE).await.unwrap();
    let uid = driver.uid().unwrap();
    let slots: std::collections::BTreeMap<String, u64> = plan(&driver).unwrap().executors.into_iter().collect();
    assert_eq!(slots.values().sum::<u64>(), EXECUTORS);
    applications[1].submit(deployment.client(), JOBS).await.unwrap();

    let started = Instant::now();
    let mut deleted = 0;
    while deleted < DELETIONS {
        wait_for("every slot to be taken", PATIENCE, || async {
            let now = deployment
                .executors_by_node(&uid)
                .await
                .map_err(|error| error.to_string())?;
            if now == slots {
                Ok(())
            } else {
                Err(format!("{now:?} instead of {slots:?}, {deleted} deleted"))
            }
        })
        .await
        .unwrap();
        // One, two, three or all of them at once.
        let count = (deleted % 4 + 1).min(DELETIONS - deleted);
        for pod in bound_executors(&deployment.pods(), &uid).await.into_iter().take(count) {
            deployment
                .pods()
                .delete(&pod, &DeleteParams::default().grace_period(0))
                .await
                .unwrap();
            deleted += 1;
        }
    }
    println!("{deleted} executors replaced in {:?}", started.elapsed());
    assert!(
        !is_bound(&deployment.pods().get("next-driver").await.unwrap()),
        "a slot was given away"
    );
    let after = deployment.pods().get("lossy-driver").await.unwrap();
    assert_eq!(plan(&after).unwrap().executors, plan(&driver).unwrap().executors);

    drivers.stop().await;
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, Behaviour::default());
    all_done(&drivers, &applications, PATIENCE).await.unwrap();
    println!("the watchdog looked {} times", watchdog.finish().await.unwrap());
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

async fn bound_executors(pods: &Api<k8s_openapi::api::core::v1::Pod>, driver_uid: &str) -> Vec<String> {
    let list = pods
        .list(&ListParams::default().labels("spark-role=executor"))
        .await
        .unwrap();
    let is_own = |pod: &k8s_openapi::api::core::v1::Pod| {
        is_bound(pod) && pod.owner_references().iter().any(|owner| owner.uid == driver_uid)
    };
    list.into_iter().filter(is_own).map(|pod| pod.name_any()).collect()
}
