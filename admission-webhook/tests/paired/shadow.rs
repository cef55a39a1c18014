//! Shadow mode in a cluster: the profiler reads and tells, and nothing is written.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::harness::{ControlPlane, Recording, eventually, name};
use crate::profiling::create_config_maps;

#[tokio::test(flavor = "multi_thread")]
async fn pods_stay_as_they_are_and_the_gang_is_told_of() {
    let plane = ControlPlane::start().await;
    let webhook = plane
        .webhook(&["--mode", "shadow", "--driver-budget", "--conf-hold", "300ms"])
        .await;
    let recording = Recording::read("4.1.4", "a-basic-scala", "x");
    let driver = plane.create(&recording.driver).await;
    let mut held = Recording::read("4.1.4", "a-basic-scala", "held").driver;
    held["metadata"]["labels"]["yunikorn.apache.org/app-id"] = json!("a");
    let held = plane.create(&held).await;
    // Nobody ever makes the ConfigMap of this one: a guess is told, and no event written.
    let mut guessed = Recording::read("4.1.4", "b-minimal", "guessed").driver;
    // Not of a class whose jobs are known already.
    let args = guessed["spec"]["containers"][0]["args"].as_array_mut().unwrap();
    let class = args.iter().position(|arg| arg == "--class").unwrap();
    args[class + 1] = json!("example.Other");
    let guessed = plane.create(&guessed).await;
    create_config_maps(&plane, &recording).await;
    let executor = plane.create(&recording.executor_of(&driver, 1)).await;

    let registry = &webhook.running.registry;
    eventually("both gangs told of", || async {
        let text = registry.render();
        let told = |source: &str| {
            text.contains(&format!(
                r#"kompass_profiler_shadow_gangs_total{{source="{source}"}} 1"#
            ))
        };
        (told("conf") && told("guess")).then_some(())
    })
    .await;
    let text = registry.render();
    for line in [
        "kompass_profiler_shadow_executors_total 3\n",
        r#"kompass_webhook_shadow_total{outcome="gated",role="driver"} 2"#,
        r#"kompass_webhook_shadow_total{outcome="held",role="driver"} 1"#,
        r#"kompass_webhook_shadow_total{outcome="unpinned",role="executor"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("kompass_profiler_profiles_total{"), "{text}");
    for (pod, recorded) in [(&driver, &recording.driver), (&executor, &recording.executor)] {
        let now = plane.pods().get(name(pod)).await.unwrap();
        assert_eq!(
            now.metadata.resource_version, pod.metadata.resource_version,
            "nobody wrote on it"
        );
        let mut json = serde_json::to_value(&now).unwrap();
        json["metadata"].as_object_mut().unwrap().remove("managedFields");
        assert!(!json.to_string().contains("kompass"), "{json}");
        assert_eq!(json["spec"]["schedulerName"], "default-scheduler");
        assert_eq!(
            json["metadata"]["annotations"].as_object().map(serde_json::Map::len),
            recorded["metadata"]["annotations"]
                .as_object()
                .map(serde_json::Map::len),
        );
    }
    for pod in [&held, &guessed] {
        let now = plane.pods().get(name(pod)).await.unwrap();
        assert_eq!(now.metadata.resource_version, pod.metadata.resource_version);
    }
    let events = Api::<Event>::all(plane.user.clone());
    let events = events.list(&ListParams::default()).await.unwrap();
    let is_ours = |event: &Event| {
        let by = event.reporting_controller.as_deref();
        by.is_some_and(|by| by.starts_with("kompass"))
    };
    assert!(!events.items.iter().any(is_ours), "{events:?}");
    let budgets = Api::<PodDisruptionBudget>::all(plane.user.clone());
    assert!(budgets.list(&ListParams::default()).await.unwrap().items.is_empty());
    webhook.stop().await;
    plane.stop().await;
}
