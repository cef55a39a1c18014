//! What holds nodes empty, on a real API server with real controllers: made, shrunk, renewed, and ended by whoever is left.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment as Owning;
use k8s_openapi::api::batch::v1::Job;
use kompass_core::names;
use kompass_local_cluster::kompass::NAMESPACE;
use kompass_predictor::hold::objects::{self, Target};
use kompass_predictor::hold::plan::Kind;
use kompass_predictor::hold::{Error, Holder, Means, Owner, Part, Scheduled, Settings, Wish};
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::headroom::{held, now_ms, predictor, settings, settle};
use kompass_tests::{karpenter, wait_for};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::PATIENCE;

const LABEL: (&str, &str) = ("pool", "spark");
const GROUP: &str = "autoscaling.x-k8s.io";
const BUFFER: &str = "CapacityBuffer";
/// Between two sweeps of the extender, with the time that the first one takes.
const SWEPT: Duration = Duration::from_secs(45);

fn wish(statistical: u32, gang: u32) -> Wish {
    Wish {
        statistical,
        scheduled: vec![Scheduled {
            name: "jobs/nightly".into(),
            at_ms: 1_767_225_600_000,
            nodes: gang,
        }],
    }
}

/// For what, and how many.
fn counts(held: &[(String, Value)], field: &str) -> Vec<(String, u64)> {
    let count = |(held_for, object): &(String, Value)| (held_for.clone(), object["spec"][field].as_u64().unwrap_or(0));
    held.iter().map(count).collect()
}

fn expected(gang: u64, statistical: u64) -> Vec<(String, u64)> {
    let nightly = "jobs/nightly at 2026-01-01T00:00:00Z".to_owned();
    vec![(nightly, gang), ("statistical".to_owned(), statistical)]
}

/// A Job's deadline can be raised while it runs: it lives past the first one, and not past the second.
async fn deadline_is_raised(client: Client) -> Duration {
    let ttl = Duration::from_secs(12);
    let settings = Settings {
        namespace: JOBS.to_owned(),
        ..settings(LABEL, Means::PausePods, ttl).unwrap()
    };
    let jobs: Api<Job> = Api::namespaced(client.clone(), JOBS);
    let job = || async { jobs.list(&ListParams::default()).await.unwrap().items.remove(0) };
    let mut holder = Holder::new(client, settings);
    let wish = wish(2, 0);
    settle(&mut holder, &wish, PATIENCE).await.unwrap();
    let first = job().await;
    // As if a third of its time had passed.
    holder.reconcile(&wish, now_ms() + 5_000, &|| true).await.unwrap();
    let second = job().await;
    let deadline_s = |job: &Job| job.spec.as_ref().unwrap().active_deadline_seconds.unwrap();
    assert_eq!(first.uid(), second.uid());
    assert!(deadline_s(&second) >= deadline_s(&first) + 4, "{first:?} {second:?}");
    let started = second.status.as_ref().unwrap().start_time.as_ref().unwrap().0;
    let ended_after = |job: &Job| {
        let conditions = job.status.as_ref()?.conditions.as_ref()?;
        let failed = conditions
            .iter()
            .find(|one| one.type_ == "Failed" && one.status == "True")?;
        let seconds = failed
            .last_transition_time
            .as_ref()?
            .0
            .duration_since(started)
            .as_secs();
        Some(Duration::from_secs(seconds.unsigned_abs()))
    };
    let after = wait_for("the Job to end by itself", PATIENCE, || async {
        let job = job().await;
        ended_after(&job).ok_or(job.status)
    })
    .await
    .unwrap();
    assert!(
        after.as_secs() >= deadline_s(&second).unsigned_abs(),
        "it ended {after:?} after its start, as if nothing had been raised"
    );
    after
}

/// The other version alone, as a cluster of 2025 has it.
async fn serve_alpha_only(deployment: &mut Deployment) {
    let name = "capacitybuffers.autoscaling.x-k8s.io";
    let cluster = deployment.cluster();
    let text = cluster.kubectl(&["get", "crd", name, "--output=json"]).await.unwrap();
    let definition: Value = serde_json::from_str(&text).unwrap();
    let mut beta = definition["spec"]["versions"][0].clone();
    let mut alpha = beta.clone();
    beta["served"] = false.into();
    alpha["name"] = "v1alpha1".into();
    alpha["storage"] = false.into();
    let patch = json!({ "spec": { "versions": [beta, alpha] } }).to_string();
    cluster
        .kubectl(&["patch", "crd", name, "--type=merge", "--patch", &patch])
        .await
        .unwrap();
}

