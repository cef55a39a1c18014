//! `kompass doctor` on a cluster that is well, and with one fault after another.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kompass_core::names;
use kompass_tests::deployment::{Deployment, JOBS};
use kompass_tests::spark::Application;
use kompass_tests::wait_for;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::bypass::small;
use crate::command::run;

/// Its exit code, and what each check says.
async fn examine(deployment: &mut Deployment) -> (i32, Vec<Value>) {
    let ended = run(deployment, &["doctor", "-o", "json"]).await.unwrap();
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    (ended.code.unwrap(), answer["findings"].as_array().unwrap().clone())
}

fn says(findings: &[Value], check: &str, state: &str, words: &str) -> bool {
    findings
        .iter()
        .any(|one| one["check"] == check && one["state"] == state && one["text"].as_str().unwrap().contains(words))
}

#[tokio::test]
async fn a_healthy_install_is_found_well_and_planted_faults_are_found() {
    let mut deployment = Deployment::start(small()).await.unwrap();
    let (code, found) = examine(&mut deployment).await;
    assert_eq!(code, 0, "{found:#?}");
    // A service that runs as a process has no Deployment.
    let others = found.iter().filter(|one| one["check"] != "deployments");
    assert!(others.clone().all(|one| one["state"] == "ok"), "{found:#?}");
    for (check, words) in [
        ("webhook-reached", "reaches the webhook"),
        ("webhook-answers", "would get its gate"),
        ("certificates", "is good for"),
        ("admission-policy", "can't be forged"),
        ("rights", "all"),
        ("leases", "kompass-planner is held by first-extender"),
    ] {
        assert!(says(&found, check, "ok", words), "{check}: {found:#?}");
    }

    // Faults that KOMPASS lives with.
    let client = deployment.client().clone();
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), JOBS);
    let quota = json!({ "metadata": { "name": "team" }, "spec": { "hard": { "limits.cpu": "4" } } });
    quotas
        .create(&PostParams::default(), &serde_json::from_value(quota).unwrap())
        .await
        .unwrap();
    wait_for("the quota to count", PATIENCE, || async {
        let quota = quotas.get("team").await.map_err(|error| error.to_string())?;
        quota
            .status
            .and_then(|status| status.used)
            .ok_or_else(|| "no status".to_owned())
    })
    .await
    .unwrap();
    // Bypassed, no namespace is in scope: quotas are of interest before that.
    let (code, found) = examine(&mut deployment).await;
    assert_eq!(code, 0, "{found:#?}");
    assert!(says(&found, "quotas", "warn", "jobs/team"), "{found:#?}");
    let ended = run(&mut deployment, &["bypass", "--reason", "a drill"]).await.unwrap();
    assert_eq!(ended.code, Some(0));
    let (code, found) = examine(&mut deployment).await;
    assert_eq!(code, 0, "{found:#?}");
    assert!(says(&found, "registration", "warn", "bypassed (a drill)"), "{found:#?}");
    run(&mut deployment, &["bypass", "--undo"]).await.unwrap();
    quotas.delete("team", &DeleteParams::default()).await.unwrap();

    // Faults that it does not.
    let bare = Application::new("bare", 100, 1, 100);
    bare.submit(&client, JOBS).await.unwrap();
    for daemon in [
        &mut deployment.webhook,
        &mut deployment.extender,
        &mut deployment.scheduler,
    ] {
        daemon.as_mut().unwrap().kill_9().await.unwrap();
    }
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    bindings
        .delete(names::REGISTRATION, &DeleteParams::default())
        .await
        .unwrap();
    let leases: Api<Lease> = Api::namespaced(client.clone(), names::DEFAULT_NAMESPACE);
    leases
        .delete(names::PLANNER_LEASE, &DeleteParams::default())
        .await
        .unwrap();
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let no_rules = Patch::Merge(json!({ "rules": [] }));
    roles
        .patch("kompass-scheduler-extender", &PatchParams::default(), &no_rules)
        .await
        .unwrap();
    let (code, found) = examine(&mut deployment).await;
    assert_eq!(code, 1, "{found:#?}");
    for (check, words) in [
        ("webhook-reached", "does not reach the webhook"),
        ("webhook-answers", "would go past KOMPASS"),
        ("admission-policy", "binding"),
        ("leases", "nobody has ever held the lease kompass-planner"),
        (
            "rights",
            "kompass-scheduler-extender lacks get of pods in all namespaces",
        ),
    ] {
        assert!(says(&found, check, "fail", words), "{check}: {found:#?}");
    }
    assert!(
        found.iter().all(|one| one["state"] == "ok" || one["fix"].is_string()),
        "{found:#?}"
    );
    deployment.stop().await.unwrap();
}
