//! `kompass local kubeconfig`: where the kubeconfig is.

use std::path::PathBuf;

use anyhow::Context as _;
use kompass_local_cluster::full::Cluster;
use kompass_local_cluster::progress::Progress;

use super::{Name, api_only};

/// Options of `kompass local kubeconfig`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  export KUBECONFIG=$(kompass local kubeconfig)")]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
    /// Print the file itself instead of its path.
    #[arg(long)]
    print: bool,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let name = &self.name.name;
        let path = of(name).await?;
        if self.print {
            let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
            print!("{text}");
        } else {
            println!("{}", path.display());
        }
        Ok(())
    }
}

/// The kubeconfig of a running local cluster of either kind.
pub(crate) async fn of(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(held) = api_only::find(name)? {
        return Ok(held.kubeconfig);
    }
    let attached = Cluster::attach(name, &Progress::silent()).await;
    let cluster = attached
        .with_context(|| format!("failed to find the kubeconfig; `kompass local up --name {name}` starts a cluster"))?;
    Ok(cluster.kubeconfig())
}
