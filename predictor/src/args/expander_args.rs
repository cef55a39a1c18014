//! Options of the expander.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kompass_expander::certificate::Files;
use kompass_expander::{Config, Patience};

/// How often the certificate is looked at.
const RELOAD: Duration = Duration::from_secs(30);

/// For cluster-autoscaler with `--expander=grpc,least-waste`, `--grpc-expander-url` and `--grpc-expander-cert`.
#[derive(Debug, Clone, Args)]
pub struct ExpanderArgs {
    /// Answer cluster-autoscaler at this address, which of its node groups takes the waiting gangs whole.
    #[arg(long, env = "KOMPASS_EXPANDER_LISTEN", value_name = "ADDRESS", requires_all = ["expander_certificate", "expander_key"])]
    pub expander_listen: Option<SocketAddr>,
    /// File with the expander's certificate (PEM); read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub expander_certificate: Option<PathBuf>,
    /// File with its key (PEM).
    #[arg(long, value_name = "FILE")]
    pub expander_key: Option<PathBuf>,
}

impl ExpanderArgs {
    /// None where it is not asked for.
    pub(super) fn resolve(self) -> Option<Config> {
        Some(Config {
            listen: self.expander_listen?,
            files: Files {
                certificate: self.expander_certificate?,
                key: self.expander_key?,
            },
            reload: RELOAD,
            patience: Patience::default(),
        })
    }
}
