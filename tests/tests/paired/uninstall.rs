//! `kompass uninstall`: nothing is stranded, nothing comes back, and an interrupted run is gone on with.

use std::process::Stdio;
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment as Owning;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kompass_core::names;
use kompass_local_cluster::kompass::NAMESPACE;
use kompass_predictor::hold::{Holder, Means, Wish};
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::fault_proxy::{Armed, Effect, FaultProxy, Moment};
use kompass_tests::headroom::{held, settings, settle};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

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

/// A predictor that runs, as far as the API server knows, and the Deployment that would be scaled down with it.
async fn a_predictor(deployment: &Deployment) -> Api<Owning> {
    let labels = json!({ "app.kubernetes.io/component": "predictor", "app.kubernetes.io/part-of": "kompass" });
    let spec = json!({ "containers": [{
        "name": "predictor", "image": "example.com/p", "ports": [{ "name": "metrics", "containerPort": 9090 }],
    }] });
    let pods = deployment.own_pods();
    let mut pod = json!({ "metadata": { "name": "predictor", "labels": labels }, "spec": spec });
    pod["spec"]["nodeName"] = "node-0".into();
    let stand_in = json!({
        "metadata": { "name": "stand-in", "labels": {
            names::STAND_IN_LABEL: "a-gang", "app.kubernetes.io/managed-by": "kompass",
        } },
        "spec": {
            "schedulerName": names::STAND_IN_SCHEDULER, "containers": [{ "name": "c", "image": "example.com/c" }],
        },
    });
    for pod in [pod, stand_in] {
        let pod = serde_json::from_value(pod).unwrap();
        pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    wait_for("the predictor to run", PATIENCE, || async {
        let phase = pods
            .get("predictor")
            .await
            .unwrap()
            .status
            .and_then(|status| status.phase);
        if phase.as_deref() == Some("Running") {
            Ok(())
        } else {
            Err(phase)
        }
    })
    .await
    .unwrap();
    // Its pods are others: what is asked is the one above, which ends when the test says so.
    let other = json!({ "app": "of-the-deployment" });
    let owning = json!({ "metadata": { "name": "kompass-predictor", "labels": labels }, "spec": {
        "replicas": 1, "selector": { "matchLabels": other },
        "template": { "metadata": { "labels": other }, "spec": spec },
    } });
    let deployments: Api<Owning> = Api::namespaced(deployment.client().clone(), NAMESPACE);
    let owning = serde_json::from_value(owning).unwrap();
    deployments.create(&PostParams::default(), &owning).await.unwrap();
    deployments
}

/// A kind that came with KOMPASS, and an object of it that somebody else has made.
async fn another_uses_our_definition(deployment: &mut Deployment) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "monitors.example.com", "labels": { "app.kubernetes.io/part-of": "kompass" } },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "kind": "Monitor", "plural": "monitors" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }],
        },
    });
    let monitor = json!({
        "apiVersion": "example.com/v1", "kind": "Monitor", "metadata": { "name": "of-another", "namespace": JOBS },
    });
    let cluster = deployment.cluster();
    let apply = async |object: Value| {
        let file = cluster.folder().join("object.json");
        std::fs::write(&file, object.to_string()).unwrap();
        cluster
            .kubectl(&["apply", "--filename", &file.display().to_string()])
            .await
            .unwrap();
    };
    apply(definition).await;
    let wait = [
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd/monitors.example.com",
    ];
    cluster.kubectl(&wait).await.unwrap();
    apply(monitor).await;
}

/// Waits until the predictor has been asked so many times more; nobody has scaled it down by then.
async fn is_waited_for(asked: &Armed, times: usize, deployments: &Api<Owning>) {
    let before = asked.hits();
    wait_for("the predictor to be asked again", PATIENCE, || async {
        let hits = asked.hits() - before;
        if hits >= times { Ok(()) } else { Err(hits) }
    })
    .await
    .unwrap();
    let owning = deployments.get("kompass-predictor").await.unwrap();
    assert_eq!(
        owning.spec.unwrap().replicas,
        Some(1),
        "it must not end before it has told"
    );
}

#[tokio::test]
async fn what_is_held_is_waited_for_and_definitions_stay() {
    let mut deployment = Deployment::start(Options {
        nodes: 1,
        webhook: false,
        extender: false,
        ..Options::default()
    })
    .await
    .unwrap();
    let client = deployment.client().clone();
    another_uses_our_definition(&mut deployment).await;
    let deployments = a_predictor(&deployment).await;
    let settings = settings(("pool", "spark"), Means::PausePods, PATIENCE * 30).unwrap();
    let mut holder = Holder::new(client.clone(), settings);
    let wish = Wish {
        statistical: 2,
        scheduled: Vec::new(),
    };
    settle(&mut holder, &wish, PATIENCE).await.unwrap();
    let jobs = async || held(&client, "batch", "v1", "Job").await.unwrap();
    assert_eq!(jobs().await.len(), 1);

    // The predictor does not tell of its floors.
    let proxy = FaultProxy::start(deployment.cluster(), "admin", &["system:masters"])
        .await
        .unwrap();
    // A status that the client does not try again by itself: each request is a look.
    let refused = Effect::Answer(StatusCode::BAD_GATEWAY);
    let asked = proxy.arm_times(usize::MAX, Moment::Before, refused, |seen| {
        seen.path.ends_with("/pods/predictor:9090/proxy/metrics")
    });
    let mut command = kompass(&mut deployment, &["uninstall", "--yes"]).unwrap();
    command.env("KUBECONFIG", proxy.kubeconfig()).stdout(Stdio::piped());
    let running = command.spawn().unwrap();
    is_waited_for(&asked, 2, &deployments).await;
    holder.release_all(&|| true).await.unwrap();
    wait_for("the Job to be gone", PATIENCE, || async {
        let jobs = jobs().await;
        if jobs.is_empty() { Ok(()) } else { Err(jobs) }
    })
    .await
    .unwrap();
    // The first of these may come of a look that has seen the Job; the second would be the last if silence counted.
    is_waited_for(&asked, 3, &deployments).await;

    // It dies with something in its hands.
    settle(&mut holder, &wish, PATIENCE).await.unwrap();
    let pods = deployment.own_pods();
    pods.delete("predictor", &DeleteParams::default()).await.unwrap();
    let output = tokio::time::timeout(PATIENCE * 2, running.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("kubectl delete crd monitors.example.com"), "{said}");
    assert_eq!(jobs().await, []);
    assert!(deployments.get_opt("kompass-predictor").await.unwrap().is_none());
    let left: Vec<Pod> = pods.list(&ListParams::default()).await.unwrap().items;
    assert!(left.is_empty(), "{left:#?}");
    let monitor = ["get", "monitors.example.com", "of-another", "--namespace", JOBS];
    deployment.cluster().kubectl(&monitor).await.unwrap();
    deployment.stop().await.unwrap();
}
