//! The full cluster on this machine: real containerd, kubelet and pods. Needs root.
//!
//! The tests run beside each other, each with a cluster of its own: that several do not disturb one another is tested
//! with them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "also the helpers here are only tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use kompass_local_cluster::full::{self, Cluster, Options};
use kompass_local_cluster::process::Record;
use kompass_local_cluster::progress::Progress;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What a busy machine needs at most for what takes an idle one a second.
const LIMIT: Duration = Duration::from_mins(2);

fn options(name: &str) -> Options {
    Options {
        name: name.to_owned(),
        spark_versions: Vec::new(),
        ..Options::default()
    }
}

/// What of the machine a cluster must not change, as far as it is the same for all processes on it.
fn machine() -> Vec<(&'static str, BTreeSet<String>)> {
    let lines = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let entries = |path: &str| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    };
    vec![
        ("interfaces", entries("/sys/class/net")),
        ("routes", lines("/proc/net/route")),
        ("forwarding", lines("/proc/sys/net/ipv4/ip_forward")),
        ("packet filters", lines("/proc/net/ip_tables_names")),
        ("named networks", entries("/run/netns")),
    ]
}

async fn run_a_pod(cluster: &Cluster, name: &str) {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "docker.io/local/pause:1", "imagePullPolicy": "Never"}]},
    });
    let pods = "/api/v1/namespaces/default/pods";
    cluster.client().create(pods, &pod).await.unwrap();
    let path = format!("{pods}/{name}");
    let deadline = Instant::now() + LIMIT;
    loop {
        let pod = cluster.client().get(&path).await.unwrap();
        if pod["status"]["phase"] == "Running" {
            return;
        }
        assert!(Instant::now() < deadline, "the pod does not run: {}", pod["status"]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn pids(cluster: &Cluster) -> Vec<i32> {
    cluster.daemons().unwrap().iter().map(|record| record.pid).collect()
}

async fn kill_9(cluster: &Cluster, names: &[&str]) {
    let records: Vec<Record> = cluster.daemons().unwrap();
    for name in names {
        let record = records.iter().find(|record| record.name == *name);
        record
            .unwrap_or_else(|| panic!("no daemon {name}"))
            .kill()
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_and_nothing_is_left_behind() {
    let name = "test-life";
    let progress = Progress::lines();
    full::down(name, &progress).await.unwrap();
    let before = machine();

    let mut cluster = Cluster::up(
        Options {
            kwok_nodes: 2,
            ..options(name)
        },
        &progress,
    )
    .await
    .unwrap();
    run_a_pod(&cluster, "one").await;
    assert_eq!(machine(), before, "the machine sees the cluster");
    let status = cluster.status().await.unwrap();
    assert!(status.is_healthy(), "{status:?}");
    assert_eq!(status.nodes.len(), 3);
    let answer = cluster
        .kubectl(&["get", "pod", "one", "-o", "jsonpath={.spec.nodeName}"])
        .await
        .unwrap();
    assert_eq!(answer.trim(), full::NODE);

    // A daemon of the caller: inside the cluster's network, and reachable from the machine when a door is opened.
    let script = "import http.server as h; h.HTTPServer(('10.88.0.1', 8000), h.BaseHTTPRequestHandler).serve_forever()";
    let arguments = ["-c".to_owned(), script.to_owned()];
    let server = cluster.run_daemon("server", "python3", arguments, []).await.unwrap();
    let door = cluster
        .forward("door-server", "10.88.0.1:8000".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(status_line(door).await, "HTTP/1.0 501");
    cluster.stop_daemon("server").await.unwrap();
    assert!(!server.is_running());

    // Up again is quick and changes nothing, also for another process.
    let daemons = pids(&cluster);
    let again = Cluster::up(
        Options {
            kwok_nodes: 2,
            ..options(name)
        },
        &progress,
    )
    .await
    .unwrap();
    assert_eq!(pids(&again), daemons);
    let attached = Cluster::attach(name, &progress).await.unwrap();
    assert!(attached.status().await.unwrap().is_healthy());

    drop((again, attached));
    cluster.down().await.unwrap();
    assert_eq!(full::leftovers(name).unwrap(), Vec::<String>::new());
    assert_eq!(machine(), before);
    assert!(matches!(
        Cluster::attach(name, &progress).await,
        Err(full::Error::NotUp { .. })
    ));
    full::remove(name, &progress).await.unwrap();
}

/// The answer to a request that no server knows, as far as it is a status; asked until there is one.
async fn status_line(address: std::net::SocketAddr) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let mut answer = [0; 12];
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        let asked = connection.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
        if asked.is_ok() && connection.read_exact(&mut answer).await.is_ok() {
            return String::from_utf8_lossy(&answer).into_owned();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no answer through the door");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_up_again_after_kill_9_of_any_part() {
    let name = "test-kill";
    let progress = Progress::lines();
    full::down(name, &progress).await.unwrap();
    let parts: [&[&str]; 3] = [
        &["kubelet", "containerd"],
        &["etcd", "kube-scheduler", "coredns"],
        &[
            "kubelet",
            "containerd",
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "coredns",
        ],
    ];
    let mut cluster = Cluster::up(options(name), &progress).await.unwrap();
    for killed in parts {
        run_a_pod(&cluster, "one").await;
        kill_9(&cluster, killed).await;
        assert!(!cluster.status().await.unwrap().is_healthy());
        cluster = Cluster::up(options(name), &progress).await.unwrap();
        assert!(cluster.status().await.unwrap().is_healthy());
    }
    run_a_pod(&cluster, "one").await;
    kill_9(&cluster, parts[2]).await;
    cluster.down().await.unwrap();
    assert_eq!(full::leftovers(name).unwrap(), Vec::<String>::new());
    full::remove(name, &progress).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_makes_the_real_node_small() {
    let name = "test-small";
    let progress = Progress::lines();
    let reserved = full::Reserved {
        cpu_millis: 400,
        memory_bytes: 1 << 30,
    };
    let small = Options {
        system_reserved: Some(reserved),
        ..options(name)
    };
    let cluster = Cluster::up(small, &progress).await.unwrap();
    let node = cluster
        .client()
        .get(&format!("/api/v1/nodes/{}", full::NODE))
        .await
        .unwrap();
    let cpu = |of: &str| millis(&node["status"][of]["cpu"]);
    assert_eq!(cpu("allocatable") + 400, cpu("capacity"));
    assert!(Path::new(&cluster.kubeconfig()).exists());
    cluster.down().await.unwrap();
    assert_eq!(full::leftovers(name).unwrap(), Vec::<String>::new());
    full::remove(name, &progress).await.unwrap();
}

fn millis(quantity: &Value) -> u64 {
    let text = quantity.as_str().unwrap();
    match text.strip_suffix('m') {
        Some(millis) => millis.parse().unwrap(),
        None => text.parse::<u64>().unwrap() * 1000,
    }
}
