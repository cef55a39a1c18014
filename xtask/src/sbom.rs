//! Bills of materials as a release makes them: what each program is made of, in `CycloneDX`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::cargo_tool;

const VERSION: &str = "0.5.9";
const FILE: &str = "bom.json";
/// The packages whose programs are released.
const PARTS: [&str; 4] = ["scheduler-extender", "admission-webhook", "predictor", "cli"];
/// Fewer than that are not all.
const LEAST: usize = 100;

/// Makes them with the command of the release workflow, looks at what is in them, and takes them away again.
pub(crate) fn run() -> anyhow::Result<()> {
    let program = cargo_tool::ensure("cargo-cyclonedx", VERSION)?;
    let status = Command::new(program)
        .args([
            "cyclonedx",
            "--format",
            "json",
            "--spec-version",
            "1.5",
            "--no-build-deps",
        ])
        .args(["--override-filename", "bom"])
        .status()
        .context("failed to start cargo-cyclonedx")?;
    let looked = PARTS.iter().try_for_each(|part| look(&Path::new(part).join(FILE)));
    // It writes one beside every manifest.
    for file in written()? {
        std::fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
    }
    anyhow::ensure!(status.success(), "cargo-cyclonedx ended with {status}");
    looked
}

fn look(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let bom: serde_json::Value = serde_json::from_slice(&text)?;
    anyhow::ensure!(bom["bomFormat"] == "CycloneDX", "{} is no CycloneDX", file.display());
    let components = bom["components"].as_array().context("it has no components")?;
    anyhow::ensure!(
        components.len() > LEAST,
        "{} has {} components",
        file.display(),
        components.len()
    );
    for component in components {
        anyhow::ensure!(
            component["name"].is_string() && component["version"].is_string(),
            "{} has a component without name or version: {component}",
            file.display()
        );
    }
    let has = |name: &str| components.iter().any(|component| component["name"] == name);
    anyhow::ensure!(
        has("rustls") && has("kube"),
        "{} misses crates that it has",
        file.display()
    );
    Ok(())
}

/// The files that were written, of all members of the workspace.
fn written() -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--others", "--", &format!("*/{FILE}"), FILE])
        .output()
        .context("failed to run git")?;
    let names = String::from_utf8(output.stdout).context("failed to read what git says")?;
    Ok(names.lines().map(PathBuf::from).collect())
}