async fn a_missing_right_is_named(deployment: &mut Deployment) {
    let kubeconfig = deployment.cluster().kubeconfig_for("nobody", &[]).unwrap();
    let client = kompass_kube::client::connect(Some(&kubeconfig), "kompass-tests")
        .await
        .unwrap();
    let settings = settings(LABEL, Means::Auto, PATIENCE).unwrap();
    let refused = Holder::new(client, settings)
        .reconcile(&wish(1, 0), now_ms(), &|| true)
        .await;
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("resources: [podtemplates], verbs: [list, create, patch, delete]"),
        "{error}"
    );
}

async fn owner(client: &Client) -> Owner {
    let deployments: Api<Owning> = Api::namespaced(client.clone(), NAMESPACE);
    let labels = json!({ "app": "predictor" });
    let deployment = json!({
        "metadata": { "name": "kompass-predictor" },
        "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": "example.com/c" }] },
        } },
    });
    let deployment = serde_json::from_value(deployment).unwrap();
    let made = deployments.create(&PostParams::default(), &deployment).await.unwrap();
    Owner {
        name: made.name_any(),
        uid: made.uid().unwrap(),
    }
}

/// No capacity buffers are served: pause pods, which autoscalers see and nobody places.
async fn pause_pods_hold(deployment: &Deployment, holder: &mut Holder) {
    // Whoever does not lead writes nothing, and nothing more once it leads no longer.
    for writes in [0, 2] {
        let left = AtomicUsize::new(writes);
        let leads = || left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let refused = holder.reconcile(&wish(3, 4), now_ms(), &leads).await;
        assert!(matches!(refused, Err(Error::LeaseLost)), "{refused:?}");
        let jobs = held(deployment.client(), "batch", "v1", "Job").await.unwrap();
        // One was the priority class.
        assert_eq!(jobs.len(), writes.saturating_sub(1));
    }
    let report = settle(holder, &wish(3, 4), PATIENCE).await.unwrap();
    assert_eq!((report.by, report.nodes), (Kind::PausePods, 7));
    let jobs = || held(deployment.client(), "batch", "v1", "Job");
    assert_eq!(counts(&jobs().await.unwrap(), "parallelism"), expected(4, 3));
    let ours = ListParams::default().labels(names::HEADROOM_LABEL);
    let pods = deployment.own_pods().list(&ours).await.unwrap();
    let visible = pods.iter().filter(|pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let reason = conditions.and_then(|all| {
            let scheduled = all.iter().find(|one| one.type_ == "PodScheduled")?;
            scheduled.reason.as_deref()
        });
        reason == Some("Unschedulable") && pod.spec.as_ref().unwrap().priority == Some(-10)
    });
    assert_eq!((visible.count(), pods.items.len()), (7, 7));
    settle(holder, &wish(3, 2), PATIENCE).await.unwrap();
    assert_eq!(counts(&jobs().await.unwrap(), "parallelism"), expected(2, 3));
}

/// Capacity buffers are served by now: the same by them, and the pause pods go.
async fn buffers_hold(deployment: &Deployment, holder: &mut Holder, owner: &Owner) {
    let report = settle(holder, &wish(3, 2), PATIENCE).await.unwrap();
    assert_eq!((report.by, report.nodes), (Kind::Buffer, 5));
    assert_eq!(held(deployment.client(), "batch", "v1", "Job").await.unwrap(), []);
    let buffers = || held(deployment.client(), GROUP, "v1beta1", BUFFER);
    let made = buffers().await.unwrap();
    assert_eq!(counts(&made, "replicas"), expected(2, 3));
    for (_, buffer) in &made {
        assert_eq!(buffer["spec"]["limits"]["cpu"], "30000m");
        assert_eq!(buffer["metadata"]["ownerReferences"][0]["uid"], owner.uid.as_str());
        assert_eq!(buffer["metadata"]["managedFields"][0]["manager"], "kompass-predictor");
    }
    // A gang shrinks for good.
    settle(holder, &wish(3, 1), PATIENCE).await.unwrap();
    settle(holder, &wish(3, 4), PATIENCE).await.unwrap();
    assert_eq!(counts(&buffers().await.unwrap(), "replicas"), expected(1, 3));
}

/// Nobody has said anything of the buffers for two minutes: what looks at them is not there, or switched off.
async fn pause_pods_hold_where_buffers_are_not_looked_at(deployment: &Deployment, settings: &Settings) {
    let mut holder = Holder::new(deployment.client().clone(), settings.clone());
    let report = settle(&mut holder, &wish(3, 1), PATIENCE).await.unwrap();
    assert_eq!((report.by, report.is_unanswered), (Kind::Buffer, false));
    let later_ms = now_ms() + 120_000;
    let report = holder.reconcile(&wish(3, 1), later_ms, &|| true).await.unwrap();
    assert_eq!((report.by, report.is_unanswered), (Kind::Buffer, true));
    let report = settle(&mut holder, &wish(3, 1), PATIENCE).await.unwrap();
    assert_eq!((report.by, report.nodes), (Kind::PausePods, 4));
    assert_eq!(held(deployment.client(), GROUP, "v1beta1", BUFFER).await.unwrap(), []);
}

