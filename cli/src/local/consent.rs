//! Asking before anything is installed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use kompass_local_cluster::prerequisites::{self, Missing, Need, Remedy};
use kompass_local_cluster::progress::Progress;

/// Packages are missing, and nobody is there to be asked.
#[derive(Debug, thiserror::Error)]
#[error("failed to ask whether packages may be installed: run `{command}`, or try again with --yes")]
pub(crate) struct NobodyToAsk {
    command: String,
}

/// Installs what is missing, after asking unless `yes`. What only people can do is an error that says what.
pub(crate) async fn prepare(needs: &[Need], yes: bool, progress: &Progress) -> anyhow::Result<()> {
    let missing = prerequisites::missing(needs).await;
    if !yes && missing.iter().any(is_package) {
        ask(&missing)?;
    }
    prerequisites::ensure(needs, progress).await?;
    Ok(())
}

fn is_package(missing: &Missing) -> bool {
    matches!(missing.remedy, Remedy::Package(_))
}

fn ask(missing: &[Missing]) -> anyhow::Result<()> {
    let what: Vec<&str> = missing.iter().map(|missing| missing.what.as_str()).collect();
    let command = prerequisites::install_command(missing).unwrap_or_default();
    eprintln!("missing: {}", what.join(", "));
    if !std::io::stdin().is_terminal() {
        return Err(NobodyToAsk { command }.into());
    }
    eprint!("run `{command}`? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    anyhow::ensure!(
        matches!(answer.trim(), "y" | "Y" | "yes"),
        "nothing was installed and nothing was started"
    );
    Ok(())
}
