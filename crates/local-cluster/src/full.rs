//! A whole Kubernetes cluster with a real node: containerd, kubelet and pods, in a network of its own.
//!
//! The machine outside sees no bridge, route, rule or open port, except a loopback port for the API server. Everything
//! is found again by name from any later process, also after a `kill -9` of any part.

mod cgroups;
mod config;
mod daemons;
mod error;
pub mod forward;
mod host;
mod layout;
mod mounts;
mod network;
mod runtime;
mod start;
mod status;
mod stop;
pub mod submit;

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use crate::client::Client;
use crate::images::{self, Own, SparkVersion, tool};
use crate::pki::{self, Authority, Identity};
use crate::process::{Daemon, Record, STOP_LIMIT, Spec};
use crate::programs::{self, Module, Program};
use crate::progress::Progress;
use crate::{directories, prerequisites};
pub use daemons::NODE;
pub use error::Error;
use error::{NAME_LIMIT, io_error, tool_error};
use forward::Forwarder;
use layout::Layout;
pub use status::{DaemonStatus, Status};
pub use stop::{down, leftovers, remove};

/// How long to wait for another process that starts or stops the same cluster.
const LOCK_LIMIT: Duration = Duration::from_mins(10);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long `kubectl` may take.
const KUBECTL_LIMIT: Duration = Duration::from_mins(2);

/// What is kept back from pods, so that the node looks smaller than the machine. Nothing is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// CPU in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// How the API server is reached from outside the cluster's network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Door {
    /// A thread of this process, which ends with it. For tests.
    #[default]
    ThisProcess,
    /// A process of its own, which lives as long as the cluster. `program arguments… --listen ADDRESS --namespace FILE
    /// --target ADDRESS` must do what [`Forwarder`] does.
    Program {
        /// The program, for example this one itself.
        program: PathBuf,
        /// What comes before the three flags.
        arguments: Vec<String>,
    },
}

/// What cluster to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Options {
    /// Names it among others on the same machine.
    pub name: String,
    /// Nodes that only exist in the API, beside the real one; each is tainted, so that real pods stay away.
    pub kwok_nodes: usize,
    /// Makes the real node look smaller.
    pub system_reserved: Option<Reserved>,
    /// The Spark images that the node shall have.
    pub spark_versions: Vec<SparkVersion>,
    /// The images of KOMPASS that the node shall have.
    #[serde(skip)]
    pub own: Vec<Own>,
    /// How the API server is reached.
    #[serde(skip)]
    pub door: Door,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "local".to_owned(),
            kwok_nodes: 0,
            system_reserved: None,
            spark_versions: vec![SparkVersion::default()],
            own: Vec::new(),
            door: Door::default(),
        }
    }
}

/// What is written down about a running cluster.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    options: Options,
    /// The forwarded API server.
    address: SocketAddr,
}

/// A running cluster. Dropping it lets it live on; [`Cluster::down`] ends it.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    options: Options,
    address: SocketAddr,
    client: Client,
    /// Doors that this process holds open.
    forwarders: Vec<Forwarder>,
    progress: Progress,
}

impl Cluster {
    /// Starts a cluster and waits until pods can run. Returns quickly when it is up and well with the same options; what
    /// is left of one that is not well is cleared away first.
    pub async fn up(options: Options, progress: &Progress) -> Result<Self, Error> {
        let layout = layout(&options.name)?;
        let _lock = lock(&layout, progress).await?;
        if let Some(cluster) = Self::reuse(&layout, &options, progress).await {
            cluster.import_images(progress).await?;
            cluster.save()?;
            return Ok(cluster);
        }
        prerequisites::ensure(prerequisites::FULL, progress).await?;
        let mut modules = vec![Module::Etcd, Module::Kubernetes, Module::CoreDns];
        if options.kwok_nodes > 0 {
            modules.push(Module::Kwok);
        }
        let images = start::images(&options);
        // Both take minutes the first time, one the processor, the other the network.
        let made = async { images::ensure(&images, progress).await.map_err(Error::from) };
        let built = async { programs::ensure(&modules, progress).await.map_err(Error::from) };
        let (archives, programs) = futures::future::try_join(made, built).await?;

        stop::clean(&layout, progress).await?;
        let started = start::start(&layout, &options, &programs, &archives, progress).await;
        if started.is_err() {
            // The logs stay to be read, nothing else does.
            if let Err(error) = stop::clean(&layout, &Progress::silent()).await {
                tracing::warn!(%error, "a cluster that did not start was not cleared away");
            }
        }
        started
    }

    /// A cluster that is up, whoever has started it.
    pub async fn attach(name: &str, progress: &Progress) -> Result<Self, Error> {
        let layout = layout(name)?;
        let state = load(&layout)?;
        let mut forwarders = Vec::new();
        let mut address = state.address;
        if tokio::net::TcpStream::connect(address).await.is_err() {
            // The process that had forwarded it is gone: this one does it for itself.
            let forwarder = Forwarder::start(start::ANY_PORT, layout.namespace().path(), start::api_server())?;
            address = forwarder.address();
            forwarders.push(forwarder);
        }
        let client = admin_client(&layout, address)?;
        Ok(Self {
            layout,
            options: state.options,
            address,
            client,
            forwarders,
            progress: progress.clone(),
        })
    }

