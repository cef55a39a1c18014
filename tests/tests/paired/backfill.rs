//! Who may pass a head that waits for room.

use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::watchdog::Watchdog;

use crate::{PATIENCE, all_done, bound, waits_for};

#[tokio::test]
async fn a_gang_that_leaves_the_head_enough_room_passes_it_and_the_head_starts_next() {
    let deployment = Deployment::start(Options {
        nodes: 1,
        node_cpu_milli: 8_000,
        // With demands the reason to wait is another one after a second.
        extender_args: vec!["--backfill=easy".to_owned(), "--demands=0".to_owned()],
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let hog = Application::new("hog", 500, 5, 1_000);
    let stays = Behaviour {
        held: true,
        ..Behaviour::default()
    };
    let client = deployment.client();
    let hogs = Drivers::start(client.clone(), JOBS, std::slice::from_ref(&hog), stays);
    hog.submit(client, JOBS).await.unwrap();
    bound(&deployment, &hog.driver(), PATIENCE).await.unwrap();

    // Two and a half CPUs are free; when the hog has ended there are eight, and the head needs six and a half.
    let head = Application::new("head", 500, 6, 1_000);
    let wide = Application::new("wide", 1_000, 1, 1_000);
    let small = Application::new("small", 500, 1, 500);
    let others = [head.clone(), wide.clone(), small.clone()];
    let drivers = Drivers::start(client.clone(), JOBS, &others, Behaviour::default());
    head.submit(client, JOBS).await.unwrap();
    waits_for(&deployment, &head, "no-room").await.unwrap();
    wide.submit(client, JOBS).await.unwrap();
    waits_for(&deployment, &wide, "behind-others").await.unwrap();
    small.submit(client, JOBS).await.unwrap();
    all_done(&drivers, &[small], PATIENCE).await.unwrap();
    let view = waits_for(&deployment, &head, "no-room").await.unwrap();
    assert!(view["waiting"]["start_p50"].is_i64(), "when it starts is told: {view}");

    hogs.let_go();
    all_done(&hogs, &[hog], PATIENCE).await.unwrap();
    all_done(&drivers, &[head, wide], PATIENCE).await.unwrap();
    watchdog.finish().await.unwrap();
    hogs.stop().await;
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
