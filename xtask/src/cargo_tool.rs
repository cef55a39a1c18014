//! Programs from crates.io, of the very version, in the cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use kompass_local_cluster::directories;

use crate::stage::command;

/// The program `name` of that version, which is installed unless it is there.
pub(crate) fn ensure(name: &str, version: &str) -> anyhow::Result<PathBuf> {
    let folder = directories::cache()?.join("cargo").join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    // A file that was written half is no program.
    if Command::new(&program)
        .arg("--help")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Ok(program);
    }
    let root = folder
        .to_str()
        .context("failed to name the cache: its path is no text")?;
    command(
        "cargo",
        &["install", name, "--locked", "--version", version, "--root", root],
    )?;
    Ok(program)
}
