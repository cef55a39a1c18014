//! The parts put together.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kompass_core::Pod;
use kompass_kube::{client, convert, object};
use kompass_service::clock::Clock;
use kompass_service::metrics::Registry;
use kompass_service::readiness::{Condition, Readiness};
use kompass_service::server::{self, Server};
use kompass_service::shutdown::{self, Shutdown};
use kompass_service::tls::{self, Live};
use kompass_service::{admin, logging};
use kube::{Api, Client};
use tokio::sync::watch;

use crate::args::{self, Args, Command, Config, Scope};
use crate::gangs::Gangs;
use crate::handler::{self, Admission, Lookup, LookupError};
use crate::profiler::{self, Profiler};
use crate::strangers::Strangers;
use crate::{certificates, check, metrics, probe, registration};

/// Name of the program to the API server.
const PROGRAM: &str = "kompass-admission-webhook";

/// Why the webhook could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options can't be used.
    #[error("failed to use the options")]
    Args(#[from] args::Error),
    /// Logs could not be set up.
    #[error("failed to set up logs")]
    Logging(#[from] logging::Error),
    /// No client of the API server.
    #[error("failed to set up the client of the API server")]
    Client(#[from] client::Error),
    /// An address could not be bound.
    #[error("failed to start a server")]
    Server(#[from] server::Error),
    /// TLS could not be set up.
    #[error("failed to set up TLS")]
    Tls(#[from] tls::Error),
    /// The API server does not call the webhook.
    #[error("failed to see the webhook at work")]
    Check(#[from] check::Error),
    /// It did not end in order.
    #[error("failed to run to an orderly end")]
    Shutdown(#[from] shutdown::Error),
}

/// What has been started.
#[derive(Debug, Clone)]
pub struct Running {
    /// Address of the HTTPS server.
    pub address: SocketAddr,
    /// Address of the administrative server.
    pub admin_address: SocketAddr,
    /// What is missing for the service to be ready.
    pub readiness: Readiness,
    /// The metrics.
    pub registry: Registry,
}

/// Runs the program until it is told to end.
pub async fn run(args: Args) -> Result<(), Error> {
    args.log.init()?;
    if let Some(Command::Check(check)) = &args.command {
        let client = client::connect(check.kubeconfig.as_deref(), PROGRAM).await?;
        return Ok(check::run(&client, check).await?);
    }
    let (timing, kubeconfig) = (args.end.timing(), args.kubeconfig.clone());
    let config = args.resolve()?;
    let client = client::connect(kubeconfig.as_deref(), PROGRAM).await?;
    let readiness = Readiness::new();
    let shutdown = Shutdown::new(&readiness);
    let running = start(config, client, readiness, &shutdown).await?;
    tracing::info!(address = %running.address, admin = %running.admin_address, "serving");
    Ok(shutdown.run(timing).await?)
}

/// Starts all parts as tasks of `shutdown` and returns once both addresses are bound.
pub async fn start(
    config: Config,
    client: Client,
    readiness: Readiness,
    shutdown: &Shutdown,
) -> Result<Running, Error> {
    start_by(Clock::system(), config, client, readiness, shutdown).await
}

/// The same by another clock, for tests of what happens when clocks jump.
pub async fn start_by(
    clock: Clock,
    config: Config,
    client: Client,
    readiness: Readiness,
    shutdown: &Shutdown,
) -> Result<Running, Error> {
    let registry = Registry::with_process();
    let webhook_metrics = metrics::Webhook::register(&registry);
    let profiler_metrics = metrics::Profiler::register(&registry);
    let gangs = Arc::new(Gangs::new());
    registry.before_scrape({
        let (gangs, gauge) = (Arc::clone(&gangs), webhook_metrics.gangs.clone());
        move || gauge.set_count(gangs.len())
    });
    let live = Live::new();
    let server = Server::bind(config.listen)
        .await?
        .with_tls(tls::server_config(Arc::clone(&live))?);
    let admin_server = Server::bind(config.admin_listen).await?;
    let endpoint = config.endpoint.bound_to(server.address().port());
    let running = Running {
        address: server.address(),
        admin_address: admin_server.address(),
        readiness: readiness.clone(),
        registry: registry.clone(),
    };

    let (trust, trusted) = watch::channel(None);
    let (in_force, known_in_force) = watch::channel(None);
    let outlets = certificates::Outlets {
        live,
        trust,
        in_force: config.register.then_some(known_in_force),
        ready: readiness.condition("certificate"),
        metrics: webhook_metrics.clone(),
    };
    let watched = readiness.condition("Spark pods watched");
    let registered = config.register.then(|| {
        (
            readiness.condition("registered"),
            readiness.condition("called by the API server"),
        )
    });

    let admission = Admission {
        rules: config.rules.clone(),
        mode: config.mode,
        gangs: Arc::clone(&gangs),
        lookup: Box::new(ApiLookup(client.clone())),
        strangers: Strangers::default(),
        clock: clock.clone(),
        metrics: webhook_metrics.clone(),
    };
    let critical = |task: BoxFuture<'static, ()>| task.map(Ok::<(), shutdown::TaskError>);
    let draining = || shutdown.draining();
    let routes = handler::router(Arc::new(admission)).merge(probe::router());
    shutdown.spawn("webhook server", critical(server.serve(routes, draining()).boxed()));
    let routes = admin::router(readiness, registry);
    shutdown.spawn(
        "administrative server",
        critical(admin_server.serve(routes, draining()).boxed()),
    );
    let keep = certificates::keep(
        client.clone(),
        config.namespace.clone(),
        config.certificates,
        endpoint.subjects(),
        clock.clone(),
        outlets,
        draining(),
    );
    shutdown.spawn("certificates", critical(keep.boxed()));
    if let Some((registered, reached)) = registered {
        let settings = registration::Settings {
            install: config.install,
            namespace: config.namespace.clone(),
            endpoint,
            excluded_namespaces: config.excluded_namespaces.clone(),
            opt_in: config.scope == Scope::Labelled,
            writers: config.writers,
            owner: config.owner,
        };
        let links = registration::Links {
            trust: trusted,
            in_force,
            registered,
            metrics: webhook_metrics,
        };
        keep_registered(client.clone(), settings, clock.clone(), links, reached, shutdown);
    }
    let settings = profiler::Settings {
        namespace: config.namespace,
        scope: config.scope,
        excluded_namespaces: config.excluded_namespaces,
        mode: config.mode,
        rules: config.rules,
        driver_budget: config.driver_budget,
        conf_hold: config.conf_hold,
        gate_hold: config.gate_hold,
        predictor: config.predictor,
    };
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| PROGRAM.to_owned());
    let profiler = Profiler::new(&client, &instance, settings, clock, gangs, profiler_metrics);
    shutdown.spawn("profiler", profiler.run(client, watched, draining()).boxed());
    Ok(running)
}

/// Starts what keeps the registration right, and what asks the API server whether it works.
fn keep_registered(
    client: Client,
    settings: registration::Settings,
    clock: Clock,
    links: registration::Links,
    reached: Condition,
    shutdown: &Shutdown,
) {
    let (namespace, in_force, metrics) = (
        settings.namespace.clone(),
        links.in_force.subscribe(),
        links.metrics.clone(),
    );
    let probe = probe::keep(
        client.clone(),
        namespace,
        in_force,
        reached,
        metrics,
        shutdown.draining(),
    );
    let keep = registration::keep(client, settings, clock, links, shutdown.draining());
    shutdown.spawn("registration", keep.map(Ok::<(), shutdown::TaskError>).boxed());
    shutdown.spawn("probe", probe.map(Ok::<(), shutdown::TaskError>).boxed());
}

/// Reads drivers from the API server.
struct ApiLookup(Client);

impl Lookup for ApiLookup {
    fn driver<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Pod>, LookupError>> {
        async move {
            let api = Api::<object::Pod>::namespaced(self.0.clone(), namespace);
            let pod = api.get_opt(name).await.map_err(|error| LookupError(error.into()))?;
            let pod = pod
                .map(convert::pod)
                .transpose()
                .map_err(|error| LookupError(error.into()))?;
            Ok(pod.map(|(pod, _warnings)| pod))
        }
        .boxed()
    }
}
