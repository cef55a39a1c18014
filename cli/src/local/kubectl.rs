//! `kompass local kubectl`: the cluster's own kubectl with all rights.

use std::process::ExitCode;

use anyhow::Context as _;
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;

use super::{Name, kubeconfig};

/// Options of `kompass local kubectl`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
    /// What kubectl is told.
    #[arg(last = true, required = true)]
    arguments: Vec<String>,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let kubeconfig = kubeconfig::of(&self.name.name).await?;
        let programs = programs::ensure(&[Module::Kubernetes], &Progress::auto()).await?;
        let status = tokio::process::Command::new(programs.path(Program::Kubectl)?)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(&self.arguments)
            .status()
            .await
            .context("failed to run kubectl")?;
        Ok(ExitCode::from(
            status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        ))
    }
}
