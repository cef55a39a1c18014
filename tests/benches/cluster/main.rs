//! What KOMPASS does in a cluster of 5,000 nodes: real API server and schedulers, the services as they ship.
//!
//! `cargo bench -p kompass-tests --bench cluster -- [throughput] [latency] [waiting] [admission [RATE]] [profiles]`, all of them
//! by default.
//! Nodes only exist in the API, and nobody plays their kubelets: what is measured ends when a pod is bound. All of it,
//! the load included, runs on one machine, so figures are to be compared with those of the same run.

mod admission;
mod latency;
mod load;
mod measure;
mod recorder;
mod throughput;
mod waiting;

use std::time::Duration;

use kompass_local_cluster::api_only::Options as ClusterOptions;
use kompass_local_cluster::progress::Progress;
use kompass_tests::deployment::{Deployment, Options};

const NODES: usize = 5_000;
/// For anything that a busy machine does in seconds.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Cargo's test runner builds and runs benches too, without this.
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(position) = arguments.iter().position(|argument| argument == "--bench") else {
        return Ok(());
    };
    arguments.remove(position);
    let rate = arguments.iter().find_map(|argument| argument.parse().ok());
    arguments.retain(|argument| argument.parse::<u64>().is_err());
    let unknown = arguments
        .iter()
        .find(|name| !["throughput", "latency", "waiting", "admission", "profiles"].contains(&name.as_str()));
    anyhow::ensure!(unknown.is_none(), "there is no part called {unknown:?}");
    let asked = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    if asked("latency") {
        Box::pin(latency::run()).await?;
    }
    if asked("waiting") {
        Box::pin(waiting::run()).await?;
    }
    if asked("admission") {
        Box::pin(admission::run(rate.unwrap_or(admission::RATE))).await?;
    }
    if asked("profiles") {
        Box::pin(admission::profiles()).await?;
    }
    if asked("throughput") {
        Box::pin(throughput::run()).await?;
    }
    Ok(())
}

/// A cluster of [`NODES`] ready nodes of 8 CPUs; with KOMPASS in it where `kompass` says so.
async fn deployment(kompass: bool) -> anyhow::Result<Deployment> {
    let cluster = ClusterOptions {
        controller_manager: false,
        default_scheduler: false,
        progress: Progress::lines(),
        ..ClusterOptions::default()
    };
    let options = Options {
        nodes: NODES,
        node_cpu_milli: 8_000,
        kwok: false,
        webhook: kompass,
        extender: kompass,
        cluster,
        ..Options::default()
    };
    Deployment::start(options).await
}

/// A line of the result.
#[expect(clippy::print_stdout, reason = "a bench talks to its reader")]
fn say(line: &str) {
    println!("{line}");
}
