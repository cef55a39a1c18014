//! What the tests of chart, monitoring, Terraform and setup script share: where the files are, and running tools.

pub mod crds;
pub mod dashboards;
pub mod image;
pub mod rules;
pub mod terraform;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;

/// The folder of the whole project.
pub fn project() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize().unwrap_or_else(|_| here.join("../.."))
}

/// A program of KOMPASS, as cargo has built it beside the test that runs.
///
/// # Errors
/// It is not built.
pub fn own_program(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("failed to find the running test")?;
    let folder = test.parent().and_then(Path::parent);
    let path = folder
        .context("failed to find the folder of the running test")?
        .join(name);
    anyhow::ensure!(
        path.is_file(),
        "{name} is not built: run `cargo build --workspace --bins` first"
    );
    Ok(path)
}

/// Runs a tool to its end, at most for `limit`, with nothing on its standard input.
///
/// # Errors
/// It is not there, or does not end. How it ended is the caller's to judge.
pub async fn run(command: &mut Command, limit: Duration) -> anyhow::Result<Output> {
    let text = format!("{:?}", command.as_std());
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(limit, run)
        .await
        .with_context(|| format!("{text} did not end within {limit:?}"))?
        .with_context(|| format!("failed to start {text}"))
}

/// Runs a tool that is to end well, and returns its standard output.
///
/// # Errors
/// It is not there, does not end, or fails: then with all that it said.
pub async fn succeed(command: &mut Command, limit: Duration) -> anyhow::Result<String> {
    let output = run(command, limit).await?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(
        output.status.success(),
        "{:?} ended with {}:\n{stdout}\n{}",
        command.as_std(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout)
}

/// The texts of all files of a folder of the project whose names end with `.extension`.
///
/// # Errors
/// The folder or a file can't be read.
pub fn files(folder: &str, extension: &str) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let folder = project().join(folder);
    let entries = std::fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut texts = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
            texts.insert(path, text);
        }
    }
    Ok(texts)
}

/// Writes a file unless it is so already, and says that it did.
///
/// # Errors
/// It can't be written.
#[expect(clippy::print_stdout, reason = "whoever generates files wants to know which")]
pub fn write_changed(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
