//! A control plane that outlives the command: a process of this program holds it until `down`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::kompass::{MANIFESTS, Service};
use kompass_local_cluster::ports::free_address;
use kompass_local_cluster::process::{self, Daemon, Record, Spec};
use kompass_local_cluster::programs::{self, Module};
use kompass_local_cluster::progress::Progress;
use kompass_local_cluster::{directories, kwok};
use kompass_scheduler_extender::scheduler_config;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::services;
use crate::page;

/// How long the whole start may take, programs built before.
const START_LIMIT: Duration = Duration::from_mins(4);
/// How long the whole end may take.
const STOP_LIMIT: Duration = Duration::from_mins(1);
const READY_LIMIT: Duration = Duration::from_mins(1);
const SERVICE_STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const HOLDER: &str = "holder";
/// Where a cluster keeps the records of its processes: what is left of a killed one is found by them.
const RECORDS: &str = "processes";

/// Options of the hidden `kompass local hold`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder that the description of the running cluster is written to.
    #[arg(long)]
    folder: PathBuf,
    /// Nodes that only exist in the API.
    #[arg(long, default_value_t = 0)]
    kwok_nodes: usize,
    /// Leave KOMPASS out.
    #[arg(long)]
    without_kompass: bool,
}

/// A control plane that is held.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    /// For users of this machine.
    pub(crate) kubeconfig: PathBuf,
    /// Where the extender serves.
    pub(crate) extender: Option<SocketAddr>,
    /// The cluster's logs.
    log_folder: PathBuf,
    #[serde(skip)]
    holder: Option<Record>,
}

impl Held {
    /// The process that holds it.
    pub(crate) fn pid(&self) -> i32 {
        self.holder.as_ref().map_or(0, |record| record.pid)
    }

    /// The log files by name.
    pub(crate) fn logs(&self) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let folder = std::fs::read_dir(&self.log_folder)
            .with_context(|| format!("failed to read {}", self.log_folder.display()))?;
        let mut logs: Vec<(String, PathBuf)> = folder
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                Some((path.file_name()?.to_str()?.strip_suffix(".log")?.to_owned(), path))
            })
            .collect();
        logs.sort();
        Ok(logs)
    }
}

/// The control plane of this name, if one is held and complete.
pub(crate) fn find(name: &str) -> anyhow::Result<Option<Held>> {
    let folder = folder(name)?;
    let Some(record) = running(&folder)? else {
        return Ok(None);
    };
    Ok(described(&folder)?.map(|held| Held {
        holder: Some(record),
        ..held
    }))
}

/// Starts a process that holds a control plane and waits until it is ready. One of the same name is stopped before.
pub(crate) async fn start(
    name: &str,
    kwok_nodes: usize,
    without_kompass: bool,
    progress: &Progress,
) -> anyhow::Result<Held> {
    stop(name).await?;
    let mut modules = vec![Module::Etcd, Module::Kubernetes];
    if kwok_nodes > 0 {
        modules.push(Module::Kwok);
    }
    // Here, where its progress is seen, and not in the process that holds the cluster.
    programs::ensure(&modules, progress).await?;
    let step = progress.step(format!("Starting control plane {name}"), Some(Duration::from_secs(10)));
    let folder = folder(name)?;
    let own = std::env::current_exe().context("failed to find this program itself")?;
    let mut spec = Spec::new(HOLDER, own, &folder)
        .recorded_in(&folder)
        .arguments(["local", "hold"])
        .path_flag("folder", &folder)
        .argument(format!("--kwok-nodes={kwok_nodes}"));
    if without_kompass {
        spec = spec.argument("--without-kompass");
    }
    let mut daemon = Daemon::start(spec)?;
    daemon
        .ready(START_LIMIT, || async { description(&folder).is_file() })
        .await?;
    daemon.detach();
    step.done();
    find(name)?.context("the control plane has ended right after its start; see `kompass local logs`")
}

/// Stops the control plane of this name, also one whose holder was killed; whether there was one.
pub(crate) async fn stop(name: &str) -> anyhow::Result<bool> {
    let folder = folder(name)?;
    if !folder.exists() {
        return Ok(false);
    }
    match running(&folder)? {
        Some(record) => record.stop(STOP_LIMIT).await?,
        None => clear(&folder).await?,
    }
    std::fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
    Ok(true)
}

/// Ends what a killed holder has left.
async fn clear(folder: &Path) -> anyhow::Result<()> {
    let Some(held) = described(folder)? else { return Ok(()) };
    let Some(cluster) = held.log_folder.parent().filter(|cluster| cluster.exists()) else {
        return Ok(());
    };
    for record in Record::load_all(&cluster.join(RECORDS))? {
        record.kill().await?;
    }
    std::fs::remove_dir_all(cluster).with_context(|| format!("failed to remove {}", cluster.display()))
}

