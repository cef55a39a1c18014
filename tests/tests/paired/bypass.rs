//! `kompass bypass`: no pod is taken, nothing stays at its gate, and the webhook does not undo it.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kompass_core::names;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, is_bound};
use kompass_tests::wait_for;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::command::run;
use crate::{PATIENCE, bound, submit_all, waits_for};

/// Fills the cluster with one gang and lets these wait for room.
pub(crate) async fn crowd(deployment: &Deployment) -> Vec<Application> {
    let fill = Application::new("fill", 1_000, 7, 1_000);
    fill.submit(deployment.client(), JOBS).await.unwrap();
    bound(deployment, &fill.driver(), PATIENCE).await.unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|number| Application::new(format!("waits-{number}"), 500, 4, 1_000))
        .collect();
    submit_all(deployment, &waiting).await.unwrap();
    waits_for(deployment, &waiting[0], "no-room").await.unwrap();
    for application in &waiting[1..] {
        waits_for(deployment, application, "behind-others").await.unwrap();
    }
    waiting
}

/// Two nodes, which the gang of [`crowd`] fills.
pub(crate) fn small() -> Options {
    Options {
        nodes: 2,
        ..Options::default()
    }
}

pub(crate) fn has_gate(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| gates.iter().any(|gate| gate.name == names::GANG_GATE))
}

pub(crate) fn scheduler(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or_default()
}

async fn gated(deployment: &Deployment) -> Vec<String> {
    let pods = deployment.pods().list(&ListParams::default()).await.unwrap();
    pods.iter()
        .filter(|pod| has_gate(pod))
        .map(kube::ResourceExt::name_any)
        .collect()
}

async fn webhooks(all: &Api<MutatingWebhookConfiguration>) -> Vec<String> {
    let object = all.get(names::REGISTRATION).await.unwrap();
    object
        .webhooks
        .into_iter()
        .flatten()
        .map(|webhook| webhook.name)
        .collect()
}

#[tokio::test]
async fn with_all_of_kompass_dead_a_bypass_lets_everything_go_and_lasts_until_it_is_undone() {
    let mut deployment = Deployment::start(small()).await.unwrap();
    let waiting = crowd(&deployment).await;
    for daemon in [
        &mut deployment.webhook,
        &mut deployment.extender,
        &mut deployment.scheduler,
    ] {
        daemon.as_mut().unwrap().kill_9().await.unwrap();
    }
    assert_eq!(gated(&deployment).await.len(), 3);

    let ended = run(
        &mut deployment,
        &["bypass", "--reason", "a drill", "--to-default-scheduler"],
    )
    .await
    .unwrap();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("3 gates were lifted"));
    // What can't be changed is told of, pod by pod.
    assert!(ended.stdout.contains(&format!(
        "kubectl delete pod {} --namespace={JOBS}",
        waiting[0].driver()
    )));
    assert!(gated(&deployment).await.is_empty());
    let all: Api<MutatingWebhookConfiguration> = Api::all(deployment.client().clone());
    assert_eq!(webhooks(&all).await, ["probe.kompass.dev"]);

    // The webhook comes back: it is ready, says that it is bypassed, and repairs what is left but not that.
    deployment.start_webhook().await.unwrap();
    let page = deployment.get(deployment.webhook_admin(), "/metrics").await.unwrap();
    assert!(page.contains("\nkompass_webhook_bypassed 1\n"), "{page}");
    let edit = json!([{ "op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 7 }]);
    let edit: Patch<()> = Patch::Json(serde_json::from_value(edit).unwrap());
    all.patch(names::REGISTRATION, &PatchParams::default(), &edit)
        .await
        .unwrap();
    wait_for("the edit to be undone", PATIENCE, || async {
        let object = all.get(names::REGISTRATION).await.unwrap();
        let timeout = object.webhooks.unwrap()[0].timeout_seconds;
        if timeout == Some(5) { Ok(()) } else { Err(timeout) }
    })
    .await
    .unwrap();
    assert_eq!(webhooks(&all).await, ["probe.kompass.dev"]);
    let passed = Application::new("passed", 100, 1, 100);
    let driver = passed.submit(deployment.client(), JOBS).await.unwrap();
    assert!(!has_gate(&driver) && scheduler(&driver) == names::DEFAULT_SCHEDULER);

    let ended = run(&mut deployment, &["bypass", "--undo"]).await.unwrap();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("takes pods again"));
    // The API server follows its configuration within a moment.
    wait_for("a driver to be taken again", PATIENCE, || async {
        let name = format!("again-{}", jiff::Timestamp::now().as_millisecond());
        let driver = Application::new(name, 100, 1, 100)
            .submit(deployment.client(), JOBS)
            .await
            .unwrap();
        if has_gate(&driver) && scheduler(&driver) == names::SCHEDULER {
            Ok(())
        } else {
            Err(())
        }
    })
    .await
    .unwrap();
    let ended = run(&mut deployment, &["bypass", "--undo"]).await.unwrap();
    assert!(ended.code == Some(0) && ended.stdout.contains("was not bypassed"));

    // What was let go is placed as soon as somebody serves it again.
    deployment.start_extender().await.unwrap();
    deployment.start_scheduler().await.unwrap();
    deployment.add_nodes("more", 6, 4_000).await.unwrap();
    for application in &waiting {
        let driver = bound(&deployment, &application.driver(), PATIENCE).await.unwrap();
        assert!(is_bound(&driver));
    }
    deployment.stop().await.unwrap();
}
