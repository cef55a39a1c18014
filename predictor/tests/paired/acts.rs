//! The predictor as a program of its own that acts: on a real Prometheus, a real API server, and a stand-in for AWS that
//! refuses what AWS refuses.

use std::net::SocketAddr;
use std::time::Duration;

use kompass_core::names;
use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::moto::{self, GroupSpec, Layer};
use kompass_local_cluster::process::{Daemon, Spec};
use kompass_local_cluster::progress::Progress;
use kompass_local_cluster::prometheus::Server;
use kompass_service::client;
use serde_json::{Value, json};

use crate::samples_until;
use crate::stand_in::min_sizes;

/// Learning takes seconds; a group is written to once a minute at most.
const PATIENCE: Duration = Duration::from_mins(3);
const LOOK: Duration = Duration::from_millis(100);

/// The program, and where it answers.
struct Predictor {
    daemon: Daemon,
    address: SocketAddr,
}

impl Predictor {
    async fn start(prometheus: &Server, cluster: &Cluster, layer: Option<&Layer>, more: &str) -> Self {
        let kubeconfig = cluster.kubeconfig().display();
        let args = format!(
            "--prometheus {} --since 12d --node-cpu-milli 1000 --node-memory-mib 1024 --wait-price 200 --mode act \
             --lease default/predictor --identity one --kubeconfig {kubeconfig} --listen 127.0.0.1:0 \
             --admin-listen 127.0.0.1:0 --shutdown-grace 0s --log-format json {more}",
            prometheus.url()
        );
        let mut spec = Spec::new("predictor", env!("CARGO_BIN_EXE_kompass-predictor"), cluster.folder())
            .arguments(args.split_whitespace());
        for (name, value) in layer.map(Layer::environment).unwrap_or_default() {
            spec = spec.environment(&name, value);
        }
        // Another start may have written before.
        let earlier = std::fs::read_to_string(spec.log()).map_or(0, |text| text.len());
        let daemon = Daemon::start(spec).unwrap();
        let log = daemon.log().to_owned();
        let address = until("its address", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let text = text.get(earlier..).unwrap_or_default().to_owned();
            let mut lines = text
                .lines()
                .rev()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let address = lines.find_map(|line| line["address"].as_str()?.parse().ok());
            async move { address }
        });
        Self {
            address: address.await,
            daemon,
        }
    }

    async fn get(&self, path: &str) -> Option<String> {
        let address = self.address.to_string().parse().unwrap();
        let (_, body) = client::get(&address, path, Duration::from_secs(5), 1 << 22)
            .await
            .ok()?;
        String::from_utf8(body.to_vec()).ok()
    }

    async fn told(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.get(path).await?).ok()
    }

    /// Rounds in which it has looked at what is to be held.
    async fn rounds(&self) -> f64 {
        let metrics = self.get("/metrics").await.unwrap_or_default();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("kompass_predictor_act_rounds_total "));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// KiB that it has in memory.
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// Waits until something is there.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let waiting = async {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    found.unwrap_or_else(|_| panic!("no {what} after {PATIENCE:?}"))
}

async fn sum(layer: &Layer) -> u32 {
    min_sizes(layer).await.values().sum()
}

/// A real past that ends now, the next burst two minutes away.
async fn prometheus() -> Server {
    let now_s = jiff::Timestamp::now().as_second();
    Server::with(&samples_until(now_s - now_s % 60), &[]).await.unwrap()
}

