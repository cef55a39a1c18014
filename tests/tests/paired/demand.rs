//! A gang that needs more nodes shows its whole lack at once, and the demand ends: with the nodes, or by itself.

use std::time::{Duration, Instant};

use kompass_core::{Resources, names};
use kompass_tests::demand::{StandIns, nothing_left};
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers, is_bound};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;

use crate::{PATIENCE, all_done, gang};

/// How long a demand lasts here.
const LIFE: Duration = Duration::from_secs(20);
/// What the Job controller may need beyond it.
const GRACE: Duration = Duration::from_secs(15);

fn options() -> Options {
    Options {
        nodes: 1,
        node_cpu_milli: 500,
        extender_args: vec![
            "--demand-after=200ms".to_owned(),
            format!("--demand-life={}s", LIFE.as_secs()),
        ],
        ..Options::default()
    }
}

async fn visible(deployment: &Deployment, count: usize) -> StandIns {
    wait_for("stand-ins for the whole gang", PATIENCE, || async {
        let stand_ins = StandIns::list(deployment).await.map_err(|error| error.to_string())?;
        let visible = stand_ins.visible();
        if visible == count {
            Ok(stand_ins)
        } else {
            Err(format!("{visible} of {}", stand_ins.0.len()))
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_gang_without_room_shows_its_whole_lack_and_runs_when_nodes_come() {
    let mut deployment = Deployment::start(options()).await.unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let wide = Application::new("wide", 1_000, 12, 1_500);
    let lonely = Application::new("lonely", 1_000, 16, 1_500);
    let applications = [wide.clone(), lonely.clone()];
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, Behaviour::default());
    let driver = wide.submit(deployment.client(), JOBS).await.unwrap();
    let submitted = Instant::now();
    let stand_ins = visible(&deployment, 13).await;
    println!(
        "the whole lack was visible {:?} after the submission",
        submitted.elapsed()
    );
    assert!(
        stand_ins.spread_s() <= 1,
        "an autoscaler sees the gang in parts: {} s",
        stand_ins.spread_s()
    );
    let mut requests = stand_ins.requests().unwrap();
    requests.sort_by_key(|requests| requests.cpu_milli);
    let mut expected = vec![Resources::from_mib(1_000, 896)];
    expected.extend(std::iter::repeat_n(Resources::from_mib(1_500, 896), 12));
    assert_eq!(requests, expected);
    for pod in &stand_ins.0 {
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.scheduler_name.as_deref(), Some(names::STAND_IN_SCHEDULER));
        assert_eq!(spec.priority, Some(-10));
    }
    let view = gang(&deployment, &wide).await.unwrap();
    assert!(
        view["demand"] == true
            && view["waiting"]["text"]
                .as_str()
                .unwrap()
                .contains("nodes are asked for"),
        "{view}"
    );
    // All of it is in KOMPASS's own namespace: nothing counts against the tenant's quota.
    assert!(!is_bound(&deployment.pods().get(&wide.driver()).await.unwrap()));
    assert_eq!(
        deployment
            .pods()
            .list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    drop(driver);

    deployment.add_nodes("bought", 7, 4_000).await.unwrap();
    all_done(&drivers, &[wide], PATIENCE).await.unwrap();
    wait_for("the demand to end", PATIENCE, || nothing_left(&deployment))
        .await
        .unwrap();

    // Without KOMPASS a demand ends by its own deadline.
    lonely.submit(deployment.client(), JOBS).await.unwrap();
    visible(&deployment, 17).await;
    let shown = Instant::now();
    deployment.extender.as_mut().unwrap().kill_9().await.unwrap();
    wait_for("the demand to end by itself", LIFE + GRACE, || {
        nothing_left(&deployment)
    })
    .await
    .unwrap();
    println!(
        "with the extender gone the demand of {LIFE:?} ended {:?} after it was seen",
        shown.elapsed()
    );

    // The extender is back: the gang asks again or runs, as if nothing had been.
    deployment.start_extender().await.unwrap();
    deployment.add_nodes("late", 3, 4_000).await.unwrap();
    all_done(&drivers, &[lonely], PATIENCE * 2).await.unwrap();
    wait_for("no stand-in to be left", PATIENCE, || nothing_left(&deployment))
        .await
        .unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
