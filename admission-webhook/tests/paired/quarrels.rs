//! Others who write to the registration: an enforcer, a second install.

use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use kompass_admission_webhook::registration::{INSTALL_ANNOTATION, NAME};
use kompass_service::clock::Clock;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{ControlPlane, DEADLINE};

fn api(plane: &ControlPlane) -> Api<MutatingWebhookConfiguration> {
    Api::all(plane.user.clone())
}

async fn edit(plane: &ControlPlane, operations: Value) {
    let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
    let parameters = PatchParams {
        field_manager: Some("admissionsenforcer".to_owned()),
        ..PatchParams::default()
    };
    api(plane)
        .patch(NAME, &parameters, &Patch::Json::<()>(patch))
        .await
        .unwrap();
}

const REPAIRED: &str = "kompass_webhook_repaired_total{kind=\"webhook\"}";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_enforcer_adds_stays_and_a_quarrel_slows_down() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let foreign = json!([
        {"key": "control-plane", "operator": "DoesNotExist"},
        {"key": "kubernetes.azure.com/managedby", "operator": "NotIn", "values": ["aks"]},
    ]);
    // It adds what is missing in any of the webhooks, and its label, as long as anything is missing.
    let has_all = |object: &MutatingWebhookConfiguration| {
        let labelled = object
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key("enforced"));
        labelled
            && object.webhooks.iter().flatten().all(|webhook| {
                let all = json!(webhook.namespace_selector.as_ref().unwrap().match_expressions);
                foreign
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|one| all.as_array().unwrap().contains(one))
            })
    };
    let mut enforced = 0;
    let mut quiet = 0;
    while quiet < 30 {
        let object = api(&plane).get(NAME).await.unwrap();
        if has_all(&object) {
            quiet += 1;
        } else {
            quiet = 0;
            enforced += 1;
            assert!(enforced < 10, "a quarrel without an end");
            let mut operations = vec![json!({"op": "add", "path": "/metadata/labels/enforced", "value": "true"})];
            for (index, webhook) in object.webhooks.iter().flatten().enumerate() {
                let known = json!(webhook.namespace_selector.as_ref().unwrap().match_expressions);
                let path = format!("/webhooks/{index}/namespaceSelector/matchExpressions/-");
                let missing = foreign
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|one| !known.as_array().unwrap().contains(one));
                operations.extend(missing.map(|one| json!({"op": "add", "path": path, "value": one})));
            }
            edit(&plane, json!(operations)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(enforced, 1, "its first word is its last");
    // Taking its expressions on makes us their owner too, and that is all we write.
    assert!(webhook.metric(REPAIRED) <= 1.0, "{}", webhook.metric(REPAIRED));

    // One that wants another value in a field of ours, for twenty seconds.
    let before = webhook.metric(REPAIRED);
    let begun = Instant::now();
    let mut seen = 0;
    while begun.elapsed() < Duration::from_secs(20) {
        let object = api(&plane).get(NAME).await.unwrap();
        if object.webhooks.unwrap()[0].failure_policy.as_deref() == Some("Ignore") {
            seen += 1;
            edit(
                &plane,
                json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]),
            )
            .await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let repaired = webhook.metric(REPAIRED) - before;
    assert!(
        (2.0..=6.0).contains(&repaired),
        "{repaired} repairs in 20 s, {seen} edits"
    );
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_install_waits_for_the_first_to_go() {
    let plane = ControlPlane::start().await;
    let first = plane.webhook(&[]).await;
    let registered = api(&plane).get(NAME).await.unwrap();
    assert_eq!(
        registered.metadata.annotations.as_ref().unwrap()[INSTALL_ANNOTATION],
        "kompass/kompass-admission-webhook"
    );
    let options = ["--service", "second", "--url", "https://127.0.0.1"];
    let second = plane.unready_webhook(Clock::system(), &options).await;
    second
        .says(&["registered (", "kompass/kompass-admission-webhook", "uninstall"])
        .await;
    let now = api(&plane).get(NAME).await.unwrap();
    assert_eq!(now.metadata.resource_version, registered.metadata.resource_version);
    assert!(first.running.readiness.is_ready());

    first.stop().await;
    api(&plane).delete(NAME, &DeleteParams::default()).await.unwrap();
    let policies =
        Api::<k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy>::all(plane.user.clone());
    policies.delete(NAME, &DeleteParams::default()).await.unwrap();
    let bindings =
        Api::<k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding>::all(plane.user.clone());
    bindings.delete(NAME, &DeleteParams::default()).await.unwrap();
    tokio::time::timeout(DEADLINE, second.running.readiness.ready())
        .await
        .unwrap_or_else(|_| panic!("{:?}", second.running.readiness.lacks()));
    let now = api(&plane).get(NAME).await.unwrap();
    assert_eq!(now.metadata.annotations.unwrap()[INSTALL_ANNOTATION], "kompass/second");
    second.stop().await;

    // An install whose namespace is gone is no install.
    let mark = json!({"metadata": {"annotations": {INSTALL_ANNOTATION: "gone/w"}}});
    api(&plane)
        .patch(NAME, &PatchParams::default(), &Patch::Merge(mark))
        .await
        .unwrap();
    let third = plane.webhook(&options).await;
    third.stop().await;
    let namespaces = Api::<Namespace>::all(plane.user.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "alive"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let mark = json!({"metadata": {"annotations": {INSTALL_ANNOTATION: "alive/w"}}});
    api(&plane)
        .patch(NAME, &PatchParams::default(), &Patch::Merge(mark))
        .await
        .unwrap();
    let fourth = plane.unready_webhook(Clock::system(), &options).await;
    fourth.says(&["alive/w"]).await;
    fourth.stop().await;
    plane.stop().await;
}
