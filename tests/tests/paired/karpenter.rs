//! A gang's demand before a real autoscaler: all nodes in one scale-up, and none taken back while the gang fills them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use kompass_tests::demand::nothing_left;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::karpenter::{self, Claim, POOL_LABEL};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::{PATIENCE, all_done, bound, plan};

const POOL: &str = "spark";
const DECOYS: &str = "decoys";
/// Twelve executors of one and a half CPUs, two on a node of four, and a driver.
const NODES: usize = 7;
/// What Karpenter takes to give an empty node back, with room to spare: it looks every 10 s and waits 15 s more.
const TAKEN_BACK: Duration = Duration::from_mins(2);

async fn claims_of(deployment: &Deployment, pool: &str) -> Result<Vec<Claim>, String> {
    let claims = karpenter::claims(deployment)
        .await
        .map_err(|error| format!("{error:#}"))?;
    Ok(claims.into_iter().filter(|claim| claim.pool == pool).collect())
}

fn names(claims: &[Claim]) -> HashSet<&str> {
    claims.iter().map(|claim| claim.name.as_str()).collect()
}

/// A node that nobody reserves: when it is taken back, others could have been.
async fn start_decoy(deployment: &Deployment) {
    let decoy = json!({
        "metadata": { "name": "decoy" },
        "spec": { "nodeSelector": { POOL_LABEL: DECOYS }, "containers": [{ "name": "c", "image": "example.com/c",
            "resources": { "requests": { "cpu": "3" } } }] },
    });
    let decoy = serde_json::from_value(decoy).unwrap();
    deployment.pods().create(&PostParams::default(), &decoy).await.unwrap();
    bound(deployment, "decoy", PATIENCE * 2).await.unwrap();
}

#[tokio::test]
async fn karpenter_buys_the_whole_gang_at_once_and_keeps_its_empty_nodes() {
    let mut deployment = Deployment::start(Options {
        nodes: 0,
        ..Options::default()
    })
    .await
    .unwrap();
    let mut karpenter = karpenter::start(&mut deployment, &[POOL, DECOYS], "").await.unwrap();
    let watchdog = Watchdog::start(deployment.client());
    start_decoy(&deployment).await;
    let mut gang = Application::new("gang", 1_000, 12, 1_500);
    gang.node_selector.push((POOL_LABEL.to_owned(), POOL.to_owned()));
    let submitted = Instant::now();
    let held = Behaviour {
        held: true,
        ..Behaviour::default()
    };
    let drivers = Drivers::start(deployment.client().clone(), JOBS, std::slice::from_ref(&gang), held);
    gang.submit(deployment.client(), JOBS).await.unwrap();
    let driver = bound(&deployment, &gang.driver(), PATIENCE * 3).await.unwrap();
    println!(
        "the driver runs {:?} after its submission, on nodes that were not there",
        submitted.elapsed()
    );
    let bought = claims_of(&deployment, POOL).await.unwrap();
    let created = || bought.iter().map(|claim| claim.created.as_second());
    let spread_s = created().max().unwrap() - created().min().unwrap();
    println!("{} nodes bought within {spread_s} s", bought.len());
    assert_eq!(bought.len(), NODES, "{bought:?}");
    assert!(spread_s <= 2, "more than one scale-up: {bought:?}");
    // Only then may Karpenter take them back.
    wait_for("the nodes to be initialized", PATIENCE, || async {
        let claims = claims_of(&deployment, POOL).await?;
        if claims.iter().all(|claim| claim.initialized) {
            Ok(())
        } else {
            Err(format!("{claims:?}"))
        }
    })
    .await
    .unwrap();
    wait_for("no stand-in to be left", PATIENCE, || nothing_left(&deployment))
        .await
        .unwrap();
    let used: HashSet<String> = plan(&driver)
        .unwrap()
        .executors
        .into_iter()
        .map(|(node, _)| node)
        .collect();
    assert!(used.len() >= NODES - 1, "{used:?}");

    // The driver's executors take their time, and empty nodes are being taken back.
    deployment
        .pods()
        .delete("decoy", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    let emptied = Instant::now();
    wait_for("Karpenter to take the decoy's node back", TAKEN_BACK, || async {
        let left = claims_of(&deployment, DECOYS).await?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await
    .unwrap();
    println!(
        "an empty node was taken back {:?} after its last pod",
        emptied.elapsed()
    );
    assert_eq!(names(&claims_of(&deployment, POOL).await.unwrap()), names(&bought));

    drivers.let_go();
    all_done(&drivers, &[gang], PATIENCE).await.unwrap();
    assert!(
        names(&bought).is_superset(&names(&claims_of(&deployment, POOL).await.unwrap())),
        "bought more meanwhile"
    );
    // Nothing holds the nodes any longer.
    wait_for("the markers to be gone", PATIENCE, || async {
        let left = deployment
            .own_pods()
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let left: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await
    .unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    karpenter.stop(PATIENCE).await.unwrap();
    deployment.stop().await.unwrap();
}