/// The older version is served alone by now.
async fn the_older_version_holds(deployment: &Deployment, holder: &mut Holder) {
    let holder = Mutex::new(holder);
    let buffers = wait_for("the older version to be served", PATIENCE, || async {
        let settled = settle(*holder.lock().await, &wish(5, 1), PATIENCE).await;
        settled.map_err(|error| error.to_string())?;
        let held = held(deployment.client(), GROUP, "v1alpha1", BUFFER).await;
        held.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    assert_eq!(counts(&buffers, "replicas"), expected(1, 5));
}

/// The names of all that holds nodes.
async fn left(client: &Client) -> Result<Vec<String>, String> {
    let mut left = Vec::new();
    for (group, version, kind) in [
        (GROUP, "v1alpha1", BUFFER),
        ("", "v1", "PodTemplate"),
        ("batch", "v1", "Job"),
    ] {
        let held = held(client, group, version, kind).await;
        let held = held.map_err(|error| error.to_string())?;
        left.extend(held.iter().map(|(_, object)| object["metadata"]["name"].to_string()));
    }
    Ok(left)
}

/// Waits until exactly these are left.
async fn are_left(client: &Client, expected: &[&str], limit: Duration) -> Duration {
    let began = Instant::now();
    wait_for(&format!("{expected:?} to be left"), limit, || async {
        let left = left(client).await?;
        if left == expected {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await
    .unwrap();
    began.elapsed()
}

/// The predictor was last heard of long ago: the extender's leader removes what it has left, and nothing else.
async fn the_extender_removes_what_is_past(client: &Client, holder: &mut Holder, settings: &Settings) {
    holder.release_all(&|| true).await.unwrap();
    let past_ms = now_ms() - settings.limits.ttl_ms - 120_000;
    holder.reconcile(&wish(2, 2), past_ms, &|| true).await.unwrap();
    let jobs: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    for (name, expires_ms) in [("kept", now_ms() + 600_000), ("past", now_ms() - 61_000)] {
        let target = Target {
            name: name.into(),
            part: Part::Statistical,
            nodes: 1,
            expires_ms,
            created_ms: Some(expires_ms - 1_000_000),
        };
        let job = objects::job(&target, &settings.limits, settings.owner.as_ref(), now_ms());
        let job = serde_json::from_value(job).unwrap();
        jobs.create(&PostParams::default(), &job).await.unwrap();
    }
    let after = are_left(client, &["\"kept\""], SWEPT).await;
    println!("what was past its time was removed after {after:?}");
}

#[tokio::test]
async fn what_holds_nodes_follows_the_wish_and_ends_without_the_predictor() {
    let mut deployment = Deployment::start(Options {
        nodes: 1,
        webhook: false,
        ..Options::default()
    })
    .await
    .unwrap();
    let admin = deployment.client().clone();
    let raised = tokio::spawn(deadline_is_raised(admin.clone()));
    let owner = owner(&admin).await;
    let settings = Settings {
        owner: Some(owner.clone()),
        ..settings(LABEL, Means::Auto, PATIENCE * 30).unwrap()
    };
    let mut holder = Holder::new(predictor(&mut deployment).await.unwrap(), settings.clone());

    pause_pods_hold(&deployment, &mut holder).await;
    karpenter::install_definitions(&mut deployment).await.unwrap();
    buffers_hold(&deployment, &mut holder, &owner).await;
    pause_pods_hold_where_buffers_are_not_looked_at(&deployment, &settings).await;
    a_missing_right_is_named(&mut deployment).await;
    serve_alpha_only(&mut deployment).await;
    the_older_version_holds(&deployment, &mut holder).await;
    the_extender_removes_what_is_past(&admin, &mut holder, &settings).await;

    // With the Deployment goes the rest.
    holder.reconcile(&wish(2, 2), now_ms(), &|| true).await.unwrap();
    let deployments: Api<Owning> = Api::namespaced(admin.clone(), NAMESPACE);
    let background = DeleteParams::background();
    deployments.delete(&owner.name, &background).await.unwrap();
    let after = are_left(&admin, &[], PATIENCE * 2).await;
    println!("the rest went with its owner after {after:?}");
    let after = raised.await.unwrap();
    println!("a Job whose deadline was raised ended {after:?} after its start");
    deployment.stop().await.unwrap();
}
