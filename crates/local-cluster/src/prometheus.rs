//! A real Prometheus (the distribution's package) on a data folder of its own, filled with samples as it would have scraped
//! them, or scraping by a given configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{self, Daemon, STOP_LIMIT, Spec};

/// What its log says before its address.
const LISTENS: &str = "msg=\"Listening on\" address=";
const READY: Duration = Duration::from_mins(1);

const CONFIGURATION: &str = "prometheus.yml";
/// The configuration of one that asks nobody.
const SILENT: &str = "global: {}\n";

/// Why there is no Prometheus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full, or the like.
    #[error("failed to write or read a file of Prometheus")]
    File(#[from] std::io::Error),
    /// It is not there.
    #[error("failed to run promtool; `cargo xtask prepare` installs it")]
    Promtool(#[source] std::io::Error),
    /// The text is not as it should be.
    #[error("failed to take the samples: {0}")]
    Samples(String),
    /// It does not come up, or does not go down.
    #[error("failed to run Prometheus")]
    Process(#[from] process::Error),
    /// Another release, perhaps.
    #[error("failed to find the address in the log of Prometheus")]
    Address,
}

/// A running Prometheus. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub daemon: Daemon,
    address: String,
    folder: TempDir,
}

impl Server {
    /// Starts one that knows the samples of a text in the format of `OpenMetrics`, and no others.
    pub async fn with(text: &str, arguments: &[&str]) -> Result<Self, Error> {
        let folder = TempDir::new()?;
        let (file, data) = (folder.path().join("samples"), folder.path().join("data"));
        std::fs::write(&file, text)?;
        let output = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
            // Else blocks are of two hours, and the whole text is read for each.
            .arg("--max-block-duration=744h")
            .args([&file, &data])
            .kill_on_drop(true)
            .output()
            .await
            .map_err(Error::Promtool)?;
        if !output.status.success() {
            return Err(Error::Samples(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Self::start(folder, SILENT, arguments).await
    }

    /// Starts one without a past, with this configuration.
    pub async fn scraping(configuration: &str) -> Result<Self, Error> {
        Self::start(TempDir::new()?, configuration, &[]).await
    }

    async fn start(folder: TempDir, configuration: &str, arguments: &[&str]) -> Result<Self, Error> {
        std::fs::write(folder.path().join(CONFIGURATION), configuration)?;
        let (daemon, address) = start(folder.path(), arguments).await?;
        Ok(Self {
            daemon,
            address,
            folder,
        })
    }

    /// Starts it again with other arguments.
    pub async fn restart(&mut self, arguments: &[&str]) -> Result<(), Error> {
        self.daemon.stop(STOP_LIMIT).await?;
        // Its log is read for what it says when it is ready.
        std::fs::remove_file(self.daemon.log())?;
        (self.daemon, self.address) = start(self.folder.path(), arguments).await?;
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.address.parse().map_err(|_| Error::Address)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn start(folder: &Path, arguments: &[&str]) -> Result<(Daemon, String), Error> {
    let (configuration, data) = (folder.join(CONFIGURATION), folder.join("data"));
    let spec = Spec::new("prometheus", "prometheus", folder)
        .path_flag("config.file", &configuration)
        .path_flag("storage.tsdb.path", &data)
        // Samples are of fixed times, which may be long ago.
        .argument("--storage.tsdb.retention.time=100y")
        // The kernel chooses the port; it is told in the log.
        .argument("--web.listen-address=127.0.0.1:0")
        .arguments(arguments.iter().copied());
    let mut daemon = Daemon::start(spec)?;
    let log = daemon.log().to_owned();
    let ready = || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        // It says so in either order.
        async move { log.contains("Server is ready to receive web requests") && log.contains(LISTENS) }
    };
    daemon.ready(READY, ready).await?;
    let log = std::fs::read_to_string(&log)?;
    // After a restart there are several.
    let (_, told) = log.rsplit_once(LISTENS).ok_or(Error::Address)?;
    let address = told.split_whitespace().next().ok_or(Error::Address)?;
    Ok((daemon, address.to_owned()))
}
