//! The setup script, without a cluster: its shell is clean, and its errors say what to do.

#![cfg(test)]

use std::time::Duration;

use kompass_deployment_tests::{project, run, succeed};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn the_script_is_clean() {
    succeed(
        Command::new("shellcheck").arg(project().join("setup-kompass.sh")),
        LIMIT,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn an_unknown_mode_is_an_error_of_usage() {
    let output = run(Command::new(project().join("setup-kompass.sh")).arg("clowd"), LIMIT)
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--help"));
}
