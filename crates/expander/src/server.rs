//! The server: TLS alone, on the HTTP/2 of every service.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use kompass_service::server::{self, Limits, Server};
use kompass_service::tls;
use tokio_util::sync::CancellationToken;

use crate::certificate::{self, Files, Kept};
use crate::knowledge::Knowledge;
use crate::metrics::Metrics;
use crate::service::{self, Patience};

/// An autoscaler has one; there may be two of them during a hand-over, and somebody who looks.
const CONNECTIONS: usize = 16;

/// Why it could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is not to be had.
    #[error("failed to start the expander's server")]
    Bind(#[from] server::Error),
    /// There is no certificate.
    #[error("failed to start the expander without a certificate")]
    Certificate(#[from] certificate::Error),
    /// The TLS library refuses.
    #[error("failed to set the expander's TLS up")]
    Tls(#[from] tls::Error),
}

/// What it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Its certificate.
    pub files: Files,
    /// How often the files are looked at.
    pub reload: Duration,
    /// How long calls may take.
    pub patience: Patience,
}

/// A bound, not yet serving expander.
pub struct Expander {
    server: Server,
    certificate: Kept,
    reload: Duration,
    router: Router,
}

impl fmt::Debug for Expander {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expander")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Expander {
    /// Reads the certificate and binds the port.
    pub async fn bind(config: Config, knowledge: Arc<dyn Knowledge>, metrics: Metrics) -> Result<Self, Error> {
        let certificate = Kept::open(config.files).await?;
        let limits = Limits {
            connections: CONNECTIONS,
            ..Limits::default()
        };
        let server = Server::bind(config.listen)
            .await?
            .with_tls(tls::server_config(certificate.live())?)
            .with_limits(limits);
        Ok(Self {
            server,
            certificate,
            reload: config.reload,
            router: service::router(knowledge, metrics, config.patience),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Serves until `draining` is cancelled, and lets the calls in flight end.
    pub async fn serve(self, draining: CancellationToken) {
        let certificate = self.certificate.keep(self.reload, draining.clone());
        tokio::join!(self.server.serve(self.router, draining), certificate);
    }
}
