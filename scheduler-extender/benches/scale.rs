//! Restart, memory and latency of the extender in a large cluster: 5,000 nodes and 50,000 pods of a real size behind a
//! real API server. Prints what it measures; arguments: nodes, pods, the path of another build of the program.

use std::path::Path;
use std::time::{Duration, Instant};

use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::kwok::Shape;
use kompass_local_cluster::ports::free_address;
use serde_json::{Value, json};

/// A recorded executor of Spark 4.1.4, as the scheduler sent it.
const EXECUTOR: &str = include_str!("../tests/data/extender-filter.cacheable.executor.request.json");
const PODS: &str = "/api/v1/namespaces/default/pods";
const PATIENCE: Duration = Duration::from_mins(2);
/// Gates that are opened one after the other.
const ROUNDS: usize = 200;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<usize>().ok());
    let (nodes, pods) = (numbers.next().unwrap_or(5_000), numbers.next().unwrap_or(50_000));
    let program = arguments
        .get(2)
        .map_or(env!("CARGO_BIN_EXE_kompass-scheduler-extender"), String::as_str);
    let options = Options {
        controller_manager: false,
        default_scheduler: false,
        ..Options::default()
    };
    let cluster = Cluster::start(options).await?;
    let started = Instant::now();
    let shape = Shape {
        name_prefix: "node".to_owned(),
        cpu_millis: 32_000,
        ready_at_once: true,
        ..Shape::default()
    };
    cluster.add_fake_nodes(nodes, &shape).await?;
    cluster
        .client()
        .create("/api/v1/namespaces", &json!({ "metadata": { "name": "kompass" } }))
        .await?;
    cluster
        .client()
        .create_all(PODS, (0..pods).map(|number| executor(number, nodes)), 32)
        .await?;
    say(&format!(
        "{nodes} nodes and {pods} pods created in {:.0?}",
        started.elapsed()
    ));

    for run in ["first start", "second start", "restart"] {
        let started = Instant::now();
        let mut extender = Extender::start(program, cluster.kubeconfig())?;
        extender.ready().await?;
        say(&format!(
            "{run} to ready: {:.2?}, {}",
            started.elapsed(),
            extender.usage()?
        ));
        if run == "restart" {
            gates(&cluster).await?;
            say(&format!("after that: {}", extender.usage()?));
        }
        extender.process.kill().await?;
    }
    cluster.stop().await?;
    Ok(())
}

/// From the profile written to the gate seen open.
async fn gates(cluster: &Cluster) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("driver-{round}");
        let path = format!("{PODS}/{name}");
        cluster.client().create(PODS, &driver(&name)).await?;
        let written = Instant::now();
        cluster.client().merge_patch(&path, &profile()).await?;
        while cluster.client().get(&path).await?["spec"]["schedulingGates"].is_array() {
            anyhow::ensure!(written.elapsed() < PATIENCE, "{name} is still gated");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(written.elapsed());
    }
    // The first one waits for the hold-back of a new leader.
    let mut times = times.split_off(1);
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    say(&format!(
        "profile written to gate open: p50 {:.1?}, p90 {:.1?}, p99 {:.1?}",
        at(50),
        at(90),
        at(99)
    ));
    Ok(())
}

/// The program, killed when it is dropped.
struct Extender {
    process: tokio::process::Child,
    url: String,
}

impl Extender {
    fn start(program: &str, kubeconfig: &Path) -> anyhow::Result<Self> {
        let admin = free_address()?;
        let process = tokio::process::Command::new(program)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--listen", "127.0.0.1:0", "--lease", "false", "--log", "warn"])
            .args(["--admin-listen", &admin.to_string()])
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            process,
            url: admin.to_string(),
        })
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("the extender ended: {status}");
            }
            if ready(&self.url).await.unwrap_or(false) {
                return Ok(());
            }
            anyhow::ensure!(started.elapsed() < PATIENCE, "the extender is not ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Memory now and at most and processor time, as the kernel counts them.
    fn usage(&self) -> anyhow::Result<String> {
        let pid = self
            .process
            .id()
            .ok_or_else(|| anyhow::anyhow!("the extender has ended"))?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The 14th and 15th field: ticks of 10 ms in user and kernel mode. The second may hold blanks, in parentheses.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mib = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            line.trim()
                .trim_end_matches(" kB")
                .parse::<u64>()
                .ok()
                .map(|kib| kib / 1024)
        };
        Ok(format!(
            "RSS {} MiB, peak {} MiB, {:.2?} of processor time",
            mib("VmRSS:").unwrap_or(0),
            mib("VmHWM:").unwrap_or(0),
            Duration::from_millis(10 * ticks)
        ))
    }
}

async fn ready(address: &str) -> anyhow::Result<bool> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/readyz")
        .header("host", address)
        .body(axum::body::Body::empty())?;
    let ready = sender.send_request(request).await?.status().is_success();
    connection.abort();
    Ok(ready)
}

fn executor(number: usize, nodes: usize) -> Value {
    let request: Value = serde_json::from_str(EXECUTOR).expect("the recording is JSON");
    let mut pod = request["Pod"].clone();
    pod["metadata"] = json!({
        "name": format!("executor-{number}"),
        "labels": pod["metadata"]["labels"],
    });
    let spec = pod["spec"].as_object_mut().expect("the recording has a spec");
    spec.insert("nodeName".to_owned(), format!("node-{}", number % nodes.max(1)).into());
    pod
}

fn driver(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "spark-role": "driver" } },
        "spec": {
            "schedulerName": "kompass",
            "schedulingGates": [{ "name": "kompass.dev/gang" }],
            "containers": [{
                "name": "main", "image": "none", "args": ["driver"],
                "resources": { "requests": { "cpu": "1", "memory": "1Gi" } },
            }],
        },
    })
}

fn profile() -> Value {
    let profile = json!({
        "version": 1,
        "driver": { "cpu_milli": 1_000, "memory_mib": 1_024 },
        "executor": { "cpu_milli": 1_000, "memory_mib": 1_024 },
        "executors_at_start": 10,
        "executors_max": 10,
        "dynamic_allocation": false,
        "profile_key": "test",
        "source": "conf",
    });
    json!({ "metadata": { "annotations": { "kompass.dev/job-profile": profile.to_string() } } })
}

#[expect(clippy::print_stdout, reason = "the result of a bench")]
fn say(line: &str) {
    println!("{line}");
}
