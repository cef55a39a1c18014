//! The predictor: learns from the past how long jobs run, and how many empty nodes are worth their money.
//!
//! ```text
//!  Prometheus ──> training (once a day): the past ──> model: the rule that would have cost least ──┐
//!      └────────> ticking (5 minutes): the last day ──> tick: decide, judge, run times, outlook <──┘
//!                                                          └──> /v1/decisions, /v1/runtime, /v1/forecast, metrics
//! ```
//!
//! Decisions are told (`observe`), shown as a recommendation for others to follow (`recommend`), or carried out (`act`,
//! [`act`]).
//! What it was learned from is kept on disk where there is a folder for it ([`kept`], [`shelf`]), and read again from
//! Prometheus after a restart in any case.
//!
//! [`hold`] holds nodes empty where no floor of a node group does.
//!
//! Pure are [`past`], [`arrivals`], [`choice`], [`contest`], [`model`], [`decide`], [`judge`], [`outlook`], [`follow`], [`kept`], [`schedule`], [`certain`] and [`tick`]: the time is an argument.

pub mod act;
pub mod args;
pub mod arrivals;
pub mod certain;
pub mod choice;
pub mod contest;
pub mod decide;
pub mod follow;
pub mod forecast_metrics;
pub mod handlers;
pub mod hold;
pub mod judge;
pub mod kept;
pub mod metrics;
pub mod model;
pub mod outlook;
pub mod past;
pub mod schedule;
mod scheduled;
pub mod schedules;
pub mod settings;
pub mod shelf;
pub mod state;
pub mod tick;
pub mod ticking;
pub mod training;

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser as _;
use kompass_expander::Expander;
use kompass_kube::client;
use kompass_kube::lease::{self, Claim};
use kompass_service::clock::Clock;
use kompass_service::metrics::Registry;
use kompass_service::readiness::Readiness;
use kompass_service::server::Server;
use kompass_service::shutdown::{Shutdown, TaskError, Timing};
use kompass_service::{admin, tls};
use tokio::sync::watch;

use crate::act::board::Board;
use crate::act::feed::{self, Shared};
use crate::act::machines::{self, Machines};
use crate::act::metrics::ActMetrics;
use crate::act::options::With;
use crate::act::{Act, Parts};
use crate::args::{Args, Config};
use crate::metrics::Metrics;
use crate::state::{Acting, App};

/// In the folder of the model: what machines cost and how long they boot.
const FACTS_FILE: &str = "machines.json";

/// The program: reads the command line and does what it says.
pub async fn run() -> anyhow::Result<()> {
    tls::install_crypto_provider();
    let args = Args::parse();
    args.log.init()?;
    Service::start(args.resolve()?, Clock::system()).await?.run().await
}

/// A running predictor.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    admin_address: SocketAddr,
    expander_address: Option<SocketAddr>,
    readiness: Readiness,
    shutdown: Shutdown,
    timing: Timing,
}

impl Service {
    /// Binds the ports and starts all tasks. Ready later.
    pub async fn start(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let server = Server::bind(config.listen).await?;
        let admin_server = Server::bind(config.admin_listen).await?;
        let (address, admin_address) = (server.address(), admin_server.address());
        let timing = config.ending;

        let readiness = Readiness::new();
        let learned = readiness.condition("learned from the past");
        let shutdown = Shutdown::new(&readiness);
        let registry = Registry::with_process();
        let cluster = cluster(&config).await?;
        let claim = claim(cluster.as_ref(), &config, &shutdown)?;
        let acting = config.act.as_ref().map(|_| Acting {
            metrics: ActMetrics::register(&registry),
        });
        let metrics = Metrics::register(&registry, config.mode);
        let app = App::new(config.clone(), clock, metrics, acting, claim);
        let shown = Arc::downgrade(&app);
        registry.before_scrape(move || {
            if let Some(app) = shown.upgrade() {
                app.show();
            }
        });

        let draining = || shutdown.draining();
        let board = Arc::new(Board::default());
        if let Some(cluster) = &cluster {
            start_acting(&app, cluster, &board, &shutdown).await?;
        }
        let mut expander_address = None;
        if let Some(expander) = config.expander.clone() {
            let metrics = kompass_expander::Metrics::register(&registry);
            let expander = Expander::bind(expander, board, metrics).await?;
            expander_address = Some(expander.address());
            tracing::info!(expander_address = %expander.address(), "answering cluster-autoscaler");
            spawn(&shutdown, "expander", expander.serve(draining()));
        }
        if let Some(cluster) = cluster.filter(|_| config.schedules) {
            let reading = schedules::run(Arc::clone(&app), cluster, draining());
            spawn(&shutdown, "schedules", reading);
        }
        let ticking = ticking::run(Arc::clone(&app), draining());
        shutdown.spawn("ticking", ticking);
        spawn(
            &shutdown,
            "training",
            training::run(Arc::clone(&app), learned, draining()),
        );
        let admin_router = admin::router(readiness.clone(), registry);
        let router = handlers::router(app).merge(admin_router.clone());
        spawn(&shutdown, "server", server.serve(router, draining()));
        spawn(&shutdown, "admin server", admin_server.serve(admin_router, draining()));
        tracing::info!(%address, %admin_address, "serving");
        Ok(Self {
            address,
            admin_address,
            expander_address,
            readiness,
            shutdown,
            timing,
        })
    }