fn folder(name: &str) -> anyhow::Result<PathBuf> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    anyhow::ensure!(
        good,
        "failed to use cluster name {name:?}: write a-z, 0-9 and -, a letter first"
    );
    Ok(directories::state()?.join("held").join(name))
}

fn description(folder: &Path) -> PathBuf {
    folder.join("cluster.json")
}

/// What the holder wrote; none before the control plane is ready.
fn described(folder: &Path) -> anyhow::Result<Option<Held>> {
    let Ok(text) = std::fs::read(description(folder)) else {
        return Ok(None);
    };
    serde_json::from_slice(&text)
        .context("failed to read the description of the control plane")
        .map(Some)
}

fn running(folder: &Path) -> anyhow::Result<Option<Record>> {
    let path = Record::path(folder, HOLDER);
    if !path.is_file() {
        return Ok(None);
    }
    Ok(Some(Record::load(&path)?).filter(Record::is_running))
}

impl Args {
    /// Starts everything, describes it and holds it until it is told to stop.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let cluster = Cluster::start(Options {
            progress: Progress::lines(),
            ..Options::default()
        })
        .await?;
        let mut daemons = Vec::new();
        if self.kwok_nodes > 0 {
            daemons.push(cluster.start_kwok(&kwok::Options::default()).await?);
            cluster.add_fake_nodes(self.kwok_nodes, &kwok::Shape::default()).await?;
        }
        let extender = if self.without_kompass {
            None
        } else {
            Some(start_kompass(&cluster, &mut daemons).await?)
        };
        let held = Held {
            kubeconfig: cluster.kubeconfig().to_owned(),
            extender,
            log_folder: cluster.folder().join("logs"),
            holder: None,
        };
        let unfinished = self.folder.join("cluster.unfinished");
        std::fs::write(&unfinished, serde_json::to_vec_pretty(&held)?)?;
        std::fs::rename(&unfinished, description(&self.folder))?;
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        for daemon in daemons.iter_mut().rev() {
            daemon.stop(SERVICE_STOP_LIMIT).await?;
        }
        cluster.stop().await?;
        Ok(())
    }
}

/// Starts webhook, extender and its kube-scheduler; where the extender serves.
async fn start_kompass(cluster: &Cluster, daemons: &mut Vec<Daemon>) -> anyhow::Result<SocketAddr> {
    let own = services::Programs::find()?;
    let manifests = cluster.folder().join("kompass.yaml");
    std::fs::write(&manifests, MANIFESTS)?;
    cluster
        .kubectl(&["apply", "--filename", &manifests.display().to_string()])
        .await?;
    let extender = start_service(cluster, &own, Service::SchedulerExtender, daemons).await?;
    let configuration = scheduler_config::render(&scheduler_config::Options::new(&format!("http://{extender}")));
    daemons.push(
        cluster
            .start_scheduler(services::SCHEDULER, &configuration, &[])
            .await?,
    );
    start_service(cluster, &own, Service::AdmissionWebhook, daemons).await?;
    Ok(extender)
}

async fn start_service(
    cluster: &Cluster,
    own: &services::Programs,
    service: Service,
    daemons: &mut Vec<Daemon>,
) -> anyhow::Result<SocketAddr> {
    let (listen, admin) = (free_address()?, free_address()?);
    let [all, namespace] = Service::groups();
    let kubeconfig = cluster.kubeconfig_for(&service.user(), &[&all, &namespace])?;
    let spec = Spec::new(service.name(), own.of(service), &cluster.folder().join("logs"))
        .recorded_in(cluster.folder().join(RECORDS))
        .environment("NO_COLOR", "1")
        .arguments(services::arguments(service, &kubeconfig, listen, admin));
    let mut daemon = Daemon::start(spec)?;
    let began = Instant::now();
    while page::get(admin, "/readyz").await.is_err() {
        daemon.check()?;
        anyhow::ensure!(
            began.elapsed() < READY_LIMIT,
            "{} is not ready after {} s:\n{}",
            service.name(),
            READY_LIMIT.as_secs(),
            process::log_tail(daemon.log())
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    daemons.push(daemon);
    Ok(listen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_their_folder_are_refused() {
        for name in ["", "..", "a/b", "-a", "A"] {
            assert!(folder(name).is_err(), "{name:?}");
        }
        assert!(folder("test-1").unwrap().ends_with("held/test-1"));
    }

    #[test]
    fn a_process_that_is_gone_holds_nothing() {
        let folder = std::env::temp_dir().join(format!("kompass-held-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(running(&folder).unwrap().is_none());
        let mut record = Record::of(HOLDER, i32::try_from(std::process::id()).unwrap(), folder.join("log")).unwrap();
        record.save(&folder).unwrap();
        assert!(running(&folder).unwrap().is_some());
        record.start_ticks += 1;
        record.save(&folder).unwrap();
        assert!(running(&folder).unwrap().is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
