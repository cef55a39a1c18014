//! What the crates may be: licences, sources, and crates that are not wanted, by cargo-deny and `deny.toml`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use kompass_local_cluster::directories;

use crate::stage::command;

const VERSION: &str = "0.20.2";

/// Checks all but the advisories: these need their database, which a machine for tests may not reach.
pub(crate) fn run() -> anyhow::Result<()> {
    let program = ensure()?;
    let program = program
        .to_str()
        .context("failed to name cargo-deny: its path is no text")?;
    command(program, &["check", "bans", "licenses", "sources"], &[])
}

/// cargo-deny of the very version, which is installed into the cache unless it is there.
fn ensure() -> anyhow::Result<PathBuf> {
    let folder = directories::cache()?
        .join("cargo")
        .join(format!("cargo-deny-{VERSION}"));
    let program = folder.join("bin/cargo-deny");
    let known = Command::new(&program).arg("--version").output();
    if known.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION)) {
        return Ok(program);
    }
    let root = folder
        .to_str()
        .context("failed to name the cache: its path is no text")?;
    let arguments = [
        "install",
        "cargo-deny",
        "--locked",
        "--version",
        VERSION,
        "--root",
        root,
    ];
    command("cargo", &arguments, &[])?;
    Ok(program)
}
