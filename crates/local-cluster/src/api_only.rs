//! A control plane without a node: etcd, API server, controller manager and schedulers on free loopback ports.
//!
//! For tests and benchmarks. Several run side by side. Whatever ends the owner, nothing stays for ever: a cluster is
//! removed when it is dropped, and one whose owner was killed is removed when the next one starts.

mod components;
mod folder;
mod scheduler;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{self, Client};
use crate::kwok;
use crate::pki::{self, Authority, Identity, MASTERS};
use crate::process::{self, Daemon, Record, STOP_LIMIT};
use crate::programs::{self, Module, Program, Programs};
use crate::progress::Progress;
use folder::Folder;

/// How long one component has to be ready. An idle machine needs a twentieth; a busy one may need much more.
const READY_LIMIT: Duration = Duration::from_mins(2);
/// How often a component is started again because its port was taken meanwhile.
const PORT_ATTEMPTS: usize = 5;
/// How long `kubectl` may take.
const KUBECTL_LIMIT: Duration = Duration::from_mins(2);
/// The API server waits for open requests when it is told to stop. Nothing in a cluster that is thrown away is worth it.
const API_SERVER_STOP_LIMIT: Duration = Duration::from_secs(3);

/// Why a control plane could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs cannot be had.
    #[error("failed to get the programs of the control plane")]
    Programs(#[from] programs::Error),
    /// There is no place for the state.
    #[error("failed to find the folder of clusters")]
    Directory(#[from] crate::directories::Error),
    /// A file or folder cannot be used.
    #[error("failed to use {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// No key, certificate or kubeconfig.
    #[error("failed to make the keys of the control plane")]
    Pki(#[from] pki::Error),
    /// A component does not start or stop.
    #[error("failed to run a component of the control plane")]
    Process(#[from] process::Error),
    /// The API server refuses or does not answer.
    #[error("failed to use the API server")]
    Client(#[from] client::Error),
    /// All ports are taken.
    #[error("failed to find a free port for {name}")]
    Port {
        /// The component.
        name: String,
    },
    /// The scheduler's configuration is not YAML.
    #[error("failed to read the configuration of scheduler {name}")]
    SchedulerConfiguration {
        /// The scheduler.
        name: String,
        /// What is wrong with it.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// The scheduler's configuration is YAML, but not a mapping.
    #[error("failed to read the configuration of scheduler {name}: it is not a mapping")]
    SchedulerConfigurationKind {
        /// The scheduler.
        name: String,
    },
    /// `kubectl` ended with an error.
    #[error("failed to run kubectl {arguments}: {message}")]
    Kubectl {
        /// What it was asked.
        arguments: String,
        /// What it said.
        message: String,
    },
    /// KWOK cannot be started or its nodes cannot be made.
    #[error("failed to set up nodes that only exist in the API")]
    Kwok(#[from] kwok::Error),
}

/// What to start, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Start a controller manager. Without it there are no service accounts, no Jobs, no garbage collection, and a node
    /// is ready when its object says so.
    pub controller_manager: bool,
    /// Start the scheduler of the name `default-scheduler`.
    pub default_scheduler: bool,
    /// Each new node carries the taint `not-ready` until the controller manager has seen it ready, as in any cluster. That
    /// takes some 15 s for a thousand nodes; without it, nodes that are [`kwok::Shape::ready_at_once`] can be used at
    /// once. Never done without a controller manager, which alone takes the taint away.
    pub new_nodes_tainted: bool,
    /// More flags of the API server, for example `--max-requests-inflight=3000`.
    pub api_server_flags: Vec<String>,
    /// More flags of the controller manager.
    pub controller_manager_flags: Vec<String>,
    /// More flags of the default scheduler.
    pub scheduler_flags: Vec<String>,
    /// Requests per second that controller manager and default scheduler allow themselves; bursts are twice that.
    pub client_qps: u32,
    /// How long a node may be silent before the controller manager calls it not ready.
    pub node_grace: Duration,
    /// Where long steps are shown.
    pub progress: Progress,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_manager: true,
            default_scheduler: true,
            new_nodes_tainted: true,
            api_server_flags: Vec::new(),
            controller_manager_flags: Vec::new(),
            scheduler_flags: Vec::new(),
            // The programs' own limits (20 to 50) are for clusters that share an API server with others.
            client_qps: 1_000,
            node_grace: Duration::from_secs(50),
            progress: Progress::auto(),
        }
    }
}

/// How long each part of a start took; the programs were there before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Keys, folder, etcd answers.
    pub store: Duration,
    /// The API server is ready, from the start of all.
    pub api_server: Duration,
    /// Pods may be created and are scheduled, from the start of all.
    pub ready: Duration,
}

/// A running control plane. Dropping it kills its processes and removes its folder; [`Cluster::stop`] does so gently.
// The fields are dropped in this order: processes first, their folder last.
#[derive(Debug)]
pub struct Cluster {
    default_scheduler: Option<Daemon>,
    controller_manager: Option<Daemon>,
    api_server: Daemon,
    etcd: Daemon,
    address: SocketAddr,
    client: Client,
    authority: Authority,
    admin: Identity,
    kubeconfig: PathBuf,
    programs: Programs,
    progress: Progress,
    timings: Timings,
    folder: Folder,
}

impl Cluster {
    /// Starts a control plane and waits until it is ready: the API server says so, and with a controller manager the
    /// `default` service account exists, before which no pod can be created.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let programs = programs::ensure(&[Module::Etcd, Module::Kubernetes], &options.progress).await?;
        let started = Instant::now();
        let folder = Folder::create().await?;
        let authority = Authority::new()?;
        let authority_file = authority.save(&folder.pki())?;
        let (etcd, etcd_address) = components::start_etcd(&programs, &folder).await?;
        let store = started.elapsed();

        let admin = authority.client("admin", &[MASTERS])?;
        let server = components::ApiServer {
            programs: &programs,
            folder: &folder,
            authority: &authority,
            authority_file: &authority_file,
            admin: &admin,
            etcd: etcd_address,
            options: &options,
        };
        let (api_server, address, client) = server.start().await?;
        let api_server_ready = started.elapsed();
        let kubeconfig = folder.kubeconfig("admin");
        pki::write_kubeconfig(&kubeconfig, &url(address), &authority, "admin", &admin)?;
        let mut cluster = Self {
            default_scheduler: None,
            controller_manager: None,
            api_server,
            etcd,
            address,
            client,
            authority,
            admin,
            kubeconfig,
            programs,
            progress: options.progress.clone(),
            timings: Timings::default(),
            folder,
        };
        if options.controller_manager {
            cluster.controller_manager = Some(cluster.start_controller_manager(&options, &authority_file)?);
        }
        if options.default_scheduler {
            cluster.default_scheduler = Some(cluster.start_default_scheduler(&options).await?);
        }
        cluster.wait_for_default_service_account().await?;
        cluster.timings = Timings {
            store,
            api_server: api_server_ready,
            ready: started.elapsed(),
        };
        Ok(cluster)
    }

    /// The kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Writes the kubeconfig of any user, known to the API server by a client certificate.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        let identity = self.authority.client(user, groups)?;
        let path = self.folder.kubeconfig(user);
        pki::write_kubeconfig(&path, &url(self.address), &self.authority, user, &identity)?;
        Ok(path)
    }

    /// A plain client with all rights.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// A client with the same certificate for another server of this cluster, for example the metrics of a scheduler at
    /// its [`Daemon::address`].
    pub fn client_of(&self, address: SocketAddr) -> Result<Client, Error> {
        Ok(Client::new(address, &self.authority, &self.admin)?)
    }

    /// The authority of this cluster, for example to make the certificate of a webhook.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Where the API server listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long the start took.
    pub const fn timings(&self) -> Timings {
        self.timings
    }

    /// Logs, keys and data; removed with the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The API server.
    pub const fn api_server(&mut self) -> &mut Daemon {
        &mut self.api_server
    }

    /// The store.
    pub const fn etcd(&mut self) -> &mut Daemon {
        &mut self.etcd
    }

    /// The controller manager, when there is one.
    pub const fn controller_manager(&mut self) -> Option<&mut Daemon> {
        self.controller_manager.as_mut()
    }

    /// The default scheduler, when there is one.
    pub const fn default_scheduler(&mut self) -> Option<&mut Daemon> {
        self.default_scheduler.as_mut()
    }

    /// Starts KWOK, which plays the kubelets of nodes made by [`kwok::fake_nodes`].
    pub async fn start_kwok(&self, options: &kwok::Options) -> Result<Daemon, Error> {
        let programs = programs::ensure(&[Module::Kwok], &self.progress).await?;
        let kubeconfig = self.kubeconfig_for("kwok", &[MASTERS])?;
        self.on_free_port("kwok", async |address| {
            let spec = kwok::spec(&programs, &kubeconfig, self.folder.path(), address, options)?;
            let mut daemon = Daemon::start(spec.recorded_in(self.folder.records()))?;
            let probe = Client::plain(address);
            daemon
                .ready(READY_LIMIT, || async { probe.get_text("/healthz").await.is_ok() })
                .await?;
            Ok(daemon)
        })
        .await
    }

    /// Creates `count` nodes that only exist in the API. They are ready soon after with KWOK; at once with
    /// [`kwok::Shape::ready_at_once`].
    pub async fn add_fake_nodes(&self, count: usize, shape: &kwok::Shape) -> Result<(), Error> {
        let nodes = kwok::fake_nodes(count, shape);
        self.client.create_all("/api/v1/nodes", nodes, 32).await?;
        Ok(())
    }

    /// Runs `kubectl` with all rights and returns its standard output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        let failed = |message: String| Error::Kubectl {
            arguments: arguments.join(" "),
            message,
        };
        let run = tokio::process::Command::new(self.programs.path(Program::Kubectl)?)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(KUBECTL_LIMIT, run)
            .await
            .map_err(|_| failed("no end within two minutes".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
    }

    /// Stops everything, also daemons that were started for this cluster and are still held, and removes its folder.
    /// Good when some or all of it was killed before.
    pub async fn stop(mut self) -> Result<(), Error> {
        // What speaks to the API server first, then what it speaks to.
        let own = [self.api_server.pid(), self.etcd.pid()];
        let records = Record::load_all(&self.folder.records())?;
        let clients = records.iter().filter(|record| !own.contains(&record.pid));
        futures::future::try_join_all(clients.map(|record| record.stop(STOP_LIMIT))).await?;
        self.api_server.stop(API_SERVER_STOP_LIMIT).await?;
        self.etcd.stop(STOP_LIMIT).await?;
        Ok(())
    }

    async fn wait_for_default_service_account(&mut self) -> Result<(), Error> {
        let Some(controller_manager) = &mut self.controller_manager else {
            return Ok(());
        };
        let client = &self.client;
        let exists = || async {
            client
                .get("/api/v1/namespaces/default/serviceaccounts/default")
                .await
                .is_ok_and(|account: Value| account["metadata"]["uid"].is_string())
        };
        controller_manager.ready(READY_LIMIT, exists).await?;
        Ok(())
    }

    /// Starts something on a free port, again on another one when somebody else was faster.
    async fn on_free_port<F>(&self, name: &str, start: F) -> Result<Daemon, Error>
    where
        F: AsyncFn(SocketAddr) -> Result<Daemon, Error>,
    {
        components::on_free_port(name, async |address| start(address).await).await
    }
}

fn url(address: SocketAddr) -> String {
    format!("https://{address}")
}
