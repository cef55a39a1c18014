//! KOMPASS on an api-only cluster: real API server, controller manager and schedulers, KWOK's nodes, and the two
//! services as processes of their own, which a test may kill, stop and start again.

mod logs;
mod objects;
mod services;

use std::net::SocketAddr;
use std::time::Duration;

use kompass_local_cluster::api_only::{Cluster, Options as ClusterOptions};
use kompass_local_cluster::kompass::{MANIFESTS, Service};
use kompass_local_cluster::kwok;
use kompass_local_cluster::ports::free_address;
use kompass_local_cluster::process::Daemon;
use kompass_local_cluster::progress::Progress;
use kube::Client;

use crate::fault_proxy::FaultProxy;
use logs::Logs;
pub use services::Replica;

/// The namespace that the tests' jobs run in.
pub const JOBS: &str = "jobs";
/// How long a service may take until it is ready; a busy machine needs much more than an idle one.
const READY_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a part of the cluster that is there or not"
)]
pub struct Options {
    /// Nodes, played by KWOK.
    pub nodes: usize,
    /// Start KWOK. Without it nodes are declared ready and pods stay pending once they are bound, at no cost: for
    /// thousands of nodes, and without a controller manager, which would find the nodes dead.
    pub kwok: bool,
    /// Thousandths of a CPU that each has.
    pub node_cpu_milli: u64,
    /// Start the webhook.
    pub webhook: bool,
    /// Start the extender and its kube-scheduler.
    pub extender: bool,
    /// More arguments of the webhook.
    pub webhook_args: Vec<String>,
    /// More arguments of the extender.
    pub extender_args: Vec<String>,
    /// Put a [`FaultProxy`] between each service and the API server.
    pub faults: bool,
    /// KOMPASS's kube-schedulers elect a leader: there will be several.
    pub leader_election: bool,
    /// How the control plane runs.
    pub cluster: ClusterOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 4,
            kwok: true,
            node_cpu_milli: 4_000,
            webhook: true,
            extender: true,
            webhook_args: Vec::new(),
            extender_args: Vec::new(),
            faults: false,
            leader_election: false,
            cluster: ClusterOptions {
                progress: Progress::lines(),
                ..ClusterOptions::default()
            },
        }
    }
}

/// A running cluster with KOMPASS in it.
#[expect(missing_debug_implementations, reason = "the client has none")]
pub struct Deployment {
    /// The extender, while it runs.
    pub extender: Option<Daemon>,
    /// The webhook, while it runs.
    pub webhook: Option<Daemon>,
    /// KOMPASS's kube-scheduler, while it runs.
    pub scheduler: Option<Daemon>,
    kwok: Option<Daemon>,
    client: Client,
    options: Options,
    extender_address: SocketAddr,
    extender_admin: SocketAddr,
    webhook_address: SocketAddr,
    webhook_admin: SocketAddr,
    proxies: Option<Proxies>,
    // Before the cluster, which takes the logs with it.
    _logs: Logs,
    cluster: Cluster,
}

#[derive(Debug)]
struct Proxies {
    extender: FaultProxy,
    webhook: FaultProxy,
}

impl Deployment {
    /// Starts everything that `options` ask for and waits until it is ready.
    ///
    /// # Errors
    /// What did not start, with the last lines of its log.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        // Every test awaits it, and it is large.
        Box::pin(Self::start_all(options)).await
    }

    async fn start_all(options: Options) -> anyhow::Result<Self> {
        let cluster = Cluster::start(options.cluster.clone()).await?;
        let client = kompass_kube::client::connect(Some(cluster.kubeconfig()), "kompass-tests").await?;
        let kwok = if options.kwok {
            Some(cluster.start_kwok(&kwok::Options::default()).await?)
        } else {
            None
        };
        let manifests = cluster.folder().join("kompass.yaml");
        std::fs::write(&manifests, MANIFESTS)?;
        cluster
            .kubectl(&["apply", "--filename", &manifests.display().to_string()])
            .await?;
        let mut deployment = Self {
            extender: None,
            webhook: None,
            scheduler: None,
            kwok,
            client,
            extender_address: free_address()?,
            extender_admin: free_address()?,
            webhook_address: free_address()?,
            webhook_admin: free_address()?,
            proxies: if options.faults {
                Some(proxies(&cluster).await?)
            } else {
                None
            },
            options,
            _logs: Logs(cluster.folder().join("logs")),
            cluster,
        };
        deployment.create_namespace(JOBS).await?;
        deployment
            .add_nodes("node", deployment.options.nodes, deployment.options.node_cpu_milli)
            .await?;
        if deployment.options.extender {
            deployment.start_extender().await?;
            deployment.start_scheduler().await?;
        }
        if deployment.options.webhook {
            deployment.start_webhook().await?;
        }
        Ok(deployment)
    }

    /// A client with all rights.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The cluster below.
    pub const fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Where the extender listens.
    pub const fn extender_address(&self) -> SocketAddr {
        self.extender_address
    }

    /// Where the extender tells of its health and its metrics.
    pub const fn extender_admin(&self) -> SocketAddr {
        self.extender_admin
    }

    /// Where the webhook listens, with TLS.
    pub const fn webhook_address(&self) -> SocketAddr {
        self.webhook_address
    }

    /// Where the webhook tells of its health and its metrics.
    pub const fn webhook_admin(&self) -> SocketAddr {
        self.webhook_admin
    }

    /// What stands between the extender and the API server.
    ///
    /// # Panics
    /// Without [`Options::faults`].
    pub fn extender_faults(&self) -> &FaultProxy {
        &self
            .proxies
            .as_ref()
            .expect("the deployment was started without faults")
            .extender
    }

    /// What stands between the webhook and the API server.
    ///
    /// # Panics
    /// Without [`Options::faults`].
    pub fn webhook_faults(&self) -> &FaultProxy {
        &self
            .proxies
            .as_ref()
            .expect("the deployment was started without faults")
            .webhook
    }

    /// A page of one of the services.
    ///
    /// # Errors
    /// No answer, or a status that is no success.
    pub async fn get(&self, address: SocketAddr, path: &str) -> anyhow::Result<String> {
        crate::http::get(address, path).await
    }

    /// Stops everything.
    ///
    /// # Errors
    /// What could not be stopped, or a panic in the log of a service.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let logs = self.logs()?;
        let panic = logs.lines().find(|line| line.contains("panicked at"));
        anyhow::ensure!(panic.is_none(), "a service has panicked: {panic:?}");
        let daemons = [
            &mut self.webhook,
            &mut self.scheduler,
            &mut self.extender,
            &mut self.kwok,
        ];
        for daemon in daemons.into_iter().flatten() {
            daemon.stop(STOP_LIMIT).await?;
        }
        self.cluster.stop().await?;
        Ok(())
    }
}

async fn proxies(cluster: &Cluster) -> anyhow::Result<Proxies> {
    let [all, own] = Service::groups();
    let groups = [all.as_str(), own.as_str()];
    Ok(Proxies {
        extender: FaultProxy::start(cluster, &Service::SchedulerExtender.user(), &groups).await?,
        webhook: FaultProxy::start(cluster, &Service::AdmissionWebhook.user(), &groups).await?,
    })
}
