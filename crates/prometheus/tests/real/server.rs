//! A real Prometheus on a data folder of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kompass_local_cluster::process::{Daemon, STOP_LIMIT, Spec};
use kompass_prometheus::{Client, Options};
use tempfile::TempDir;
use tokio::process::Command;

const READY: Duration = Duration::from_mins(1);

/// A running Prometheus. It ends when it is dropped.
pub(crate) struct Server {
    pub(crate) daemon: Daemon,
    address: String,
    folder: TempDir,
}

impl Server {
    /// Starts one that knows the samples of a text in the format of `OpenMetrics`, and no others.
    pub(crate) async fn with(text: &str, arguments: &[&str]) -> anyhow::Result<Self> {
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
            .context("failed to run promtool; `cargo xtask prepare` installs it")?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (daemon, address) = start(folder.path(), &data, arguments).await?;
        Ok(Self {
            daemon,
            address,
            folder,
        })
    }

    /// Starts it again with other arguments.
    pub(crate) async fn restart(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        self.daemon.stop(STOP_LIMIT).await?;
        // Its log is read for what it says when it is ready.
        std::fs::remove_file(self.daemon.log())?;
        let data = self.folder.path().join("data");
        (self.daemon, self.address) = start(self.folder.path(), &data, arguments).await?;
        Ok(())
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of it.
    pub(crate) fn client(&self, options: Options) -> Client {
        Client::new(self.url().parse().unwrap(), options).unwrap()
    }
}

async fn start(folder: &Path, data: &Path, arguments: &[&str]) -> anyhow::Result<(Daemon, String)> {
    let configuration = folder.join("prometheus.yml");
    std::fs::write(&configuration, "global: {}\n")?;
    let spec = Spec::new("prometheus", "prometheus", folder)
        .path_flag("config.file", &configuration)
        .path_flag("storage.tsdb.path", data)
        // Samples are of fixed times, which may be long ago.
        .argument("--storage.tsdb.retention.time=100y")
        // The kernel chooses the port; it is told in the log.
        .argument("--web.listen-address=127.0.0.1:0")
        .arguments(arguments.iter().copied());
    let mut daemon = Daemon::start(spec)?;
    let log = daemon.log().to_owned();
    let ready = || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        async move { log.contains("Server is ready to receive web requests") }
    };
    daemon.ready(READY, ready).await?;
    let log = std::fs::read_to_string(&log)?;
    // After a restart there are several.
    let (_, told) = log
        .rsplit_once("msg=\"Listening on\" address=")
        .context("no address in the log")?;
    let address = told.split_whitespace().next().context("no address in the log")?;
    Ok((daemon, address.to_owned()))
}
