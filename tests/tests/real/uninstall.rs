//! `kompass uninstall`: nothing is stranded, nothing comes back, and an interrupted run is gone on with.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kompass_core::names;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::bypass::{crowd, has_gate, scheduler, small};
use crate::command::{kompass, run};
use crate::{PATIENCE, all_done, submit_all};

#[tokio::test]
async fn waiting_gangs_run_and_nothing_is_left_or_comes_back() {
    let mut deployment = Deployment::start(Options {
        webhook_args: vec!["--driver-budget".to_owned()],
        ..small()
    })
    .await
    .unwrap();
    let applications: Vec<_> = (0..4)
        .map(|number| Application::new(format!("app-{number}"), 1_000, 6, 1_000))
        .collect();
    let behaviour = Behaviour {
        run_for: Duration::from_secs(1),
        ..Behaviour::default()
    };
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, behaviour);
    submit_all(&deployment, &applications).await.unwrap();
    wait_for("a gang to wait at its gate", PATIENCE, || async {
        let pods = deployment.pods().list(&ListParams::default()).await.unwrap();
        let gated = pods.iter().filter(|pod| has_gate(pod)).count();
        if gated >= 2 { Ok(()) } else { Err(gated) }
    })
    .await
    .unwrap();

    let ended = run(&mut deployment, &["uninstall", "--dry-run"]).await.unwrap();
    assert_eq!(ended.code, Some(0));
    assert!(
        ended
            .stdout
            .contains("MutatingWebhookConfiguration kompass-admission-webhook")
    );
    let refused = run(&mut deployment, &["uninstall"]).await.unwrap();
    assert!(refused.code == Some(2) && refused.stderr.contains("--yes"));
    let all: Api<MutatingWebhookConfiguration> = Api::all(deployment.client().clone());
    assert!(all.get_opt(names::REGISTRATION).await.unwrap().is_some());

    // Both services live and would repair, renew and write if they could.
    let ended = run(&mut deployment, &["uninstall", "--yes", "--timeout", "60"])
        .await
        .unwrap();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("Nothing of KOMPASS is left."));
    all_done(&drivers, &applications, PATIENCE).await.unwrap();
    wait_for("the webhook to have tried to come back", PATIENCE, || async {
        let logs = deployment.logs().unwrap();
        if logs.contains("failed to register") || logs.contains("failed to read the registered") {
            Ok(())
        } else {
            Err(())
        }
    })
    .await
    .unwrap();
    assert!(all.get_opt(names::REGISTRATION).await.unwrap().is_none());
    let late = Application::new("late", 100, 1, 100)
        .submit(deployment.client(), JOBS)
        .await
        .unwrap();
    assert!(!has_gate(&late) && scheduler(&late) == names::DEFAULT_SCHEDULER);

    let again = run(&mut deployment, &["uninstall", "--yes"]).await.unwrap();
    assert_eq!(again.code, Some(0));
    assert!(again.stdout.contains("There is nothing of KOMPASS"));
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn what_nobody_places_is_told_of_and_an_interrupted_run_is_gone_on_with() {
    let mut deployment = Deployment::start(small()).await.unwrap();
    let waiting = crowd(&deployment).await;
    for daemon in [&mut deployment.extender, &mut deployment.scheduler] {
        daemon.as_mut().unwrap().kill_9().await.unwrap();
    }
    // Ended in the middle: gates are lifted, and it waits for a scheduler that is not there.
    let mut first = kompass(&mut deployment, &["uninstall", "--yes"])
        .unwrap()
        .spawn()
        .unwrap();
    wait_for("gates to be lifted", PATIENCE, || async {
        let pods = deployment.pods().list(&ListParams::default()).await.unwrap();
        let gated = pods.iter().filter(|pod| has_gate(pod)).count();
        if gated == 0 { Ok(()) } else { Err(gated) }
    })
    .await
    .unwrap();
    first.kill().await.unwrap();

    let stranded = run(&mut deployment, &["uninstall", "--yes", "--timeout", "1"])
        .await
        .unwrap();
    assert_eq!(stranded.code, Some(3));
    assert!(stranded.stderr.contains("3 pods name KOMPASS's scheduler"));
    assert!(stranded.stderr.contains(&waiting[2].driver()));
    // What the scheduler needs to come back is still there.
    let accounts: Api<ServiceAccount> = Api::namespaced(deployment.client().clone(), names::DEFAULT_NAMESPACE);
    assert!(accounts.get_opt("kompass-scheduler-extender").await.unwrap().is_some());

    // A release that Helm has written down is Helm's: without one nothing is deleted under it.
    let secrets: Api<Secret> = Api::namespaced(deployment.client().clone(), names::DEFAULT_NAMESPACE);
    let release = json!({
        "metadata": { "name": "sh.helm.release.v1.kompass.v1", "labels": { "owner": "helm", "name": "kompass" } },
        "type": "helm.sh/release.v1",
    });
    secrets
        .create(&PostParams::default(), &serde_json::from_value(release).unwrap())
        .await
        .unwrap();
    let force = [
        "uninstall",
        "--yes",
        "--timeout",
        "1",
        "--force",
        "--helm",
        "/nowhere/helm",
    ];
    let helmless = run(&mut deployment, &force).await.unwrap();
    assert_eq!(helmless.code, Some(1));
    assert!(
        helmless
            .stderr
            .contains("/nowhere/helm uninstall kompass --namespace=kompass")
    );
    assert!(accounts.get_opt("kompass-scheduler-extender").await.unwrap().is_some());
    let driver = deployment.pods().get_opt(&waiting[0].driver()).await.unwrap();
    assert!(driver.is_none_or(|driver| driver.metadata.deletion_timestamp.is_some()));

    secrets
        .delete("sh.helm.release.v1.kompass.v1", &DeleteParams::default())
        .await
        .unwrap();
    let done = run(&mut deployment, &["uninstall", "--yes"]).await.unwrap();
    assert_eq!(done.code, Some(0));
    assert!(accounts.get_opt("kompass-scheduler-extender").await.unwrap().is_none());
    deployment.stop().await.unwrap();
}
