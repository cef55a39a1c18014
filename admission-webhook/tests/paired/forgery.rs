//! Plans, profiles and gang labels can't be forged (invariant 8).

use k8s_openapi::api::core::v1::Pod;
use kompass_core::names;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::harness::{ControlPlane, JOBS, Recording, annotation, client, eventually, gates, label, name};

fn pods(client: &Client, namespace: &str) -> Api<Pod> {
    Api::namespaced(client.clone(), namespace)
}

async fn patch(client: &Client, pod: &Pod, fields: Value) -> Result<Pod, kube::Error> {
    pods(client, JOBS)
        .patch(name(pod), &PatchParams::default(), &Patch::Merge(fields))
        .await
}

fn is_refused<T: std::fmt::Debug>(result: &Result<T, kube::Error>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("kompass"))
}

/// Until the API server enforces a policy some moments pass.
async fn enforced(plane: &ControlPlane, driver: &Pod) {
    eventually("an enforced policy", || async {
        let forged = json!({"metadata": {"annotations": {names::PROFILE_ANNOTATION: "probe"}}});
        is_refused(&patch(&plane.user, driver, forged).await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_kompass_writes_plans_profiles_and_gang_labels() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let recording = Recording::read("4.1.4", "a-basic-scala", "x");

    // Created with a plan: stripped.
    let mut forged = recording.driver.clone();
    forged["metadata"]["annotations"] =
        json!({names::PLAN_ANNOTATION: "{}", names::PROFILE_ANNOTATION: "{}", "own": "x"});
    forged["metadata"]["labels"][names::GANG_LABEL] = json!("other");
    let driver = plane.create(&forged).await;
    assert_eq!(
        (
            annotation(&driver, names::PLAN_ANNOTATION),
            annotation(&driver, names::PROFILE_ANNOTATION)
        ),
        (None, None)
    );
    assert_eq!(
        (annotation(&driver, "own"), label(&driver, names::GANG_LABEL)),
        (Some("x"), None)
    );
    enforced(&plane, &driver).await;

    // Patched by the driver's own service account, or anybody else: refused, by whatever door.
    let own = client(
        &plane.cluster,
        &format!("system:serviceaccount:{JOBS}:spark"),
        &["system:masters"],
    )
    .await;
    for user in [&own, &plane.user] {
        for fields in [
            json!({"metadata": {"annotations": {names::PLAN_ANNOTATION: "{}"}}}),
            json!({"metadata": {"annotations": {names::PROFILE_ANNOTATION: "{}"}}}),
            json!({"metadata": {"labels": {names::GANG_LABEL: "x"}}}),
        ] {
            assert!(is_refused(&patch(user, &driver, fields.clone()).await), "{fields}");
            let status = pods(user, JOBS)
                .patch_status(name(&driver), &PatchParams::default(), &Patch::Merge(&fields))
                .await;
            let kept = status
                .as_ref()
                .map(|pod| (pod.metadata.annotations.clone(), pod.metadata.labels.clone()));
            assert!(is_refused(&status), "by the status: {kept:?}");
        }
        let binding = json!({
            "metadata": {"name": name(&driver), "annotations": {names::PLAN_ANNOTATION: "{}"}},
            "target": {"kind": "Node", "name": "n1"},
        });
        let bound: Result<Value, _> = pods(user, JOBS)
            .create_subresource("binding", name(&driver), &PostParams::default(), &binding)
            .await;
        assert!(is_refused(&bound), "by a Binding: {bound:?}");
    }

    // KOMPASS may; and another driver's plan can't be copied, changed or removed by a user.
    plane.plan(&driver, &[("n1", 1)]).await;
    let plan = plane.pods().get(name(&driver)).await.unwrap();
    let plan = annotation(&plan, names::PLAN_ANNOTATION).unwrap().to_owned();
    let other = plane
        .create(&Recording::read("4.1.4", "a-basic-scala", "y").driver)
        .await;
    for (pod, value) in [(&other, json!(plan)), (&driver, json!("{}")), (&driver, json!(null))] {
        let fields = json!({"metadata": {"annotations": {names::PLAN_ANNOTATION: value}}});
        assert!(is_refused(&patch(&plane.user, pod, fields).await), "{value}");
    }
    // What is not KOMPASS's may be changed on the same pod.
    patch(
        &plane.user,
        &driver,
        json!({"metadata": {"labels": {"own": "x"}, "annotations": {"own": "y"}}}),
    )
    .await
    .unwrap();

    // An executor's label without an owner: dropped at creation, refused later.
    let mut ownerless = recording.executor_of(&driver, 1);
    ownerless["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    ownerless["metadata"]["labels"][names::GANG_LABEL] = json!(driver.metadata.uid);
    let ownerless = plane.create(&ownerless).await;
    assert_eq!(label(&ownerless, names::GANG_LABEL), None);
    let fields = json!({"metadata": {"labels": {names::GANG_LABEL: driver.metadata.uid}}});
    assert!(is_refused(&patch(&plane.user, &ownerless, fields).await));
    let executor = plane.create(&recording.executor_of(&driver, 2)).await;
    assert_eq!(label(&executor, names::GANG_LABEL), driver.metadata.uid.as_deref());
    let fields = json!({"metadata": {"labels": {names::GANG_LABEL: null}}});
    assert!(is_refused(&patch(&plane.user, &executor, fields).await));
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_past_the_webhook_is_refused_except_executors() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let recording = Recording::read("4.1.4", "a-basic-scala", "x");
    let probe = plane.create(&recording.driver).await;
    enforced(&plane, &probe).await;
    webhook.stop().await;

    let create = async |pod: &Value| {
        pods(&plane.user, JOBS)
            .create(&PostParams::default(), &serde_json::from_value(pod.clone()).unwrap())
            .await
    };
    let mut driver = Recording::read("4.1.4", "a-basic-scala", "forged").driver;
    driver["metadata"]["annotations"] = json!({names::PLAN_ANNOTATION: "{}"});
    assert!(is_refused(&create(&driver).await));
    // Spark 4.2 and later end the job when an executor is refused; and it would gain nothing.
    let mut executor = recording.executor_of(&probe, 1);
    executor["metadata"]["annotations"] = json!({names::PLAN_ANNOTATION: "{}", names::PROFILE_ANNOTATION: "{}"});
    executor["metadata"]["labels"][names::GANG_LABEL] = json!("x");
    create(&executor).await.unwrap();
    // Ordinary pods and drivers are none of the policy's business, webhook or not.
    let plain = json!({"metadata": {"name": "plain"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let plain = create(&plain).await.unwrap();
    patch(
        &plane.user,
        &plain,
        json!({"metadata": {"annotations": {"a": "b"}, "labels": {"c": "d"}}}),
    )
    .await
    .unwrap();
    let driver = create(&Recording::read("4.1.4", "a-basic-scala", "plain").driver)
        .await
        .unwrap();
    assert!(gates(&driver).is_empty());
    // A write of the status, as a kubelet does.
    let status = json!({"status": {"phase": "Failed"}});
    pods(&plane.user, JOBS)
        .patch_status(name(&probe), &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    plane.stop().await;
}
