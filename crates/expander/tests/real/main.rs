//! The expander, asked by a client that shares nothing with it: grpc's library for Python and messages compiled from a
//! description of their own.

#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kompass_expander::certificate::Files;
use kompass_expander::server::{Config, Expander};
use kompass_expander::{Metrics, Patience, Snapshot};
use kompass_local_cluster::progress::Progress;
use kompass_local_cluster::{pki, python};
use kompass_service::metrics::Registry;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PACKAGES: [&str; 4] = [
    "grpcio==1.85.3",
    "grpcio-tools==1.85.1",
    "protobuf==7.36.2",
    "typing_extensions==4.16.0",
];
/// The client starts Python, compiles its messages and builds requests of 128 MiB.
const CLIENT: Duration = Duration::from_mins(3);
const DRAIN: Duration = Duration::from_secs(20);

/// What the client tells of a case.
#[derive(Debug, Deserialize)]
struct Told {
    case: String,
    bytes: u64,
    options: Vec<String>,
    code: String,
    ms: Vec<u64>,
}

struct Running {
    address: String,
    registry: Registry,
    draining: CancellationToken,
    task: JoinHandle<()>,
    folder: TempDir,
}

impl Running {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (authority, other) = (pki::Authority::new()?, pki::Authority::new()?);
        std::fs::write(folder.path().join("authority"), authority.certificate_pem())?;
        std::fs::write(folder.path().join("other"), other.certificate_pem())?;
        let files = authority
            .server("expander", ["127.0.0.1"])?
            .save(folder.path(), "expander")?;
        let config = Config {
            listen: "127.0.0.1:0".parse()?,
            files: Files {
                certificate: files.certificate,
                key: files.key,
            },
            reload: Duration::from_secs(10),
            // What is not optimised and beside other tests may take its time.
            patience: Patience {
                call: Duration::from_mins(1),
                answer: Duration::from_mins(1),
            },
        };
        let registry = Registry::new();
        let knowledge = Arc::new(Arc::new(Snapshot::default()));
        let expander = Expander::bind(config, knowledge, Metrics::register(&registry)).await?;
        let draining = CancellationToken::new();
        Ok(Self {
            address: expander.address().to_string(),
            registry,
            task: tokio::spawn(expander.serve(draining.clone())),
            draining,
            folder,
        })
    }

    /// Asks in each of these ways.
    async fn ask(&self, cases: &[&str]) -> anyhow::Result<Vec<Told>> {
        let python = python::ensure("grpc", &PACKAGES, &Progress::auto()).await?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
        let folder = self.folder.path();
        std::fs::copy(source.join("expander.proto"), folder.join("expander.proto"))?;
        let client = Command::new(python)
            .arg(source.join("client.py"))
            .args([folder, Path::new(&self.address)])
            .args([folder.join("authority"), folder.join("other")])
            .args(cases)
            .kill_on_drop(true)
            .output();
        let output = timeout(CLIENT, client).await.context("the client hangs")??;
        let (text, errors) = (
            String::from_utf8(output.stdout)?,
            String::from_utf8_lossy(&output.stderr),
        );
        anyhow::ensure!(output.status.success(), "the client failed: {errors}");
        let told: Vec<Told> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        for told in &told {
            println!("{}: {} bytes, {} in {:?} ms", told.case, told.bytes, told.code, told.ms);
        }
        anyhow::ensure!(told.len() == cases.len(), "the client said too little: {text}{errors}");
        Ok(told)
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.draining.cancel();
        Ok(timeout(DRAIN, self.task).await.context("it does not drain")??)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_is_understood() -> anyhow::Result<()> {
    let running = Running::start().await?;
    let best = ["group-0"].as_slice();
    let all = ["group-0", "group-1", "group-2"].as_slice();
    let none = [].as_slice();
    let expected = [
        ("gang", best, "OK"),
        ("old", best, "OK"),
        ("empty_nodes", all, "OK"),
        ("garbage", all, "OK"),
        ("nothing", none, "OK"),
        ("20_mib", best, "OK"),
        ("127_mib", best, "OK"),
        ("129_mib", none, "OUT_OF_RANGE"),
        ("wrong_authority", none, "UNAVAILABLE"),
        ("plain", none, "UNAVAILABLE"),
        ("5000_pods", best, "OK"),
    ];
    let told = running.ask(&expected.map(|(case, ..)| case)).await?;
    for (told, (case, options, code)) in told.iter().zip(expected) {
        assert_eq!((&told.case[..], &told.code[..]), (case, code), "{told:?}");
        assert_eq!(told.options, options, "{told:?}\n{}", running.registry.render());
    }
    running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_is_kept_once() -> anyhow::Result<()> {
    let running = Running::start().await?;
    running.ask(&["gang"]).await?;
    // From here on the peak is measured anew.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = peak_mib()?;
    let told = running.ask(&["100_mib"]).await?;
    assert_eq!(told[0].options, ["group-0"], "{told:?}\n{}", running.registry.render());
    let grown = peak_mib()? - before;
    println!("{} bytes took {grown} MiB", told[0].bytes);
    assert!(grown < 150, "{} bytes took {grown} MiB", told[0].bytes);
    running.stop().await
}

/// The most memory that this process has had.
fn peak_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmHWM")?;
    Ok(kib.trim().parse::<u64>()? / 1024)
}
