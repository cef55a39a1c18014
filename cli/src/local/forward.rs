//! The process that keeps a door into a cluster's network open.

use std::net::SocketAddr;
use std::path::PathBuf;

use kompass_local_cluster::full::forward::Forwarder;

/// Options of the hidden `kompass local forward`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where connections are taken.
    #[arg(long)]
    listen: SocketAddr,
    /// The file that holds the network namespace.
    #[arg(long)]
    namespace: PathBuf,
    /// Where they go on to, inside.
    #[arg(long)]
    target: SocketAddr,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        Forwarder::start(self.listen, &self.namespace, self.target)?.wait()?;
        Ok(())
    }
}
