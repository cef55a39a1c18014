//! The program `kompass`, as a person runs it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use kompass_deployment_tests::own_program;
use kompass_tests::deployment::Deployment;
use tokio::process::Command;

/// Longer than any of its commands takes here.
const LIMIT: Duration = Duration::from_mins(2);

/// How it ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The command, ready to be started, for the deployment's cluster and with all rights.
pub(crate) fn kompass(deployment: &mut Deployment, arguments: &[&str]) -> anyhow::Result<Command> {
    let kubeconfig: PathBuf = deployment.cluster().kubeconfig().to_owned();
    let mut command = Command::new(own_program("kompass")?);
    command
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env_remove("KOMPASS_NAMESPACE")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// Runs it to its end.
pub(crate) async fn run(deployment: &mut Deployment, arguments: &[&str]) -> anyhow::Result<Ended> {
    let output = kompass(deployment, arguments)?.output();
    let output = tokio::time::timeout(LIMIT, output).await??;
    let ended = Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    println!(
        "kompass {}: {:?}\n{}{}",
        arguments.join(" "),
        ended.code,
        ended.stdout,
        ended.stderr
    );
    Ok(ended)
}