    /// Where the API is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where probes and metrics are.
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where cluster-autoscaler is answered, if it is.
    pub const fn expander_address(&self) -> Option<SocketAddr> {
        self.expander_address
    }

    /// What is missing for the service to be ready.
    pub const fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Asks it to end, e.g. from another task, beside SIGTERM.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Runs until a signal or the death of a task, then ends in order.
    pub async fn run(self) -> anyhow::Result<()> {
        Ok(self.shutdown.run(self.timing).await?)
    }
}

/// The cluster, where something of it is needed.
async fn cluster(config: &Config) -> Result<Option<kube::Client>, client::Error> {
    if config.lease.is_none() && !config.schedules {
        return Ok(None);
    }
    client::connect(config.kubeconfig.as_deref(), "kompass-predictor")
        .await
        .map(Some)
}

/// What holds nodes, where they are to be held.
async fn start_acting(
    app: &Arc<App>,
    cluster: &kube::Client,
    board: &Arc<Board>,
    shutdown: &Shutdown,
) -> Result<(), kompass_aws::Error> {
    let (Some(options), Some(acting)) = (app.config.act.clone(), &app.act) else {
        return Ok(());
    };
    let metrics = acting.metrics.clone();
    let view = Shared::default();
    let machines = Machines::default();
    let feeding = feed::run(cluster.clone(), view.clone(), shutdown.draining());
    spawn(shutdown, "feed", feeding);
    let aws = match options.with {
        With::Floors => Some(act::aws(&options, &metrics).await?),
        With::Buffers | With::PausePods => None,
    };
    if let Some(aws) = aws.clone() {
        let keeper = machines::Keeper {
            machines: machines.clone(),
            view: view.clone(),
            path: app.config.model_dir.as_ref().map(|folder| folder.join(FACTS_FILE)),
            clock: app.clock.clone(),
            boot_seconds: metrics.boot_seconds.clone(),
        };
        spawn(shutdown, "machines", keeper.run(aws, shutdown.draining()));
    }
    let parts = Parts {
        app: Arc::clone(app),
        metrics,
        options,
        cluster: cluster.clone(),
        view,
        machines,
        board: Arc::clone(board),
    };
    let act = Act::new(parts, aws.as_ref());
    spawn(shutdown, "act", act.run(shutdown.draining()));
    Ok(())
}

/// Runs for the lease, if there is one. It is given back at the end, before the ports close.
fn claim(
    cluster: Option<&kube::Client>,
    config: &Config,
    shutdown: &Shutdown,
) -> Result<Option<watch::Receiver<Claim>>, lease::Error> {
    let (Some(cluster), Some(lease)) = (cluster, &config.lease) else {
        return Ok(None);
    };
    let (claim, running) = lease::run(cluster.clone(), lease.clone(), shutdown.draining())?;
    spawn(shutdown, "lease", running);
    Ok(Some(claim))
}

fn spawn(shutdown: &Shutdown, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    shutdown.spawn(name, async move {
        task.await;
        Ok::<(), TaskError>(())
    });
}