    async fn reuse(layout: &Layout, options: &Options, progress: &Progress) -> Option<Self> {
        let mut cluster = Self::attach(&layout.name, progress).await.ok()?;
        let is_same = cluster.options.kwok_nodes == options.kwok_nodes
            && cluster.options.system_reserved == options.system_reserved;
        if !is_same || !cluster.status().await.ok()?.is_healthy() {
            return None;
        }
        cluster.options = options.clone();
        // The door of another process may close at any time; a lasting one was asked for.
        let is_lasting = Record::path(&layout.records(), start::API_DOOR).exists();
        if options.door != Door::ThisProcess && !is_lasting {
            cluster.address = cluster.forward(start::API_DOOR, start::api_server()).await.ok()?;
            cluster.client = admin_client(layout, cluster.address).ok()?;
        }
        cluster.write_kubeconfig().ok()?;
        Some(cluster)
    }

    /// How it is.
    pub async fn status(&self) -> Result<Status, Error> {
        let records = Record::load_all(&self.layout.records())?;
        let daemons = records
            .into_iter()
            .map(|record| DaemonStatus {
                running: record.is_running(),
                name: record.name,
                pid: record.pid,
                log: record.log,
            })
            .collect();
        let ask = async {
            let ready = self.client.get_text("/readyz").await.is_ok();
            let nodes = self.client.get("/api/v1/nodes").await.unwrap_or_default();
            (ready, nodes)
        };
        let (api_server_ready, nodes) = tokio::time::timeout(start::ANSWER_LIMIT, ask).await.unwrap_or_default();
        let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
        let nodes = nodes
            .iter()
            .map(|node| (text(&node["metadata"]["name"]), start::is_ready(node)))
            .collect();
        Ok(Status {
            daemons,
            api_server_ready,
            nodes,
        })
    }

    /// Ends it; see [`down`].
    pub async fn down(self) -> Result<(), Error> {
        let (name, progress) = (self.layout.name.clone(), self.progress.clone());
        // The doors of this process first: they hold the cluster's network.
        drop(self);
        down(&name, &progress).await
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.layout.name
    }

    /// The kubeconfig of a user who may do everything, for programs of this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The same for programs inside the cluster's network.
    pub fn inner_kubeconfig(&self) -> PathBuf {
        self.layout.inner_kubeconfig("admin")
    }

    /// Writes the kubeconfig of any user for programs inside the cluster's network.
    pub fn inner_kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        let authority = self.authority()?;
        let identity = authority.client(user, groups)?;
        let path = self.layout.inner_kubeconfig(&user.replace(':', "-"));
        pki::write_kubeconfig(&path, start::INNER_URL, &authority, user, &identity)?;
        Ok(path)
    }

    /// The certificate authority, for example to make the certificate of a webhook.
    pub fn authority(&self) -> Result<Authority, Error> {
        Ok(Authority::load(&self.layout.pki())?)
    }

    /// The file of the certificate authority.
    pub fn authority_file(&self) -> PathBuf {
        self.layout.pki().join("ca.crt")
    }

    /// The API server as this machine sees it.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A plain client with all rights.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The file that holds the cluster's network namespace, for `nsenter --net=FILE`.
    pub fn network_namespace(&self) -> PathBuf {
        self.layout.namespace().path().to_owned()
    }

    /// A command that will run inside the cluster's network.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.layout.namespace().path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs `kubectl` with all rights and returns its standard output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        let programs = programs::ensure(&[Module::Kubernetes], &self.progress).await?;
        let mut command = self.command(programs.path(Program::Kubectl)?);
        command.arg("--kubeconfig").arg(self.inner_kubeconfig()).args(arguments);
        tool::quietly(command, KUBECTL_LIMIT)
            .await
            .map_err(tool_error("run kubectl"))
    }

    /// A daemon that will run inside the cluster's network, with a log and a record beside those of the cluster's own.
    /// It ends with the cluster.
    pub fn daemon(&self, name: &str, program: impl Into<PathBuf>) -> Spec {
        daemons::spec(&self.layout, name, program)
    }

    /// Starts a daemon inside the cluster's network and lets it live on; one of the same name is stopped before.
    pub async fn run_daemon(
        &self,
        name: &str,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Record, Error> {
        self.stop_daemon(name).await?;
        let spec = self.daemon(name, program).arguments(arguments);
        let spec = environment
            .into_iter()
            .fold(spec, |spec, (name, value)| spec.environment(name, value));
        Ok(Daemon::start(spec)?.detach())
    }

    /// All daemons that were started in the cluster and not stopped, its own ones, too.
    pub fn daemons(&self) -> Result<Vec<Record>, Error> {
        Ok(Record::load_all(&self.layout.records())?)
    }

    /// Stops a daemon; good when there is none of that name.
    pub async fn stop_daemon(&self, name: &str) -> Result<(), Error> {
        let path = Record::path(&self.layout.records(), name);
        if path.exists() {
            Record::load(&path)?.stop(STOP_LIMIT).await?;
            fs::remove_file(&path).map_err(io_error(format!("remove {}", path.display())))?;
        }
        Ok(())
    }

    /// Makes an address of the cluster's network reachable at a free loopback port of the machine.
    pub async fn forward(&mut self, name: &str, target: SocketAddr) -> Result<SocketAddr, Error> {
        let (address, forwarder) = start::open_door(&self.layout, &self.options.door, name, target).await?;
        self.forwarders.extend(forwarder);
        Ok(address)
    }

    /// Gives an image of the node one more name.
    pub async fn tag_image(&self, name: &str, other: &str) -> Result<(), Error> {
        let runtime = start::runtime(&self.layout)?;
        runtime.tag(name, other).await.map_err(tool_error("tag an image"))
    }

    /// The log files, by name.
    pub fn logs(&self) -> Result<Vec<(String, PathBuf)>, Error> {
        logs(&self.layout.name)
    }

    async fn import_images(&self, progress: &Progress) -> Result<(), Error> {
        let archives = images::ensure(&start::images(&self.options), progress).await?;
        start::import(&start::runtime(&self.layout)?, &archives, progress).await
    }

    fn write_kubeconfig(&self) -> Result<(), Error> {
        let url = format!("https://{}", self.address);
        let identity = admin(&self.layout)?;
        pki::write_kubeconfig(&self.layout.kubeconfig(), &url, &self.authority()?, "admin", &identity)?;
        Ok(())
    }

    fn save(&self) -> Result<(), Error> {
        let path = self.layout.state_file();
        let state = State {
            options: self.options.clone(),
            address: self.address,
        };
        let text = serde_json::to_vec_pretty(&state).map_err(|source| Error::State {
            path: path.clone(),
            source,
        })?;
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(io_error(format!("write {}", path.display())))
    }
}

