//! Real Spark on a real node: the classic deadlock with Kubernetes alone, its end with KOMPASS, and the way of a user
//! through the command line.
//!
//! Needs root, and the programs and images that `cargo xtask prepare` makes. The steps share one cluster, so they are
//! one test.

#![allow(clippy::print_stdout, reason = "a long test tells what it has seen")]

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kompass_deployment_tests::{own_program, succeed};
use kompass_kube::object;
use kompass_local_cluster::full::submit::{self, Options};
use kompass_local_cluster::full::{self, Cluster};
use kompass_local_cluster::images::SparkVersion;
use kompass_local_cluster::progress::Progress;
use kompass_tests::spark::{is_bound, phase};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use tokio::process::Command;

const NAME: &str = "kompass-e2e";
/// Drivers that fill the node together; each wants two executors of its own size.
const APPLICATIONS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn real_spark_deadlocks_without_kompass_and_finishes_with_it() {
    let walked = walk().await;
    let removed = full::down(NAME, &Progress::lines()).await;
    walked.unwrap();
    removed.unwrap();
    assert_eq!(full::leftovers(NAME).unwrap(), Vec::<String>::new());
}

async fn walk() -> anyhow::Result<()> {
    full::down(NAME, &Progress::lines()).await?;
    up(&["--without-kompass"]).await?;
    let cluster = Cluster::attach(NAME, &Progress::lines()).await?;
    let client = kompass_kube::client::connect(Some(&cluster.kubeconfig()), "kompass-tests").await?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let cpu_milli = share_of_the_node(&Api::all(client.clone())).await?;

    submit_all(&cluster, cpu_milli).await?;
    baseline_is_stuck(&pods).await?;
    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
        .await?;
    wait_for(
        "the pods of the deadlock to be gone",
        Duration::from_mins(1),
        || async {
            let list = pods
                .list(&ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            if list.items.is_empty() {
                Ok(())
            } else {
                Err(format!("{} left", list.items.len()))
            }
        },
    )
    .await?;

    up(&[]).await?;
    let watchdog = Watchdog::start(&client);
    let started = Instant::now();
    submit_all(&cluster, cpu_milli).await?;
    wait_for("every application to succeed", Duration::from_mins(8), || async {
        let drivers = by_role(&pods, "driver").await.map_err(|error| error.to_string())?;
        let phases: Vec<String> = drivers
            .iter()
            .map(|pod| format!("{} {}", pod.name_any(), phase(pod)))
            .collect();
        let done = drivers.iter().filter(|pod| phase(pod) == "Succeeded").count() as u64;
        if done == APPLICATIONS {
            Ok(())
        } else {
            Err(phases.join(", "))
        }
    })
    .await?;
    println!(
        "with KOMPASS: {APPLICATIONS} applications succeeded {:?} after their submission began",
        started.elapsed()
    );
    gangs_ran_one_after_the_other(&by_role(&pods, "driver").await?)?;

    for version in ["4.1.4", "3.5.9"] {
        let started = Instant::now();
        let output = kompass(&[
            "run",
            "--cluster",
            NAME,
            "--spark",
            version,
            "--executors",
            "2",
            "--",
            "20",
        ])
        .await?;
        println!("kompass run --spark {version}: {:?}\n{output}", started.elapsed());
        for words in [
            "Pi is roughly 3.1",
            "submitted",
            "profiled",
            "planned",
            "driver bound",
            "done",
        ] {
            anyhow::ensure!(output.contains(words), "the output of kompass run lacks {words:?}");
        }
    }
    let checks = watchdog.finish().await?;
    println!("the watchdog looked {checks} times");
    Ok(())
}

/// Brings the cluster up, with or without KOMPASS, as a user would.
async fn up(more: &[&str]) -> anyhow::Result<()> {
    let mut args = vec![
        "local", "up", "--yes", "--name", NAME, "--spark", "4.1.4", "--spark", "3.5.9",
    ];
    args.extend(more);
    kompass(&args).await.map(drop)
}

/// Runs the command line program; its standard output, or an error with everything that it printed.
async fn kompass(args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(own_program("kompass")?);
    succeed(command.args(args), Duration::from_mins(10)).await
}

/// The CPU that each driver and executor asks for, so that as many drivers fill the node.
async fn share_of_the_node(nodes: &Api<object::Node>) -> anyhow::Result<u64> {
    let node = kompass_kube::convert::node(nodes.get(full::NODE).await?)?;
    Ok(node.allocatable.cpu_milli / APPLICATIONS)
}

async fn submit_all(cluster: &Cluster, cpu_milli: u64) -> anyhow::Result<()> {
    try_join_all((0..APPLICATIONS).map(|number| submit_one(cluster, number, cpu_milli))).await?;
    Ok(())
}

async fn submit_one(cluster: &Cluster, number: u64, cpu_milli: u64) -> anyhow::Result<()> {
    let cores = format!("{cpu_milli}m");
    let conf = [
        ("spark.kubernetes.driver.request.cores", cores.as_str()),
        ("spark.kubernetes.executor.request.cores", &cores),
        ("spark.kubernetes.submission.waitAppCompletion", "false"),
    ];
    let options = Options {
        version: "3.5.9".parse::<SparkVersion>()?,
        name: format!("deadlock-{number}"),
        arguments: vec!["20".to_owned()],
        conf: conf.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        ..Options::default()
    };
    let mut command = submit::spark_submit(cluster, &options).await?;
    succeed(&mut command, Duration::from_mins(3)).await.map(drop)
}

async fn baseline_is_stuck(pods: &Api<Pod>) -> anyhow::Result<()> {
    wait_for(
        "every driver to run and every executor to be asked for",
        Duration::from_mins(3),
        || async {
            let drivers = by_role(pods, "driver").await.map_err(|error| error.to_string())?;
            let executors = by_role(pods, "executor").await.map_err(|error| error.to_string())?;
            let running = drivers.iter().filter(|pod| phase(pod) == "Running").count() as u64;
            if running == APPLICATIONS && executors.len() as u64 == 2 * APPLICATIONS {
                Ok(())
            } else {
                Err(format!(
                    "{running} drivers run, {} executors are asked for",
                    executors.len()
                ))
            }
        },
    )
    .await?;
    let moved = wait_for("an executor to be bound", Duration::from_secs(30), || async {
        let executors = by_role(pods, "executor").await.map_err(|error| error.to_string())?;
        let bound = executors.iter().filter(|pod| is_bound(pod)).count();
        if bound > 0 { Ok(bound) } else { Err("none".to_owned()) }
    })
    .await;
    anyhow::ensure!(
        moved.is_err(),
        "the baseline is no deadlock: {moved:?} executors were bound"
    );
    println!("without KOMPASS: {APPLICATIONS} drivers run, no executor was bound within 30 s");
    Ok(())
}

/// Each gang needs more than half of the node, so that no two may have run at once.
fn gangs_ran_one_after_the_other(drivers: &[Pod]) -> anyhow::Result<()> {
    let mut spans = Vec::new();
    for driver in drivers {
        let state = driver
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref()?.first()?.state.clone());
        let ended = state
            .and_then(|state| state.terminated)
            .context("a driver's container has not ended")?;
        let (Some(start), Some(end)) = (ended.started_at, ended.finished_at) else {
            anyhow::bail!("a driver has no times");
        };
        spans.push((start.0, end.0, driver.name_any()));
    }
    spans.sort();
    for pair in spans.windows(2) {
        let [(_, end, first), (start, _, second)] = pair else {
            continue;
        };
        anyhow::ensure!(
            start >= end,
            "{second} started at {start}, before the end of {first} at {end}"
        );
    }
    Ok(())
}

async fn by_role(pods: &Api<Pod>, role: &str) -> anyhow::Result<Vec<Pod>> {
    Ok(pods
        .list(&ListParams::default().labels(&format!("spark-role={role}")))
        .await?
        .items)
}
