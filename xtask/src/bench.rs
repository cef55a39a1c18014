//! `cargo xtask bench`: every benchmark of the workspace.

use crate::stage::command;

pub(crate) fn run() -> anyhow::Result<()> {
    command("cargo", &["bench", "--workspace", "--benches"])
}
