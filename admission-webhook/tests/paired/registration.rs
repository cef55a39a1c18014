//! The registration stays as it should be.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Secret;
use kompass_admission_webhook::certificates::SECRET;
use kompass_admission_webhook::registration::NAME;
use kompass_core::names;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{ControlPlane, Recording, eventually, gates, scheduler};

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_deletions_are_put_right_and_others_fields_stay() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let webhooks = Api::<MutatingWebhookConfiguration>::all(plane.user.clone());
    let edit = json!([
        {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"},
        {"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "Cg=="},
        {"op": "add", "path": "/metadata/annotations", "value": {"example.com/own": "x"}},
    ]);
    let edit: json_patch::Patch = serde_json::from_value(edit).unwrap();
    // A bundle that is no certificate is refused by the API server; the rest of the edit is what a hand would do.
    let edit = json_patch::Patch(
        edit.0
            .into_iter()
            .filter(|operation| !operation.path().as_str().contains("caBundle"))
            .collect(),
    );
    webhooks
        .patch(NAME, &PatchParams::default(), &Patch::Json::<()>(edit))
        .await
        .unwrap();
    eventually("the policy put right", || async {
        let object = webhooks.get(NAME).await.unwrap();
        let ignored = object.webhooks.unwrap()[0].failure_policy.as_deref() == Some("Ignore");
        let kept = object
            .metadata
            .annotations
            .is_some_and(|all| all.contains_key("example.com/own"));
        (ignored && kept).then_some(())
    })
    .await;

    let policies = Api::<ValidatingAdmissionPolicy>::all(plane.user.clone());
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(plane.user.clone());
    webhooks.delete(NAME, &DeleteParams::default()).await.unwrap();
    policies.delete(NAME, &DeleteParams::default()).await.unwrap();
    bindings.delete(NAME, &DeleteParams::default()).await.unwrap();
    eventually("all objects back", || async {
        let there = webhooks.get_opt(NAME).await.unwrap().is_some()
            && policies.get_opt(NAME).await.unwrap().is_some()
            && bindings.get_opt(NAME).await.unwrap().is_some();
        there.then_some(())
    })
    .await;
    // The policy's expressions are well typed.
    let policy = eventually("a checked policy", || async {
        policies.get(NAME).await.unwrap().status
    })
    .await;
    let warnings = policy
        .type_checking
        .and_then(|checking| checking.expression_warnings)
        .unwrap_or_default();
    assert!(warnings.is_empty(), "{warnings:?}");
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_their_authority() {
    let plane = ControlPlane::start().await;
    let (first, second) = tokio::join!(plane.webhook(&[]), plane.webhook(&[]));
    let secrets = Api::<Secret>::namespaced(plane.user.clone(), names::DEFAULT_NAMESPACE);
    let secret = secrets.get(SECRET).await.unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&secret.data.unwrap()["authorities.json"].0).unwrap();
    assert_eq!(stored.as_array().unwrap().len(), 1);
    // Both registered under their own URL in turn; whichever is registered now is trusted.
    let driver = plane
        .create(&Recording::read("4.1.4", "a-basic-scala", "x").driver)
        .await;
    assert_eq!((scheduler(&driver), gates(&driver).len()), ("kompass", 1));
    first.stop().await;
    second.stop().await;
    plane.stop().await;
}
