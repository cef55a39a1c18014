//! Nodes held empty before a real autoscaler: bought at once, kept while they are held, given back when they are not.

use std::time::{Duration, Instant};

use kompass_predictor::act::feed::{self, Shared};
use kompass_predictor::hold::plan::Kind;
use kompass_predictor::hold::{Holder, Means, Settings, Wish};
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::headroom::{now_ms, settings, settle};
use kompass_tests::karpenter::{self, Claim, POOL_LABEL};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use tokio_util::sync::CancellationToken;

use crate::{PATIENCE, all_done, bound};

const BUFFERED: &str = "buffered";
const PAUSED: &str = "paused";
/// Held in each pool.
const HELD: u32 = 3;
/// And in the end.
const LEFT: u32 = 1;
/// Eight executors of one and a half CPUs, two on a node of four, and a driver.
const GANG: usize = 5;
/// What Karpenter takes to give an empty node back, with room to spare: it looks every 10 s and waits 15 s more.
const TAKEN_BACK: Duration = Duration::from_mins(2);

async fn claims(deployment: &Deployment, pool: &str) -> Result<Vec<Claim>, String> {
    let claims = karpenter::claims(deployment)
        .await
        .map_err(|error| format!("{error:#}"))?;
    Ok(claims.into_iter().filter(|claim| claim.pool == pool).collect())
}

/// Waits until the pool has so many nodes, all ready for pods.
async fn bought(deployment: &Deployment, pool: &str, count: usize, limit: Duration) -> Vec<Claim> {
    wait_for(&format!("{count} nodes in {pool}"), limit, || async {
        let claims = claims(deployment, pool).await?;
        if claims.len() == count && claims.iter().all(|claim| claim.initialized) {
            Ok(claims)
        } else {
            Err(format!("{claims:?}"))
        }
    })
    .await
    .unwrap()
}

fn spread_s(claims: &[Claim]) -> i64 {
    let created = || claims.iter().map(|claim| claim.created.as_second());
    created().max().unwrap_or(0) - created().min().unwrap_or(0)
}

fn names(claims: &[Claim]) -> Vec<&str> {
    let mut names: Vec<&str> = claims.iter().map(|claim| claim.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn wish(nodes: u32) -> Wish {
    Wish {
        statistical: nodes,
        scheduled: vec![],
    }
}

fn holder(deployment: &Deployment, pool: &str, means: Means, namespace: &str) -> Holder {
    let settings = Settings {
        namespace: namespace.to_owned(),
        ..settings((POOL_LABEL, pool), means, PATIENCE * 30).unwrap()
    };
    Holder::new(deployment.client().clone(), settings)
}

/// How many of the held nodes of a pool are ready and free, as the predictor counts them.
fn ready(view: &Shared, pool: &str) -> Option<u64> {
    let limits = settings((POOL_LABEL, pool), Means::Auto, PATIENCE).unwrap().limits;
    view.look(|view| view.ready(limits.shape, &limits.constraints))
}

#[tokio::test]
async fn karpenter_buys_held_nodes_at_once_keeps_them_and_gives_them_back() {
    let mut deployment = Deployment::start(Options {
        nodes: 0,
        ..Options::default()
    })
    .await
    .unwrap();
    let mut karpenter = karpenter::start(&mut deployment, &[BUFFERED, PAUSED], "CapacityBuffer=true")
        .await
        .unwrap();
    let own = kompass_local_cluster::kompass::NAMESPACE;
    let mut buffered = holder(&deployment, BUFFERED, Means::Auto, own);
    // In another namespace: one holder removes the other's.
    let mut paused = holder(&deployment, PAUSED, Means::PausePods, JOBS);

    let asked = Instant::now();
    let report = settle(&mut buffered, &wish(HELD), PATIENCE).await.unwrap();
    assert_eq!(report.by, Kind::Buffer);
    let report = settle(&mut paused, &wish(HELD), PATIENCE).await.unwrap();
    assert_eq!(report.by, Kind::PausePods);
    let view = Shared::default();
    let end = CancellationToken::new();
    let feeding = tokio::spawn(feed::run(deployment.client().clone(), view.clone(), end.clone()));
    for pool in [BUFFERED, PAUSED] {
        let claims = bought(&deployment, pool, HELD as usize, PATIENCE * 2).await;
        println!(
            "{pool}: {HELD} nodes within {} s, ready {:?} after they were asked for",
            spread_s(&claims),
            asked.elapsed()
        );
        assert!(spread_s(&claims) <= 2, "more than one scale-up: {claims:?}");
        wait_for("the nodes to count as ready", PATIENCE, || async {
            match ready(&view, pool) {
                Some(count) if count == u64::from(HELD) => Ok(()),
                other => Err(other),
            }
        })
        .await
        .unwrap();
    }
    // It has said something of its buffer, so that no other means is looked for.
    let later_ms = now_ms() + 120_000;
    let report = buffered.reconcile(&wish(HELD), later_ms, &|| true).await.unwrap();
    assert_eq!((report.by, report.is_unanswered), (Kind::Buffer, false));
    let kept = claims(&deployment, PAUSED).await.unwrap();

    // Two of three are surplus and are taken back; the third and those of the pause pods are as empty and are not.
    let before = claims(&deployment, BUFFERED).await.unwrap();
    settle(&mut buffered, &wish(LEFT), PATIENCE).await.unwrap();
    let lowered = Instant::now();
    let left = bought(&deployment, BUFFERED, LEFT as usize, TAKEN_BACK).await;
    println!("two of three nodes went {:?} after the wish", lowered.elapsed());
    assert!(names(&before).contains(&left[0].name.as_str()), "{before:?} {left:?}");
    assert_eq!(names(&claims(&deployment, PAUSED).await.unwrap()), names(&kept));
    wait_for("what is ready to be counted anew", PATIENCE, || async {
        match ready(&view, BUFFERED) {
            Some(count) if count == u64::from(LEFT) => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();
    end.cancel();
    feeding.await.unwrap();
    paused.release_all(&|| true).await.unwrap();
    let released = Instant::now();

    // A gang takes what is held and more: the rest is bought for it, and what it took is bought again.
    let mut gang = Application::new("gang", 1_000, 8, 1_500);
    gang.node_selector.push((POOL_LABEL.to_owned(), BUFFERED.to_owned()));
    let held = Behaviour {
        held: true,
        ..Behaviour::default()
    };
    let submitted = Instant::now();
    let drivers = Drivers::start(deployment.client().clone(), JOBS, std::slice::from_ref(&gang), held);
    gang.submit(deployment.client(), JOBS).await.unwrap();
    bound(&deployment, &gang.driver(), PATIENCE * 3).await.unwrap();
    println!("the gang's driver runs {:?} after its submission", submitted.elapsed());
    let total = GANG + LEFT as usize;
    bought(&deployment, BUFFERED, total, PATIENCE * 2).await;
    println!("{total} nodes are there {:?} after it", submitted.elapsed());
    drivers.let_go();
    all_done(&drivers, &[gang], PATIENCE).await.unwrap();

    bought(&deployment, PAUSED, 0, TAKEN_BACK).await;
    println!(
        "all that pause pods held went {:?} after their release",
        released.elapsed()
    );
    drivers.stop().await;
    karpenter.stop(PATIENCE).await.unwrap();
    deployment.stop().await.unwrap();
}
