//! Replicas that come and go, and what they leave behind.

use std::time::Instant;

use serde_json::{Value, json};

use crate::cluster::{self, bound, create, path, profile, profiled, until};
use crate::extender::{Extender, get_text, scheduler};

const STAND_INS: &str = "/api/v1/namespaces/kompass/pods?labelSelector=kompass.dev/stand-in-for";
const JOBS: &str = "/apis/batch/v1/namespaces/kompass/jobs";

fn items(list: &Value) -> usize {
    list["items"].as_array().map_or(usize::MAX, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replica_goes_on_after_the_first() {
    let cluster = cluster::start(4).await;
    let lease = [
        "--lease-duration",
        "3s",
        "--lease-renew-deadline",
        "2s",
        "--lease-retry",
        "200ms",
        "--identity",
    ];
    let start = async |identity: &'static str| {
        let more: Vec<&str> = lease.iter().copied().chain([identity]).collect();
        Extender::start(&cluster, "127.0.0.1:0", &more).await
    };
    let first = start("replica-a").await;
    let _scheduler = scheduler(&cluster, &first).await;
    let gang = async |name: &str| {
        let mut driver = cluster::driver(name, "1");
        driver["metadata"]["annotations"] = json!({ "kompass.dev/job-profile": profile(1_000, 500, 2) });
        create(&cluster, &driver).await;
        let started = Instant::now();
        until(&cluster, &path(name), |pod| pod["spec"]["schedulingGates"].is_null()).await;
        started.elapsed()
    };
    gang("before").await;
    let second = start("replica-b").await;
    let leads = async |extender: &Extender| {
        get_text(extender, "/metrics")
            .await
            .contains("\nkompass_extender_leader 1\n")
    };
    assert!(leads(&first).await && !leads(&second).await);

    // Given back: the other goes on after the hold-back. The first one's scheduler still asks the first one, which
    // answers what is planned, whoever planned it.
    first.stop().await;
    println!("after an orderly end a gate opens in {:?}", gang("orderly").await);
    assert!(leads(&second).await);

    let third = start("replica-c").await;
    second.kill();
    println!("after a kill a gate opens in {:?}", gang("killed").await);
    assert!(leads(&third).await);

    let _other = scheduler_named(&cluster, &third).await;
    for name in ["orderly", "killed"] {
        bound(&cluster, name).await;
    }
    third.stop().await;
    cluster.stop().await.unwrap();
}

/// Another scheduler beside the first, which lost its extender.
async fn scheduler_named(
    cluster: &kompass_local_cluster::api_only::Cluster,
    extender: &Extender,
) -> kompass_local_cluster::process::Daemon {
    use kompass_scheduler_extender::scheduler_config::{Options, render};
    cluster
        .start_scheduler("kompass-second", &render(&Options::new(&extender.url())), &[])
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_answers_what_the_leader_has_planned() {
    let cluster = cluster::start(2).await;
    let leader = Extender::start(&cluster, "127.0.0.1:0", &["--identity", "leader"]).await;
    create(&cluster, &cluster::driver("pi", "1")).await;
    cluster
        .client()
        .merge_patch(&path("pi"), &profiled(&profile(1_000, 1_000, 2)))
        .await
        .unwrap();
    until(&cluster, &path("pi"), |pod| pod["spec"]["schedulingGates"].is_null()).await;
    // The scheduler asks the other replica.
    let follower = Extender::start(&cluster, "127.0.0.1:0", &["--identity", "follower"]).await;
    let _scheduler = scheduler(&cluster, &follower).await;
    let driver = bound(&cluster, "pi").await;
    for number in 1..=2 {
        create(&cluster, &cluster::executor(&driver, number, "1")).await;
        bound(&cluster, &format!("pi-exec-{number}")).await;
    }
    leader.stop().await;
    follower.stop().await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn demand_ends_by_itself_and_orphans_are_removed() {
    let cluster = cluster::start(1).await;
    let options = ["--demand-life", "6s", "--demand-after", "100ms"];
    let extender = Extender::start(&cluster, "127.0.0.1:0", &options).await;
    let mut driver = cluster::driver("large", "1");
    driver["metadata"]["annotations"] = json!({ "kompass.dev/job-profile": profile(1_000, 2_000, 12) });
    create(&cluster, &driver).await;
    until(&cluster, STAND_INS, |pods| items(pods) == 13).await;
    // Nobody is there to end it.
    extender.kill();
    let killed = Instant::now();
    until(&cluster, STAND_INS, |pods| items(pods) == 0).await;
    println!("without KOMPASS the stand-ins ended after {:?}", killed.elapsed());

    // A demand whose gang went away while nobody watched.
    let extender = Extender::start(
        &cluster,
        "127.0.0.1:0",
        &["--demand-life", "10m", "--demand-after", "100ms"],
    )
    .await;
    until(&cluster, STAND_INS, |pods| items(pods) == 13).await;
    extender.kill();
    cluster
        .client()
        .delete(&format!("{}?gracePeriodSeconds=0", path("large")))
        .await
        .unwrap();
    let extender = Extender::start(&cluster, "127.0.0.1:0", &[]).await;
    until(&cluster, STAND_INS, |pods| items(pods) == 0).await;
    until(&cluster, JOBS, |jobs| items(jobs) == 0).await;
    extender.stop().await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_hold_empty_nodes_until_the_executors_come() {
    const MARKERS: &str = "/api/v1/namespaces/kompass/pods?labelSelector=kompass.dev/marker-for";
    let cluster = cluster::start(3).await;
    let extender = Extender::start(&cluster, "127.0.0.1:0", &[]).await;
    let _scheduler = scheduler(&cluster, &extender).await;
    let mut driver = cluster::driver("wide", "1");
    // One executor fills a node, so that the gang needs all three.
    driver["metadata"]["annotations"] = json!({ "kompass.dev/job-profile": profile(1_000, 6_000, 3) });
    create(&cluster, &driver).await;
    let driver = bound(&cluster, "wide").await;
    // Two nodes carry nothing yet; the driver holds the third.
    let markers = until(&cluster, MARKERS, |pods| items(pods) == 2).await;
    for marker in markers["items"].as_array().unwrap() {
        assert_eq!(marker["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"], "true");
        assert!(marker["spec"]["nodeName"].is_string() && marker["spec"]["activeDeadlineSeconds"].is_u64());
    }
    for number in 1..=3 {
        create(&cluster, &cluster::executor(&driver, number, "6")).await;
        bound(&cluster, &format!("wide-exec-{number}")).await;
    }
    until(&cluster, MARKERS, |pods| items(pods) == 0).await;
    extender.stop().await;
    cluster.stop().await.unwrap();
}
