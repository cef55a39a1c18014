//! What the crates may be: licences, sources, and crates that are not wanted, by cargo-deny and `deny.toml`.

use anyhow::Context as _;

use crate::cargo_tool;
use crate::stage::command;

const VERSION: &str = "0.20.2";

/// Checks all but the advisories: these need their database, which a machine for tests may not reach.
pub(crate) fn run() -> anyhow::Result<()> {
    let program = cargo_tool::ensure("cargo-deny", VERSION)?;
    let program = program
        .to_str()
        .context("failed to name cargo-deny: its path is no text")?;
    command(program, &["check", "bans", "licenses", "sources"])
}
