//! `cargo xtask test`: the one test command.
//!
//! Test targets are told apart by name: `api_only`, `prometheus`, `real` and `paired` need a real API server, a real
//! Prometheus or the stand-in for AWS (tests of `paired` run two at a time: each has all that it needs for itself, and mostly
//! waits), `full` and `e2e` a real node with real Spark; `chart`, `images`, `monitoring`, `setup`, `terraform` and `workflows`
//! the tools of a deployment; everything else needs nothing. Run with `--full` only, as they take long or need programs that
//! take long to compile: `aws` (a whole cluster on a stand-in for AWS), `monitored` (Prometheus, its operator and
//! kube-state-metrics as pods), `operator` (the Prometheus Operator on a real API server), `released` (compiles the images),
//! `trivy` (a scanner of Terraform).

use std::process::Command;

use anyhow::{Context, bail};

use crate::prepare;
use crate::stage::{Stages, command};

const API_TARGETS: [&str; 3] = ["api_only", "prometheus", "real"];
const PAIRED_TARGETS: [&str; 1] = ["paired"];
const DEPLOYMENT_TARGETS: [&str; 6] = ["chart", "images", "monitoring", "setup", "terraform", "workflows"];
/// Only with `--full`.
const LONG_TARGETS: [&str; 5] = ["aws", "monitored", "operator", "released", "trivy"];
const NODE_TARGETS: [&str; 2] = ["full", "e2e"];

/// How much to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what needs no cluster: formatting, rules, lints, unit tests.
    #[arg(long, conflicts_with = "full")]
    fast: bool,
    /// Also the long runs: dependencies, benchmarks, and what would make the ordinary run too long.
    #[arg(long)]
    full: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut stages = Stages::new();
    stages.run("format", || command("cargo", &["fmt", "--all", "--check"]));
    stages.run("rules of the house", crate::tidy::run);
    stages.run("lints", || {
        command(
            "cargo",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
        )
    });
    stages.run("unit tests", unit_tests);
    if args.fast {
        return stages.finish();
    }
    if stages.run("packages, programs and images", || {
        prepare::run(&prepare::Args {
            full: args.full,
            ..prepare::Args::default()
        })
    }) {
        // The services run as programs of their own, next to the test programs, and are built with what these are built with:
        // `cargo build --bins` has fewer features, and would build the AWS SDKs, which take minutes, once more.
        stages.run("services and tests", || {
            command("cargo", &["test", "--workspace", "--no-run"])
        });
        stages.run("tests on real API servers and a real Prometheus", || {
            cluster_tests(&API_TARGETS, &["--nocapture", "--test-threads=1"])
        });
        stages.run(
            "tests on real API servers, a real Prometheus and a stand-in for AWS, in pairs",
            || cluster_tests(&PAIRED_TARGETS, &["--nocapture", "--test-threads=2"]),
        );
        stages.run("chart, images, monitoring, setup, Terraform and workflows", || {
            cluster_tests(&DEPLOYMENT_TARGETS, &["--nocapture", "--test-threads=2"])
        });
        stages.run("tests on a real node with real Spark", || {
            cluster_tests(&NODE_TARGETS, &["--nocapture", "--test-threads=1"])
        });
    }
    if args.full {
        stages.run(
            "a cluster on a stand-in for AWS, all monitoring, and images as they are released",
            || cluster_tests(&LONG_TARGETS, &["--nocapture", "--test-threads=1"]),
        );
        stages.run("dependencies", crate::deny::run);
        stages.run("bills of materials", crate::sbom::run);
        stages.run("benchmarks", crate::bench::run);
    }
    stages.finish()
}

fn unit_tests() -> anyhow::Result<()> {
    let names = test_targets()?;
    let mut args = vec!["test", "--workspace", "--lib", "--bins", "--no-fail-fast"];
    for name in names.iter().filter(|name| {
        ![
            &API_TARGETS[..],
            &PAIRED_TARGETS,
            &DEPLOYMENT_TARGETS,
            &LONG_TARGETS,
            &NODE_TARGETS,
        ]
        .into_iter()
        .any(|targets| is_in(name, targets))
    }) {
        args.extend(["--test", name]);
    }
    command("cargo", &args)
}

fn cluster_tests(targets: &[&str], harness: &[&str]) -> anyhow::Result<()> {
    let names = test_targets()?;
    let mut cargo = vec!["test", "--workspace", "--no-fail-fast"];
    let chosen: Vec<&String> = names.iter().filter(|name| is_in(name, targets)).collect();
    if chosen.is_empty() {
        bail!("no test target is named any of {targets:?}");
    }
    for name in chosen {
        cargo.extend(["--test", name]);
    }
    cargo.push("--");
    cargo.extend(harness);
    command("cargo", &cargo)
}

fn is_in(name: &str, targets: &[&str]) -> bool {
    targets.contains(&name)
}

/// Names of all integration test targets of the workspace, each once.
fn test_targets() -> anyhow::Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output()
        .context("failed to run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("failed to read cargo metadata")?;
    let mut names: Vec<String> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter(|target| {
            target["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"))
        })
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}
