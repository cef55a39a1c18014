//! Gangs whose pods have rules about those of others: kube-scheduler, which keeps the same rules, takes the planned nodes.

use std::collections::BTreeSet;

use kompass_core::GangPlan;
use kompass_local_cluster::api_only::Cluster;
use serde_json::{Value, json};

use crate::cluster::{self, bound, create, executor, node_of, plan_of, pod, profile, stays, until};
use crate::extender::{Extender, get, scheduler};

const HOST: &str = "kubernetes.io/hostname";

/// A required term about pods with this label.
fn term(key: &str, value: &str, more: &Value) -> Value {
    let mut term = json!({ "topologyKey": HOST, "labelSelector": { "matchLabels": { key: value } } });
    term.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    term
}

fn affinity(apart: &[Value], together: &[Value]) -> Value {
    let required = |terms: &[Value]| json!({ "requiredDuringSchedulingIgnoredDuringExecution": terms });
    json!({ "podAntiAffinity": required(apart), "podAffinity": required(together) })
}

/// The same term as it stands in a profile.
fn written(key: &str, value: &str) -> Value {
    let label = json!({ "key": key, "operator": "In", "values": [value] });
    json!({ "topology": HOST, "pods": { "namespaces": ["default"], "labels": [label] } })
}

/// A pod of others that runs on a node, with this label and anti-affinity.
async fn other(cluster: &Cluster, node: &str, app: &str, apart: &[Value]) {
    let mut pod = pod(app, "100m");
    pod["metadata"]["labels"] = json!({ "app": app });
    pod["spec"]["schedulerName"] = json!("default-scheduler");
    pod["spec"]["nodeName"] = json!(node);
    pod["spec"]["affinity"] = affinity(apart, &[]);
    create(cluster, &pod).await;
}

/// A driver whose profile says this about its executors.
async fn submit(cluster: &Cluster, name: &str, executors: u64, labels: &Value, rules: &Value, affinity: &Value) {
    let mut driver = cluster::driver(name, "500m");
    let own = driver["metadata"]["labels"].as_object_mut().unwrap();
    own.extend(labels.as_object().unwrap().clone());
    driver["spec"]["affinity"] = affinity.clone();
    let mut profile: Value = serde_json::from_str(&profile(500, 500, executors)).unwrap();
    profile["executor_labels"] = labels.clone();
    profile["executor_pod_rules"] = rules.clone();
    driver["metadata"]["annotations"] = json!({ "kompass.dev/job-profile": profile.to_string() });
    create(cluster, &driver).await;
}

/// Its driver and all executors, with this affinity, are bound as planned.
async fn runs(cluster: &Cluster, name: &str, executors: u64, labels: &Value, affinity: &Value) -> GangPlan {
    let driver = bound(cluster, name).await;
    for number in 1..=executors {
        let mut executor = executor(&driver, number, "500m");
        let own = executor["metadata"]["labels"].as_object_mut().unwrap();
        own.extend(labels.as_object().unwrap().clone());
        executor["spec"]["affinity"] = affinity.clone();
        create(cluster, &executor).await;
    }
    let plan = plan_of(&driver).unwrap();
    assert_eq!(node_of(&driver), Some(plan.driver.as_str()));
    let mut nodes = Vec::new();
    for number in 1..=executors {
        let executor = bound(cluster, &format!("{name}-exec-{number}")).await;
        nodes.push(node_of(&executor).unwrap().to_owned());
    }
    for (node, count) in &plan.executors {
        let here = nodes.iter().filter(|seen| *seen == node).count();
        assert_eq!(here as u64, *count, "{plan:?} {nodes:?}");
    }
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_scheduler_takes_the_nodes_that_rules_about_other_pods_leave() {
    let cluster = cluster::start(5).await;
    other(&cluster, "node-0", "web", &[]).await;
    other(&cluster, "node-1", "lonely", &[term("team", "etl", &json!({}))]).await;
    other(&cluster, "node-2", "cache", &[]).await;
    let extender = Extender::start(&cluster, "127.0.0.1:0", &[]).await;
    let _scheduler = scheduler(&cluster, &extender).await;

    // The driver may go where neither `web` nor `lonely` is, the executors only to the cache.
    let labels = json!({ "team": "etl" });
    let (web, cache) = (term("app", "web", &json!({})), term("app", "cache", &json!({})));
    let rules = json!({ "apart": [written("app", "web")], "together": [written("app", "cache")] });
    let of_driver = affinity(std::slice::from_ref(&web), &[]);
    submit(&cluster, "etl", 6, &labels, &rules, &of_driver).await;
    let plan = runs(&cluster, "etl", 6, &labels, &affinity(&[web], &[cache])).await;
    assert_eq!(plan.executors, [("node-2".to_owned(), 6)]);
    assert!(!["node-0", "node-1"].contains(&plan.driver.as_str()), "{plan:?}");

    // One that needs the cache and more room than there is beside it waits, and is told why.
    submit(&cluster, "large", 20, &labels, &rules, &of_driver).await;
    stays(&cluster, "large", |pod| pod["spec"]["schedulingGates"].is_array()).await;
    let gang = get(&extender, "/v1/gangs/default/large").await;
    let text = gang["gang"]["waiting"]["text"].as_str().unwrap_or_default();
    assert!(
        text.contains("not counting 4 where its rules about other pods"),
        "{gang:#}"
    );
    cluster.client().delete(&cluster::path("large")).await.unwrap();
    until(&cluster, cluster::PODS, |pods| {
        let pods = pods["items"].as_array().unwrap();
        !pods.iter().any(|pod| pod["metadata"]["name"] == "large")
    })
    .await;

    // Two applications each of which wants its executors' nodes for itself: planned before any executor is there.
    let alone = term(
        "spark-role",
        "executor",
        &json!({ "mismatchLabelKeys": ["spark-app-selector"] }),
    );
    let rules = json!({ "apart": [written("spark-role", "executor")] });
    let none = json!({});
    for name in ["one", "two"] {
        submit(&cluster, name, 8, &none, &rules, &none).await;
    }
    let mut nodes: Vec<BTreeSet<String>> = Vec::new();
    for name in ["one", "two"] {
        let plan = runs(&cluster, name, 8, &none, &affinity(std::slice::from_ref(&alone), &[])).await;
        nodes.push(plan.executors.into_iter().map(|(node, _)| node).collect());
    }
    assert!(
        nodes[0].is_disjoint(&nodes[1]) && !nodes[0].contains("node-2"),
        "{nodes:?}"
    );

    extender.stop().await;
    cluster.stop().await.unwrap();
}
