//! The scheduler extender: plans gangs, opens their gates, answers kube-scheduler.
//!
//! ```text
//!  API server ── watches ──> feed ──┐                      ┌── handlers <── kube-scheduler: Filter, Bind, Preempt
//!                                   ├──> planner (a lock) ─┤
//!  API server <── orders, demand <──┴── planning loop      └── /v1/gangs, /v1/queues
//! ```
//!
//! All decisions are made by the pure [`kompass_planner::Planner`]; here are its senses and hands. Nothing is kept that
//! could not be read again from the API server: a service that is killed at any moment is rebuilt from there.

pub mod args;
pub mod bind;
pub mod demand;
pub mod explain;
#[cfg(test)]
mod fake;
mod feed;
pub mod finished;
pub mod handlers;
pub mod metrics;
pub mod orders;
pub mod planning;
pub mod pulse;
pub mod queue_file;
pub mod scheduler_config;
pub mod state;
pub mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use kompass_kube::lease::{self, Claim};
use kompass_kube::{client, events, watch as feeds};
use kompass_planner::Planner;
use kompass_service::clock::Clock;
use kompass_service::metrics::Registry;
use kompass_service::readiness::Readiness;
use kompass_service::server::Server;
use kompass_service::shutdown::{Shutdown, TaskError, Timing};
use kompass_service::{admin, tls};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::args::{Cli, Command, Config};
use crate::demand::Demands;
use crate::explain::Explainer;
use crate::metrics::Metrics;
use crate::orders::Tools;
use crate::queue_file::QueueFile;
use crate::state::App;

/// Our name in requests and events.
const PROGRAM: &str = "kompass-scheduler-extender";

/// The program: reads the command line and does what it says.
pub async fn run() -> anyhow::Result<()> {
    tls::install_crypto_provider();
    let cli = Cli::parse();
    if let Some(Command::PrintSchedulerConfig(arguments)) = cli.command {
        use std::io::Write as _;
        return std::io::stdout()
            .write_all(arguments.render().as_bytes())
            .context("failed to write to the output");
    }
    cli.serve.log.init()?;
    Service::start(cli.serve.resolve()?).await?.run().await
}

/// A running extender.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    admin_address: SocketAddr,
    readiness: Readiness,
    shutdown: Shutdown,
    timing: Timing,
    app: Arc<App>,
}

impl Service {
    /// Binds the ports and starts all tasks. Ready later, see [`ready`](Self::ready).
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        // First of all: with wrong rules nothing may start.
        let queue_file = open(config.queues.as_deref()).await?;
        let client = client::connect(config.kubeconfig.as_deref(), PROGRAM).await?;
        let server = Server::bind(config.listen).await?;
        let admin_server = Server::bind(config.admin_listen).await?;
        let view_server = match config.view_listen {
            Some(address) => Some(Server::bind(address).await?),
            None => None,
        };
        let (address, admin_address) = (server.address(), admin_server.address());

        let readiness = Readiness::new();
        let synced = readiness.condition("pods, nodes, quotas and namespaces listed");
        let shutdown = Shutdown::new(&readiness);
        let registry = Registry::with_process();
        let metrics = Metrics::register(&registry);

        // The lease outlives the planning: it is given back when the last order is done.
        let planning_done = CancellationToken::new();
        let claim = hold_lease(&config, &client, &shutdown, &planning_done)?;
        let app = App::new(
            Planner::new(config.planner),
            client.clone(),
            config.limits,
            metrics.clone(),
            shutdown.clone(),
            claim,
            Clock::system(),
        );
        if let Some(file) = &queue_file {
            file.install(&app);
        }
        let shown = Arc::downgrade(&app);
        registry.before_scrape(move || {
            if let Some(app) = shown.upgrade() {
                let (summary, now_ms) = app.planner(|planner, now_ms| (planner.summary(), now_ms));
                app.metrics.show(&summary, now_ms);
            }
        });

        let recorder = events::Recorder::new(client.clone(), "kompass.dev/scheduler-extender", &config.identity);
        let (explainer, explaining) = Explainer::start(recorder, metrics, shutdown.draining());
        let demands = Demands::new(&app);
        let tools = Arc::new(Tools {
            app: Arc::clone(&app),
            demands: demands.clone(),
            explainer,
        });
        let (stand_ins, unseen) = mpsc::channel(demand::MARK_QUEUE);
        let (changes, watching) = feeds::cluster(&client);

        let draining = || shutdown.draining();
        spawn(&shutdown, "events", explaining);
        spawn(
            &shutdown,
            "planning",
            planning::run(tools, shutdown.terminating(), planning_done),
        );
        spawn(
            &shutdown,
            "demand",
            demand::run(Arc::clone(&app), demands, unseen, draining()),
        );
        spawn(&shutdown, "pulse", pulse::run(Arc::clone(&app), draining()));
        if let Some(file) = queue_file {
            let following = file.follow(Arc::clone(&app), queue_file::INTERVAL, draining());
            spawn(&shutdown, "queue file", following);
        }
        let ended = draining();
        spawn(&shutdown, "watches", async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = watching => {}
            }
        });
        shutdown.spawn(
            "feed",
            feed::run(Arc::clone(&app), changes, stand_ins, synced, draining()),
        );
        let admin_router = admin::router(readiness.clone(), registry);
        let router = handlers::router(Arc::clone(&app)).merge(admin_router.clone());
        spawn(&shutdown, "server", server.serve(router, draining()));
        if let Some(server) = view_server {
            let view = handlers::view(Arc::clone(&app));
            spawn(&shutdown, "view server", server.serve(view, draining()));
        }
        spawn(&shutdown, "admin server", admin_server.serve(admin_router, draining()));
        tracing::info!(%address, %admin_address, "serving");
        Ok(Self {
            address,
            admin_address,
            readiness,
            shutdown,
            timing: config.timing,
            app,
        })
    }

    /// Where kube-scheduler finds the extender.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where probes and metrics are.
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Waits until the cluster is known. The caller bounds the wait.
    pub async fn ready(&self) {
        self.readiness.ready().await;
    }

    /// Asks it to end, e.g. from another task, beside SIGTERM.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// The shared state, for tests that look inside.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Runs until a signal or the death of a task, then ends in order.
    pub async fn run(self) -> anyhow::Result<()> {
        Ok(self.shutdown.run(self.timing).await?)
    }
}

async fn open(path: Option<&Path>) -> anyhow::Result<Option<QueueFile>> {
    let Some(path) = path else { return Ok(None) };
    let opened = QueueFile::open(path.to_owned()).await;
    let opened = opened.with_context(|| format!("failed to use --queues {}", path.display()))?;
    Ok(Some(opened))
}

fn spawn(shutdown: &Shutdown, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    shutdown.spawn(name, async move {
        task.await;
        Ok::<(), TaskError>(())
    });
}

/// Runs for the lease, or claims for ever where there is none, until `end`.
fn hold_lease(
    config: &Config,
    client: &kube::Client,
    shutdown: &Shutdown,
    end: &CancellationToken,
) -> Result<watch::Receiver<Claim>, lease::Error> {
    let end = end.clone();
    if let Some(lease) = &config.lease {
        let (claim, running) = lease::run(client.clone(), lease.clone(), end)?;
        spawn(shutdown, "lease", running);
        return Ok(claim);
    }
    let (sender, claim) = watch::channel(Claim::unconditional());
    spawn(shutdown, "lease", async move {
        end.cancelled().await;
        drop(sender);
    });
    Ok(claim)
}
