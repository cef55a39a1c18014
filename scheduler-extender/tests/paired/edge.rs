//! What the API server really answers to the few requests that KOMPASS makes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kompass_kube::bind::{self, Outcome, Request};
use kompass_kube::events::{Note, Recorder, Severity};
use kompass_kube::lease::{self, Claim};
use kompass_kube::patch::{self, Operations};
use kompass_kube::watch::{self, Change, Event};
use kompass_kube::{client, object};
use kompass_local_cluster::api_only::Cluster;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::cluster::{self, PATIENCE, create, path, pod};

const SPACES: &str = "/api/v1/namespaces";

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn request(pod: &Value, node: &str) -> Request {
    Request {
        namespace: "default".into(),
        name: text(&pod["metadata"]["name"]),
        uid: text(&pod["metadata"]["uid"]),
        node: node.into(),
        annotations: [("kompass.dev/gang-plan".to_owned(), "x".to_owned())].into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_the_code_expects() {
    let cluster = cluster::start(2).await;
    let kubeconfig = cluster::kubeconfig(&cluster);
    let client = client::connect(Some(&kubeconfig), "kompass-test").await.unwrap();
    binds(&cluster, &client).await;
    patches(&cluster, &client).await;
    feeds(&cluster, &client).await;
    events(&cluster, &client).await;
    leases(&client).await;
    cluster.stop().await.unwrap();
}

/// All meanings of a conflict, each with its own answer.
async fn binds(cluster: &Cluster, client: &Client) {
    let soon = || Instant::now() + Duration::from_secs(10);
    let made = create(cluster, &pod("bound", "1")).await;
    let wanted = request(&made, "node-0");
    assert_eq!(bind::bind(client, &wanted, soon()).await.unwrap(), Outcome::Bound);
    let seen = cluster.client().get(&path("bound")).await.unwrap();
    assert_eq!(seen["spec"]["nodeName"], "node-0");
    assert_eq!(seen["metadata"]["annotations"]["kompass.dev/gang-plan"], "x");
    assert!(matches!(
        bind::bind(client, &wanted, soon()).await,
        Ok(Outcome::AlreadyBound(_))
    ));
    let elsewhere = bind::bind(client, &request(&made, "node-1"), soon()).await;
    assert!(matches!(elsewhere, Err(bind::Error::Elsewhere { node, .. }) if node == "node-0"));

    let mut other = wanted.clone();
    other.uid = "00000000-0000-0000-0000-000000000000".into();
    assert!(matches!(
        bind::bind(client, &other, soon()).await,
        Err(bind::Error::Replaced)
    ));
    other.name = "never-there".into();
    assert!(matches!(
        bind::bind(client, &other, soon()).await,
        Err(bind::Error::Gone)
    ));

    let gated = create(cluster, &cluster::driver("gated", "1")).await;
    assert!(matches!(
        bind::bind(client, &request(&gated, "node-0"), soon()).await,
        Err(bind::Error::Gated)
    ));

    let large = create(cluster, &pod("large", "1")).await;
    let annotations: BTreeMap<String, String> = (0..8)
        .map(|n| (format!("kompass.dev/part-{n}"), "x".repeat(250 << 10)))
        .collect();
    let too_large = Request {
        annotations,
        ..request(&large, "node-0")
    };
    let refused = bind::bind(client, &too_large, soon()).await;
    assert!(matches!(refused, Err(bind::Error::TooLarge)), "{refused:?}");
    // It is not bound, and another try succeeds.
    assert_eq!(
        bind::bind(client, &request(&large, "node-0"), soon()).await.unwrap(),
        Outcome::Bound
    );
}

/// Preconditions hold, and gate and plan change in one write.
async fn patches(cluster: &Cluster, client: &Client) {
    let api: Api<object::Pod> = Api::namespaced(client.clone(), "default");
    let limit = Duration::from_secs(10);
    let mut driver = cluster::driver("patched", "1");
    // There may be no annotation at all.
    driver["metadata"].as_object_mut().unwrap().remove("annotations");
    let made = create(cluster, &driver).await;
    let open = |uid: &Value, version: &str| {
        json!({
            "metadata": { "uid": uid, "resourceVersion": version, "annotations": { "kompass.dev/gang-plan": "{}" } },
            "spec": { "schedulingGates": null },
        })
    };
    let version = text(&made["metadata"]["resourceVersion"]);
    let uid = &made["metadata"]["uid"];
    let foreign = json!("00000000-0000-0000-0000-000000000000");
    for (patch, what) in [
        (open(uid, "1"), "another version"),
        (open(&foreign, &version), "another UID"),
    ] {
        let refused = patch::merge(&api, "patched", &patch, limit).await;
        assert!(matches!(refused, Err(patch::Error::Changed(_))), "{what}: {refused:?}");
    }
    let only_uid = json!({ "metadata": { "uid": foreign, "annotations": { "a": "b" } } });
    let refused = patch::merge(&api, "patched", &only_uid, limit).await;
    assert!(matches!(refused, Err(patch::Error::Changed(_))), "{refused:?}");

    let failing = Operations::new()
        .test("/metadata/uid", "other")
        .add("/metadata/labels/a", "b");
    let refused = patch::send(&api, "patched", &failing, limit).await;
    assert!(matches!(refused, Err(patch::Error::Changed(_))), "{refused:?}");
    let missing = Operations::new().remove("/metadata/annotations/none");
    let refused = patch::send(&api, "patched", &missing, limit).await;
    assert!(matches!(refused, Err(patch::Error::Changed(_))), "{refused:?}");
    let good = Operations::new().test("/metadata/uid", uid.clone()).add(
        &format!("/metadata/labels/{}", patch::segment("kompass.dev/queue")),
        "q",
    );
    let changed = patch::send(&api, "patched", &good, limit).await.unwrap();
    let version = changed.metadata.resource_version.unwrap();

    let opened = patch::merge(&api, "patched", &open(uid, &version), limit)
        .await
        .unwrap();
    assert!(opened.spec.scheduling_gates.is_empty());
    assert_eq!(opened.metadata.annotations.unwrap()["kompass.dev/gang-plan"], "{}");
    assert!(matches!(
        patch::merge(&api, "none", &json!({}), limit).await,
        Err(patch::Error::Gone(_))
    ));
}

/// All kinds are listed, followed, and told once complete.
async fn feeds(cluster: &Cluster, client: &Client) {
    let (mut changes, all) = watch::cluster(client);
    let task = tokio::spawn(all);
    let mut next = async || {
        timeout(PATIENCE, changes.recv())
            .await
            .expect("a change comes")
            .unwrap()
    };
    // Names, not events: a kubelet or controller may change an object between the first list and the last.
    let (mut synced, mut nodes, mut pods, mut spaces) = (0, BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    while synced < 4 {
        match next().await {
            Change::Pod(Event::Synced)
            | Change::Node(Event::Synced)
            | Change::Quota(Event::Synced)
            | Change::Namespace(Event::Synced) => synced += 1,
            Change::Namespace(Event::Applied(space)) => {
                assert_eq!(space.queue, None, "{space:?}");
                spaces.insert(space.name);
            }
            Change::Node(Event::Applied(node)) => {
                nodes.insert(node.name);
            }
            Change::Pod(Event::Applied(pod)) => {
                pods.insert(pod.name.clone());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    for space in ["default", "kube-system", "kompass"] {
        assert!(spaces.contains(space), "{spaces:?}");
    }
    assert_eq!(
        pods,
        BTreeSet::from(["bound", "gated", "large", "patched"].map(String::from))
    );
    let uid = text(&cluster.client().get(&path("large")).await.unwrap()["metadata"]["uid"]);
    cluster
        .client()
        .delete(&format!("{}?gracePeriodSeconds=0", path("large")))
        .await
        .unwrap();
    loop {
        if let Change::Pod(Event::Deleted(key)) = next().await {
            assert_eq!(key, uid);
            break;
        }
    }
    // A namespace's label comes, changes, and goes with the label and with the namespace.
    let made = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "team" } });
    cluster.client().create(SPACES, &made).await.unwrap();
    let team = format!("{SPACES}/team");
    for queue in [None, Some("etl"), Some("ml"), None] {
        let patch = json!({ "metadata": { "labels": { "kompass.dev/queue": queue } } });
        cluster.client().merge_patch(&team, &patch).await.unwrap();
        loop {
            if let Change::Namespace(Event::Applied(space)) = next().await
                && space.name == "team"
                && space.queue.as_deref() == queue
            {
                break;
            }
        }
    }
    cluster.client().delete(&team).await.unwrap();
    while next().await != Change::Namespace(Event::Deleted("team".into())) {}
    drop(changes);
    timeout(PATIENCE, task)
        .await
        .expect("without a receiver the feeds end")
        .unwrap();
}

async fn events(cluster: &Cluster, client: &Client) {
    let recorder = Recorder::new(client.clone(), "kompass.dev/scheduler-extender", "replica-0");
    let seen = cluster.client().get(&path("bound")).await.unwrap();
    let note = Note {
        namespace: "default".into(),
        pod: "bound".into(),
        uid: text(&seen["metadata"]["uid"]),
        severity: Severity::Normal,
        reason: "GangWaiting",
        action: "Plan",
        text: "no room".into(),
    };
    recorder.write(&note).await.unwrap();
    let events = cluster
        .kubectl(&["get", "events", "--field-selector", "involvedObject.name=bound"])
        .await
        .unwrap();
    assert!(events.contains("GangWaiting") && events.contains("no room"), "{events}");
}

async fn leases(client: &Client) {
    let start = |identity: &str| {
        let config = lease::Config {
            duration: Duration::from_secs(3),
            renew_deadline: Duration::from_secs(2),
            retry: Duration::from_millis(100),
            ..lease::Config::new("kompass", "kompass-planner", identity)
        };
        let end = CancellationToken::new();
        let (claim, task) = lease::run(client.clone(), config, end.clone()).unwrap();
        (claim, end, tokio::spawn(task))
    };
    let (mut first, end, task) = start("a");
    timeout(PATIENCE, first.wait_for(Claim::is_held))
        .await
        .unwrap()
        .unwrap();
    let (mut second, _end, other) = start("b");
    timeout(PATIENCE, second.wait_for(|claim| claim.holder.as_deref() == Some("a")))
        .await
        .unwrap()
        .unwrap();
    end.cancel();
    task.await.unwrap();
    let released = Instant::now();
    timeout(PATIENCE, second.wait_for(Claim::is_held))
        .await
        .unwrap()
        .unwrap();
    assert!(
        released.elapsed() < Duration::from_secs(2),
        "given back: {:?}",
        released.elapsed()
    );
    other.abort();
}