async fn api_server() -> Cluster {
    let options = Options {
        default_scheduler: false,
        progress: Progress::lines(),
        ..Options::default()
    };
    Cluster::start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floors_are_raised_outlive_a_kill_and_are_given_back() {
    kompass_service::tls::install_crypto_provider();
    let (cluster, prometheus, server) = tokio::join!(api_server(), prometheus(), async {
        moto::Server::start(&Progress::lines()).await.unwrap()
    });
    let layer = Layer::start(&server, "eu-central-1", 7).await.unwrap();
    let tags = [("k8s.io/cluster-autoscaler/enabled", "true")];
    for (name, min) in [("spark-a", 1), ("spark-b", 0)] {
        let spec = GroupSpec {
            tags: &tags,
            ..GroupSpec::new(name, min, 20)
        };
        layer.create_group(&spec).await.unwrap();
    }
    // The one instance has joined, and something works on it: the floor is above that. How long it booted is learned.
    let instance = first_instance(&layer, "spark-a").await;
    join(&cluster, &instance).await;
    let journal = cluster.folder().join("journal.jsonl");
    let more = format!("--act-with floors --hold-ttl 1h --journal {}", journal.display());
    let mut predictor = Predictor::start(&prometheus, &cluster, Some(&layer), &more).await;

    let raised = until("floor", || async { Some(sum(&layer).await).filter(|nodes| *nodes > 1) }).await;
    let told = until("decision", || predictor.told("/v1/decisions")).await;
    let decision = &told["decisions"][0];
    let wanted = u32::try_from(decision["nodes"].as_u64().unwrap()).unwrap();
    let both = until("whole headroom", || async {
        Some(min_sizes(&layer).await).filter(|sizes| sizes.values().sum::<u32>() == wanted + 1)
    })
    .await;
    let headroom = [both["spark-a"] - 1, both["spark-b"]];
    assert!(headroom[0].abs_diff(headroom[1]) <= 1, "zones share: {both:?}");
    let log = layer.log();
    let first = log
        .iter()
        .find(|request| request.operation == "UpdateAutoScalingGroup")
        .unwrap();
    let took_ms = first.at_ms - decision["at_ms"].as_i64().unwrap();
    println!("from the decision to the first floor: {took_ms} ms; {raised} nodes at first, {wanted} wanted");
    assert!((0..5_000).contains(&took_ms), "{took_ms}");
    println!("resident: {} KiB", predictor.resident_kib());

    until("boot", || async {
        let metrics = predictor.get("/metrics").await?;
        let line = r#"kompass_predictor_boot_seconds{quantile="0.5"} "#;
        let value = metrics
            .lines()
            .find_map(|text| text.strip_prefix(line))?
            .parse::<f64>()
            .ok()?;
        // It is busy, so that nothing is ready.
        let is_told = metrics.contains("\nkompass_predictor_ready_nodes 0\n")
            && metrics.contains(r#"kompass_predictor_floor_nodes{group="spark-a"}"#);
        (value > 0.0 && is_told).then_some(())
    })
    .await;

    // It dies, and the next one goes on with the floors.
    predictor.daemon.kill_9().await.unwrap();
    let before = layer.log().len();
    predictor = Predictor::start(&prometheus, &cluster, Some(&layer), &more).await;
    // It looks at them a minute after it has taken over; then there is time for a write, if it wanted one.
    until("look at the groups", || async {
        let log = layer.log().split_off(before);
        let asked = log.iter().filter(|request| request.operation == "DescribePolicies");
        (asked.count() == 2).then_some(())
    })
    .await;
    let rounds = predictor.rounds().await;
    until("two more rounds", || async {
        (predictor.rounds().await > rounds + 1.0).then_some(())
    })
    .await;
    assert_eq!(sum(&layer).await, wanted + 1);
    let written = layer
        .log()
        .into_iter()
        .skip(before)
        .find(|request| request.operation == "UpdateAutoScalingGroup");
    assert_eq!(written, None, "a start alone moves nothing");

    all_is_given_back_when_paused(&cluster, &layer, &predictor).await;
    let written = std::fs::read_to_string(&journal).unwrap();
    assert!(
        written.lines().count() >= 5 && written.contains("maintenance"),
        "{written}"
    );
    println!("resident after all: {} KiB", predictor.resident_kib());
    let desired = layer
        .log()
        .into_iter()
        .find(|request| request.get("DesiredCapacity").is_some());
    assert_eq!(desired, None);
    cluster.stop().await.unwrap();
}

/// And that is written down with its price.
async fn all_is_given_back_when_paused(cluster: &Cluster, layer: &Layer, predictor: &Predictor) {
    let maps = "/api/v1/namespaces/default/configmaps";
    let pause = json!({ "metadata": { "name": names::PREDICTOR_PAUSE }, "data": { "reason": "maintenance" } });
    cluster.client().create(maps, &pause).await.unwrap();
    until("end of the floors", || async { (sum(layer).await == 1).then_some(()) }).await;
    let actions = until("entry", || async {
        let told = predictor.told("/v1/actions").await?;
        let ended = |entry: &Value| entry["kind"] == "ended" && entry["cost"].is_number();
        let all = told["actions"].as_array()?.clone();
        (all.iter().filter(|entry| ended(entry)).count() == 2).then_some(told)
    })
    .await;
    assert_eq!(actions["aim"], "paused: maintenance", "{actions}");
    assert_eq!(actions["acts"], false, "{actions}");
    let metrics = predictor.get("/metrics").await.unwrap();
    for line in [
        "kompass_predictor_paused 1",
        "kompass_predictor_aim_nodes 0",
        r#"kompass_predictor_floor_releases_total{by="predictor"} 2"#,
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line}: {metrics}");
    }
}

async fn first_instance(layer: &Layer, group: &str) -> String {
    let told = layer
        .call(
            "DescribeAutoScalingGroups",
            &[("AutoScalingGroupNames.member.1", group)],
        )
        .await
        .unwrap();
    let (_, rest) = told.split_once("<InstanceId>").unwrap();
    rest.split_once("</InstanceId>").unwrap().0.to_owned()
}

/// A node of an instance, ready since now, and a pod on it.
async fn join(cluster: &Cluster, instance: &str) {
    let api = cluster.client();
    // A little after its node object was made, as a kubelet has it.
    let now = jiff::Timestamp::now() + Duration::from_secs(2);
    let now = now.round(jiff::Unit::Second).unwrap().to_string();
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": now, "lastHeartbeatTime": now,
    });
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node-1" },
        "spec": { "providerID": format!("aws:///eu-central-1a/{instance}") },
        "status": {
            "capacity": { "cpu": "1", "memory": "1Gi", "pods": "10" },
            "allocatable": { "cpu": "1", "memory": "1Gi", "pods": "10" },
            "conditions": [ready],
        },
    });
    api.create("/api/v1/nodes", &node).await.unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "work" },
        "spec": { "nodeName": "node-1", "containers": [{
            "name": "main", "image": "work", "resources": { "requests": { "cpu": "500m" } },
        }] },
    });
    api.create("/api/v1/namespaces/default/pods", &pod).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_groups_pause_pods_hold_nodes_and_go_with_a_pause() {
    kompass_service::tls::install_crypto_provider();
    let (cluster, prometheus) = tokio::join!(api_server(), prometheus());
    let predictor = Predictor::start(&prometheus, &cluster, None, "--act-with buffers").await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let held = |list: &Value| -> u64 {
        let items = list["items"].as_array().unwrap().iter();
        items
            .filter(|job| job["metadata"]["labels"].get(names::HEADROOM_LABEL).is_some())
            .map(|job| job["spec"]["parallelism"].as_u64().unwrap())
            .sum()
    };
    let nodes = until("pause pods", || async {
        Some(held(&cluster.client().get(jobs).await.ok()?)).filter(|nodes| *nodes > 0)
    })
    .await;
    let told = predictor.told("/v1/actions").await.unwrap();
    assert_eq!(told["acts"], true, "{told}");
    let metrics = predictor.get("/metrics").await.unwrap();
    assert!(
        metrics.contains(&format!("\nkompass_predictor_aim_nodes {nodes}\n")),
        "{nodes}: {metrics}"
    );
    let pause = json!({ "metadata": { "name": names::PREDICTOR_PAUSE } });
    cluster
        .client()
        .create("/api/v1/namespaces/default/configmaps", &pause)
        .await
        .unwrap();
    until("end of the pause pods", || async {
        let list = cluster.client().get(jobs).await.ok()?;
        let left = list["items"]
            .as_array()?
            .iter()
            .filter(|job| job["metadata"].get("deletionTimestamp").is_none());
        (left.count() == 0).then_some(())
    })
    .await;
    cluster.stop().await.unwrap();
}