/// The log files of a cluster, by name; also of one that is down or did not come up.
pub fn logs(name: &str) -> Result<Vec<(String, PathBuf)>, Error> {
    let folder = Layout::new(name, &directories::state()?, &directories::cache()?).logs();
    let mut logs: Vec<_> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".log")?.to_owned();
            Some((name, path))
        })
        .collect();
    logs.sort();
    Ok(logs)
}

fn layout(name: &str) -> Result<Layout, Error> {
    let is_good = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= NAME_LIMIT
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-');
    if !is_good {
        return Err(Error::Name { name: name.to_owned() });
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    Ok(Layout::new(name, &directories::state()?, &directories::cache()?))
}

fn load(layout: &Layout) -> Result<State, Error> {
    let path = layout.state_file();
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotUp {
                name: layout.name.clone(),
            });
        }
        other => other.map_err(io_error(format!("read {}", path.display())))?,
    };
    serde_json::from_slice(&text).map_err(|source| Error::State { path, source })
}

/// One process at a time starts or stops a cluster. Free again when the file is dropped, also by a `kill -9`.
async fn lock(layout: &Layout, progress: &Progress) -> Result<File, Error> {
    let path = layout.state.with_added_extension("lock");
    let failed = |source| io_error(format!("lock {}", path.display()))(source);
    fs::create_dir_all(&layout.state).map_err(failed)?;
    let file = File::create(&path).map_err(failed)?;
    let deadline = Instant::now() + LOCK_LIMIT;
    let mut waiting = None;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(Error::TooSlow {
                    what: format!("the lock {}", path.display()),
                    limit: LOCK_LIMIT,
                });
            }
            Err(TryLockError::WouldBlock) => {
                waiting.get_or_insert_with(|| progress.step("Waiting for another process that uses the cluster", None));
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }
}

fn admin(layout: &Layout) -> Result<Identity, Error> {
    let read = |file: &str| {
        let path = layout.pki().join(file);
        fs::read_to_string(&path).map_err(io_error(format!("read {}", path.display())))
    };
    Ok(Identity {
        certificate_pem: read("admin.crt")?,
        key_pem: read("admin.key")?,
    })
}

fn admin_client(layout: &Layout, address: SocketAddr) -> Result<Client, Error> {
    Ok(Client::new(address, &Authority::load(&layout.pki())?, &admin(layout)?)?)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether a store on this path would lie on an overlay, which the kernel does not nest.
fn is_nested(path: &Path) -> bool {
    nix::sys::statfs::statfs(path)
        .is_ok_and(|system| system.filesystem_type() == nix::sys::statfs::OVERLAYFS_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_refused_before_anything_is_touched() {
        for name in ["", "Upper", "-dash", "1st", "a/b", "..", "a-name-that-is-far-too-long"] {
            assert!(matches!(layout(name), Err(Error::Name { .. })), "{name}");
        }
    }
}
