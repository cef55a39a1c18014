//! The disruption budget of drivers, as Kubernetes's own controller and its eviction see it.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kompass_core::names;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::harness::{ControlPlane, JOBS, Recording, USER, eventually, name};

/// The pods, by a client that takes a "too many requests" for an answer. Others ask again for five minutes.
async fn once(plane: &ControlPlane) -> Api<Pod> {
    let path = plane.cluster.kubeconfig_for(USER, &["system:masters"]).unwrap();
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.default_retry = false;
    Api::namespaced(Client::try_from(config).unwrap(), JOBS)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_driver_is_not_evicted_and_the_budget_ends_with_the_last_driver() {
    let plane = ControlPlane::start_with(true).await;
    let accounts = Api::<ServiceAccount>::namespaced(plane.user.clone(), JOBS);
    let account = serde_json::from_value(json!({"metadata": {"name": "spark"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let webhook = plane.webhook(&["--driver-budget"]).await;
    let budgets = Api::<PodDisruptionBudget>::namespaced(plane.user.clone(), JOBS);
    let recording = Recording::read("4.1.4", "a-basic-scala", "x");
    let driver = plane.create(&recording.driver).await;
    let mut left = Recording::read("4.1.4", "a-basic-scala", "out").driver;
    left["metadata"]["labels"][names::ENABLED_LABEL] = json!("false");
    let left = plane.create(&left).await;
    for pod in [&driver, &left] {
        let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        plane
            .pods()
            .patch_status(name(pod), &PatchParams::default(), &Patch::Merge(running))
            .await
            .unwrap();
    }
    eventually("a budget that counts the driver", || async {
        let budget = budgets.get_opt(names::DRIVER_BUDGET).await.unwrap()?;
        let status = budget.status?;
        (status.current_healthy == 1 && status.expected_pods == 1).then_some(())
    })
    .await;
    let refused = once(&plane).await.evict(name(&driver), &EvictParams::default()).await;
    let Err(kube::Error::Api(status)) = refused else {
        panic!("evicted: {refused:?}");
    };
    assert_eq!(status.code, 429, "{status:?}");
    // What is not KOMPASS's is not in the budget.
    plane.pods().evict(name(&left), &EvictParams::default()).await.unwrap();

    let now = DeleteParams::default().grace_period(0);
    plane.pods().delete(name(&driver), &now).await.unwrap();
    eventually("no budget", || async {
        budgets
            .get_opt(names::DRIVER_BUDGET)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_only_kept_when_asked_for_and_a_users_own_is_left_alone() {
    let plane = ControlPlane::start().await;
    let budgets = Api::<PodDisruptionBudget>::namespaced(plane.user.clone(), JOBS);
    let own = json!({
        "metadata": {"name": names::DRIVER_BUDGET},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"own": "yes"}}},
    });
    let own = budgets
        .create(&PostParams::default(), &serde_json::from_value(own).unwrap())
        .await
        .unwrap();
    let webhook = plane.webhook(&["--driver-budget"]).await;
    let driver = plane
        .create(&Recording::read("4.1.4", "a-basic-scala", "x").driver)
        .await;
    eventually("a conflict", || async {
        let text = webhook.running.registry.render();
        text.contains(r#"kompass_profiler_failures_total{step="apply-budget"} 1"#)
            .then_some(())
    })
    .await;
    assert_eq!(budgets.get(names::DRIVER_BUDGET).await.unwrap(), own);
    webhook.stop().await;
    let now = DeleteParams::default();
    budgets.delete(names::DRIVER_BUDGET, &now).await.unwrap();

    // One of an earlier process, in a namespace without drivers, is taken away; nothing is done without the option.
    let stale = json!({
        "metadata": {"name": names::DRIVER_BUDGET, "namespace": "default",
                     "labels": {"app.kubernetes.io/managed-by": "kompass"}},
        "spec": {"minAvailable": 1},
    });
    let elsewhere = Api::<PodDisruptionBudget>::namespaced(plane.user.clone(), "default");
    elsewhere
        .create(&PostParams::default(), &serde_json::from_value(stale).unwrap())
        .await
        .unwrap();
    let webhook = plane.webhook(&[]).await;
    eventually("the driver known", || async {
        let text = webhook.running.registry.render();
        text.contains("kompass_webhook_gangs 1\n").then_some(())
    })
    .await;
    webhook.stop().await;
    assert_eq!(
        Api::<PodDisruptionBudget>::all(plane.user.clone())
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let webhook = plane.webhook(&["--driver-budget"]).await;
    eventually("the driver's budget and no other", || async {
        let there = budgets.get_opt(names::DRIVER_BUDGET).await.unwrap().is_some();
        let stale = elsewhere.get_opt(names::DRIVER_BUDGET).await.unwrap().is_some();
        (there && !stale).then_some(())
    })
    .await;
    assert!(plane.pods().get_opt(name(&driver)).await.unwrap().is_some());
    webhook.stop().await;
    plane.stop().await;
}
