//! Real control planes, side by side, on this machine.

use std::path::Path;
use std::time::{Duration, Instant};

use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::kwok::{self, Shape};
use kompass_local_cluster::process::{self, Daemon, Record, STOP_LIMIT};
use kompass_local_cluster::programs::{self, Module};
use kompass_local_cluster::progress::Progress;
use serde_json::{Value, json};

/// What a whole cluster may take on a machine with two cores.
const START_GOAL: Duration = Duration::from_secs(10);
/// For what comes after it; far above what is seen, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn options() -> Options {
    Options {
        progress: Progress::lines(),
        ..Options::default()
    }
}

fn pod(name: &str, scheduler: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "schedulerName": scheduler,
            "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "500m"}}}],
        },
    })
}

/// Reads an object until it is as wanted.
async fn wait_for(cluster: &Cluster, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = match cluster.client().get(path).await {
            Ok(object) if wanted(&object) => return object,
            Ok(object) => object,
            Err(error) => json!(error.to_string()),
        };
        assert!(
            Instant::now() < deadline,
            "{path} did not become as wanted; last seen: {seen:#}"
        );
        // A list of a thousand objects must not be what the API server is busy with.
        let pause = if seen["items"].as_array().is_some_and(|items| items.len() > 100) {
            500
        } else {
            20
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

fn assert_gone(folder: &Path, records: &[Record]) {
    assert!(!folder.exists(), "{} is still there", folder.display());
    for record in records {
        assert!(!record.is_running(), "{} is still running", record.name);
    }
}

fn records(cluster: &Cluster) -> Result<Vec<Record>, process::Error> {
    Record::load_all(&cluster.folder().join("processes"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_run_side_by_side_and_know_nothing_of_each_other() {
    // Only the start of the clusters is measured, not the first build of their programs.
    programs::ensure(&[Module::Etcd, Module::Kubernetes, Module::Kwok], &Progress::lines())
        .await
        .unwrap();
    let first = Cluster::start(options()).await.unwrap();
    let second = Cluster::start(options()).await.unwrap();
    for (name, cluster) in [("first", &first), ("second", &second)] {
        println!("{name}: {:?}", cluster.timings());
        assert!(cluster.timings().ready < START_GOAL, "{name}: {:?}", cluster.timings());
    }
    assert_ne!(first.address(), second.address());
    first
        .client()
        .create("/api/v1/namespaces/default/pods", &pod("only-here", "none"))
        .await
        .unwrap();
    let error = second
        .client()
        .get("/api/v1/namespaces/default/pods/only-here")
        .await
        .unwrap_err();
    assert_eq!(error.status().map(|status| status.as_u16()), Some(404));

    for cluster in [first, second] {
        let (folder, records) = (cluster.folder().to_owned(), records(&cluster).unwrap());
        assert_eq!(records.len(), 4, "{records:?}");
        let started = Instant::now();
        cluster.stop().await.unwrap();
        println!("stopped in {:?}", started.elapsed());
        assert_gone(&folder, &records);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_on_a_node_that_kwok_plays() {
    let cluster = Cluster::start(options()).await.unwrap();
    let started = Instant::now();
    let mut kwok = cluster.start_kwok(&kwok::Options::default()).await.unwrap();
    println!("kwok ready in {:?}", started.elapsed());
    let started = Instant::now();
    cluster.add_fake_nodes(3, &Shape::default()).await.unwrap();
    let pods = "/api/v1/namespaces/default/pods";
    cluster
        .client()
        .create(pods, &pod("one", "default-scheduler"))
        .await
        .unwrap();
    let running = wait_for(&cluster, &format!("{pods}/one"), is_running).await;
    println!("nodes, pod and its start in {:?}", started.elapsed());
    assert!(running["spec"]["nodeName"].as_str().unwrap().starts_with("fake-"));
    assert_eq!(running["status"]["containerStatuses"][0]["ready"], true);

    // A pod of a Job is done by itself, and the Job with it; a deleted pod goes at once.
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "batch"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "initContainers": [{"name": "before", "image": "none"}],
            "containers": [{"name": "main", "image": "none"}],
        }}},
    });
    cluster
        .client()
        .create("/apis/batch/v1/namespaces/default/jobs", &job)
        .await
        .unwrap();
    wait_for(&cluster, "/apis/batch/v1/namespaces/default/jobs/batch", |job| {
        job["status"]["succeeded"] == 1
    })
    .await;
    cluster.client().delete(&format!("{pods}/one")).await.unwrap();
    wait_for(&cluster, pods, |list| {
        let names = list["items"].as_array().into_iter().flatten();
        !names.into_iter().any(|pod| pod["metadata"]["name"] == "one")
    })
    .await;
    let nodes = cluster.kubectl(&["get", "nodes", "--no-headers"]).await.unwrap();
    assert_eq!(
        nodes.lines().filter(|line| line.contains(" Ready ")).count(),
        3,
        "{nodes}"
    );
    kwok.stop(STOP_LIMIT).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_scheduler_places_the_pods_that_name_it() {
    let cluster = Cluster::start(Options {
        default_scheduler: false,
        ..options()
    })
    .await
    .unwrap();
    let kwok = cluster.start_kwok(&kwok::Options::default()).await.unwrap();
    cluster.add_fake_nodes(2, &Shape::default()).await.unwrap();
    let configuration = "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
profiles:
- schedulerName: second
";
    let started = Instant::now();
    let mut scheduler = cluster.start_scheduler("second", configuration, &[]).await.unwrap();
    println!("second scheduler ready in {:?}", started.elapsed());
    let pods = "/api/v1/namespaces/default/pods";
    cluster
        .client()
        .create(pods, &pod("foreign", "default-scheduler"))
        .await
        .unwrap();
    cluster.client().create(pods, &pod("own", "second")).await.unwrap();
    wait_for(&cluster, &format!("{pods}/own"), is_running).await;
    let foreign = cluster.client().get(&format!("{pods}/foreign")).await.unwrap();
    assert!(foreign["spec"].get("nodeName").is_none(), "{foreign:#}");
    let metrics = cluster.client_of(scheduler.address().unwrap()).unwrap();
    // It may be ready a little before it has read which authority signs for its clients.
    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        match metrics.get_text("/metrics").await {
            Ok(text) => break text,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(text.contains("scheduler_schedule_attempts_total"));

    // A killed scheduler comes back with the same arguments and goes on.
    scheduler.kill_9().await.unwrap();
    cluster.client().create(pods, &pod("later", "second")).await.unwrap();
    scheduler.restart().await.unwrap();
    wait_for(&cluster, &format!("{pods}/later"), is_running).await;
    let daemons: [Daemon; 2] = [scheduler, kwok];
    drop(daemons);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_the_api_server_was_killed() {
    let mut cluster = Cluster::start(options()).await.unwrap();
    let kwok = cluster.start_kwok(&kwok::Options::default()).await.unwrap();
    let (folder, records) = (cluster.folder().to_owned(), records(&cluster).unwrap());
    assert_eq!(records.len(), 5, "{records:?}");
    cluster.api_server().kill_9().await.unwrap();
    let started = Instant::now();
    cluster.stop().await.unwrap();
    println!("stopped without an API server in {:?}", started.elapsed());
    assert_gone(&folder, &records);
    drop(kwok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_api_server_comes_back_with_all_objects() {
    let mut cluster = Cluster::start(options()).await.unwrap();
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}});
    cluster.client().create(maps, &map).await.unwrap();
    cluster.api_server().restart().await.unwrap();
    wait_for(&cluster, &format!("{maps}/kept"), |map| {
        map["metadata"]["name"] == "kept"
    })
    .await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_cluster_leaves_nothing() {
    let cluster = Cluster::start(options()).await.unwrap();
    let (folder, records) = (cluster.folder().to_owned(), records(&cluster).unwrap());
    drop(cluster);
    assert_gone(&folder, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_plain_nodes_are_there_in_seconds() {
    let cluster = Cluster::start(Options {
        controller_manager: false,
        default_scheduler: true,
        ..options()
    })
    .await
    .unwrap();
    println!("without controllers: {:?}", cluster.timings());
    let shape = Shape {
        ready_at_once: true,
        ..Shape::default()
    };
    let started = Instant::now();
    cluster.add_fake_nodes(5_000, &shape).await.unwrap();
    let took = started.elapsed();
    println!("5,000 nodes in {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let pods = "/api/v1/namespaces/default/pods";
    // Without controllers there are no service accounts; no taint keeps the pod away either.
    cluster
        .client()
        .create(pods, &pod("one", "default-scheduler"))
        .await
        .unwrap();
    wait_for(&cluster, &format!("{pods}/one"), |pod| {
        pod["spec"]["nodeName"].is_string()
    })
    .await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kwok_plays_hundreds_of_nodes_and_pods() {
    const COUNT: usize = 300;
    let cluster = Cluster::start(Options {
        node_grace: Duration::from_mins(10),
        ..options()
    })
    .await
    .unwrap();
    let kwok = cluster
        .start_kwok(&kwok::Options {
            lease: Duration::from_mins(5),
            ..kwok::Options::default()
        })
        .await
        .unwrap();
    let started = Instant::now();
    cluster.add_fake_nodes(COUNT, &Shape::default()).await.unwrap();
    println!("{COUNT} nodes created in {:?}", started.elapsed());
    // No taint is left once the controller manager has seen all of them ready.
    wait_for(&cluster, "/api/v1/nodes", |list| {
        let nodes = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        nodes.len() == COUNT && nodes.iter().all(|node| node["spec"].get("taints").is_none())
    })
    .await;
    println!("{COUNT} nodes ready in {:?}", started.elapsed());
    let started = Instant::now();
    let pods = "/api/v1/namespaces/default/pods";
    let objects = (0..COUNT).map(|number| pod(&format!("pod-{number}"), "default-scheduler"));
    cluster.client().create_all(pods, objects, 32).await.unwrap();
    println!("{COUNT} pods created in {:?}", started.elapsed());
    wait_for(&cluster, pods, |list| {
        let pods = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        pods.len() == COUNT && pods.iter().all(is_running)
    })
    .await;
    println!("{COUNT} pods running in {:?}", started.elapsed());
    drop(kwok);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_the_rights_of_its_groups_only() {
    let cluster = Cluster::start(Options {
        default_scheduler: false,
        ..options()
    })
    .await
    .unwrap();
    let nobody = cluster.kubeconfig_for("nobody", &["some"]).unwrap();
    let config = format!("--kubeconfig={}", nobody.display());
    let error = cluster.kubectl(&[&config, "get", "pods"]).await.unwrap_err();
    assert!(error.to_string().contains("\"nobody\" cannot list resource"), "{error}");
    cluster.stop().await.unwrap();
}
