//! Gangs of hand-made Spark pods through the whole extender and a real kube-scheduler.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{self, bound, create, finish, node_of, path, plan_of, pod, profile, profiled, stays, until};
use crate::extender::{Extender, get, get_text, scheduler};

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_is_planned_opened_bound_and_finished() {
    let cluster = cluster::start(3).await;
    let extender = Extender::start(&cluster, "127.0.0.1:0", &[]).await;
    let _scheduler = scheduler(&cluster, &extender).await;

    // Without a profile the gate stays closed.
    create(&cluster, &cluster::driver("pi", "1")).await;
    stays(&cluster, "pi", |pod| pod["spec"]["schedulingGates"].is_array()).await;

    let text = profile(1_000, 2_000, 4);
    cluster
        .client()
        .merge_patch(&path("pi"), &profiled(&text))
        .await
        .unwrap();
    let driver = bound(&cluster, "pi").await;
    let plan = plan_of(&driver).unwrap();
    assert_eq!(plan.executor_count(), 4);
    assert_eq!(node_of(&driver), Some(plan.driver.as_str()));

    for number in 1..=4 {
        create(&cluster, &cluster::executor(&driver, number, "2")).await;
    }
    let mut nodes = Vec::new();
    for number in 1..=4 {
        let executor = bound(&cluster, &format!("pi-exec-{number}")).await;
        nodes.push(node_of(&executor).unwrap().to_owned());
    }
    for (node, count) in &plan.executors {
        assert_eq!(
            nodes.iter().filter(|seen| *seen == node).count() as u64,
            *count,
            "{plan:?} {nodes:?}"
        );
    }

    // 24 CPU, 9 of them used: a gang of 16 waits as a whole, and says why.
    let mut large = cluster::driver("large", "1");
    large["metadata"]["annotations"] = json!({ "kompass.dev/job-profile": profile(1_000, 3_000, 5) });
    create(&cluster, &large).await;
    stays(&cluster, "large", |pod| pod["spec"]["schedulingGates"].is_array()).await;
    let gang = get(&extender, "/v1/gangs/default/large").await;
    assert_eq!(gang["gang"]["state"], "waiting", "{gang:#}");
    assert!(gang["gang"]["waiting"]["text"].is_string(), "{gang:#}");
    let events = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=large";
    until(&cluster, events, |events| {
        let events = events["items"].as_array().unwrap();
        events.iter().any(|event| event["reason"] == "GangWaiting")
    })
    .await;
    // Nodes are asked for: 1 + 5 stand-ins which an autoscaler can see.
    let stand_ins = "/api/v1/namespaces/kompass/pods?labelSelector=kompass.dev/stand-in-for";
    let seen = until(&cluster, stand_ins, |pods| {
        let pods = pods["items"].as_array().unwrap();
        let visible = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|one| one["reason"] == "Unschedulable")
        };
        pods.len() == 6 && pods.iter().filter(visible).count() == 6
    })
    .await;
    let is_stand_in =
        |pod: &Value| pod["spec"]["priority"] == -10 && pod["spec"]["schedulerName"] == "kompass-stand-in";
    assert!(seen["items"].as_array().unwrap().iter().all(is_stand_in));

    // The first gang ends, though a sidecar of its driver may live on; its room is free, the large one starts.
    for number in 1..=4 {
        finish(&cluster, &format!("pi-exec-{number}")).await;
    }
    finish(&cluster, "pi").await;
    let large = bound(&cluster, "large").await;
    assert_eq!(plan_of(&large).unwrap().executor_count(), 5);
    until(&cluster, stand_ins, |pods| pods["items"].as_array().unwrap().is_empty()).await;
    let finished = get(&extender, "/v1/gangs/default/pi").await;
    assert_eq!(finished["finished"]["outcome"], "succeeded", "{finished:#}");
    let metrics = get_text(&extender, "/metrics").await;
    let line = r#"kompass_extender_gangs_finished_total{outcome="succeeded",profile_key="test"} 1"#;
    assert!(metrics.contains(line), "{metrics}");

    extender.stop().await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_opens_soon_after_the_profile_is_written() {
    let cluster = cluster::start(20).await;
    let extender = Extender::start(&cluster, "127.0.0.1:0", &["--lease", "false"]).await;
    let mut times = Vec::new();
    for round in 0..60 {
        let name = format!("gate-{round}");
        create(&cluster, &cluster::driver(&name, "100m")).await;
        let written = Instant::now();
        let text = profile(100, 100, 2);
        cluster
            .client()
            .merge_patch(&path(&name), &profiled(&text))
            .await
            .unwrap();
        until(&cluster, &path(&name), |pod| pod["spec"]["schedulingGates"].is_null()).await;
        times.push(written.elapsed());
    }
    // The first one waits for the hold-back of a new leader.
    let mut times = times.split_off(1);
    times.sort();
    println!(
        "profile written -> gate seen open: p50 {:?}, p99 {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    // The goal (50 ms, idle) is measured by the bench `scale`; this is for an unoptimised program on a busy machine.
    assert!(times[times.len() / 2] < Duration::from_millis(500), "{times:?}");
    extender.stop().await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_it_goes_on_from_the_api_server() {
    let cluster = cluster::start(2).await;
    let mut extender = Extender::start(&cluster, "127.0.0.1:0", &[]).await;
    let listen = extender.address.to_string();
    let _scheduler = scheduler(&cluster, &extender).await;

    // Killed while a profiled driver waits: 16 CPU, the first gang takes 13.
    let mut one = cluster::driver("one", "1");
    one["metadata"]["annotations"] = json!({ "kompass.dev/job-profile": profile(1_000, 3_000, 4) });
    create(&cluster, &one).await;
    let one = bound(&cluster, "one").await;
    let mut two = cluster::driver("two", "1");
    two["metadata"]["annotations"] = json!({ "kompass.dev/job-profile": profile(1_000, 3_000, 4) });
    create(&cluster, &two).await;
    extender.kill();
    let restarted = Instant::now();
    extender = Extender::start(&cluster, &listen, &[]).await;
    println!("restart to ready: {:?}", restarted.elapsed());

    // The room of the first gang is still kept: its executors come now, those of nobody else.
    stays(&cluster, "two", |pod| pod["spec"]["schedulingGates"].is_array()).await;
    create(&cluster, &pod("foreign", "4")).await;
    for number in 1..=2 {
        create(&cluster, &cluster::executor(&one, number, "3")).await;
        bound(&cluster, &format!("one-exec-{number}")).await;
    }
    // Killed in the middle of its executors.
    extender.kill();
    extender = Extender::start(&cluster, &listen, &[]).await;
    for number in 3..=4 {
        create(&cluster, &cluster::executor(&one, number, "3")).await;
        bound(&cluster, &format!("one-exec-{number}")).await;
    }
    stays(&cluster, "foreign", |pod| node_of(pod).is_none()).await;
    cluster
        .client()
        .delete(&format!("{}?gracePeriodSeconds=0", path("foreign")))
        .await
        .unwrap();

    // An executor that is lost is replaced on the same node.
    let lost = cluster.client().get(&path("one-exec-3")).await.unwrap();
    cluster
        .client()
        .delete(&format!("{}?gracePeriodSeconds=0", path("one-exec-3")))
        .await
        .unwrap();
    create(&cluster, &cluster::executor(&one, 5, "3")).await;
    assert_eq!(node_of(&bound(&cluster, "one-exec-5").await), node_of(&lost));

    // The first ends, the second starts.
    for number in [1, 2, 4, 5] {
        finish(&cluster, &format!("one-exec-{number}")).await;
    }
    finish(&cluster, "one").await;
    bound(&cluster, "two").await;
    extender.stop().await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_came_without_a_gate_carries_its_plan_in_its_binding() {
    let cluster = cluster::start(2).await;
    let extender = Extender::start(&cluster, "127.0.0.1:0", &["--lease", "false"]).await;
    let _scheduler = scheduler(&cluster, &extender).await;
    let mut driver = cluster::driver("bare", "1");
    driver["spec"].as_object_mut().unwrap().remove("schedulingGates");
    driver["metadata"]["annotations"] = json!({ "kompass.dev/job-profile": profile(1_000, 1_000, 2) });
    create(&cluster, &driver).await;
    let driver = bound(&cluster, "bare").await;
    let plan = plan_of(&driver).expect("the plan came with the Binding, or before it");
    assert_eq!(node_of(&driver), Some(plan.driver.as_str()));
    extender.stop().await;
    cluster.stop().await.unwrap();
}
