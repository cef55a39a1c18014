//! `kompass local down`.

use kompass_local_cluster::full;
use kompass_local_cluster::progress::Progress;

use super::{Name, api_only};

/// Options of `kompass local down`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let name = &self.name.name;
        let held = api_only::stop(name).await?;
        match full::down(name, &Progress::auto()).await {
            // A control plane alone needs no root, and its user may not be root.
            Err(full::Error::NotRoot) if held => {}
            other => other?,
        }
        eprintln!("cluster {name} is down");
        Ok(())
    }
}
