//! The way to the extender's `/v1/gangs`, wherever it runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use kompass_core::names;
use kompass_local_cluster::full::forward::Forwarder;
use kompass_local_cluster::full::{self, Cluster};
use kompass_local_cluster::kompass::Service;
use kompass_local_cluster::progress::Progress;

use crate::gangs::{self, Answer, Gang};
use crate::local::{self, services};
use crate::page;

const GANGS: &str = "/v1/gangs";

/// Which extender to ask, and where it is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// Local cluster whose extender is asked.
    #[arg(long, env = "KOMPASS_CLUSTER", default_value = local::DEFAULT_NAME, value_name = "NAME")]
    cluster: String,
    /// Ask the extender of this cluster instead, through its API server.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of KOMPASS's own objects there.
    #[arg(long, env = "KOMPASS_NAMESPACE", default_value = names::DEFAULT_NAMESPACE, value_name = "NAME")]
    kompass_namespace: String,
    /// Ask the extender at this address instead.
    #[arg(long, env = "KOMPASS_EXTENDER", value_name = "HOST:PORT")]
    extender: Option<SocketAddr>,
}

/// A way to one extender.
pub(crate) enum Connection {
    /// Its own address.
    Direct(SocketAddr),
    /// A door into a local cluster's network, open as long as this is held.
    Door(Forwarder),
    /// Through the API server, with the rights of a kubeconfig.
    Proxied(kube::Client, String),
}

impl Place {
    /// Finds the way.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        if let Some(address) = self.extender {
            return Ok(Connection::Direct(address));
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            let client = kompass_kube::client::connect(Some(kubeconfig), "kompass").await?;
            return Ok(Connection::Proxied(client, self.kompass_namespace.clone()));
        }
        if let Some(held) = local::api_only::find(&self.cluster)? {
            let address = held.extender.context("the local cluster runs without KOMPASS")?;
            return Ok(Connection::Direct(address));
        }
        match Cluster::attach(&self.cluster, &Progress::silent()).await {
            Ok(cluster) => of_cluster(&cluster),
            Err(error @ (full::Error::NotUp { .. } | full::Error::NotRoot)) => Err(anyhow::Error::new(error).context(
                "failed to find an extender: start a local cluster with `kompass local up`, or name another cluster with \
                 --kubeconfig FILE",
            )),
            Err(error) => Err(error.into()),
        }
    }
}

/// The way to the extender of a local cluster.
pub(crate) fn of_cluster(cluster: &Cluster) -> anyhow::Result<Connection> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let door = Forwarder::start(any_port, &cluster.network_namespace(), services::EXTENDER)?;
    Ok(Connection::Door(door))
}

impl Connection {
    /// All that the extender tells of its gangs.
    pub(crate) async fn gangs(&self) -> anyhow::Result<Answer> {
        gangs::answer(&self.get(GANGS).await?)
            .context("failed to read the extender's list of gangs: it is of another version")
    }

    /// One gang by its driver; none when it has ended, an error when the extender doesn't know it.
    pub(crate) async fn gang(&self, namespace: &str, driver: &str) -> anyhow::Result<Option<Gang>> {
        let text = self.get(&format!("{GANGS}/{namespace}/{driver}")).await?;
        gangs::one(&text).context("failed to read the extender's words about a gang: it is of another version")
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let address = match self {
            Self::Direct(address) => *address,
            Self::Door(door) => door.address(),
            Self::Proxied(client, namespace) => return proxied(client, namespace, path).await,
        };
        let asked = page::get(address, path).await;
        asked.context("failed to ask the extender: it does not run, or is not ready; `kompass local status` tells more")
    }
}

/// Asks through the API server, which forwards to the extender's Service.
async fn proxied(client: &kube::Client, namespace: &str, path: &str) -> anyhow::Result<String> {
    let service = Service::SchedulerExtender.name();
    let url = format!("/api/v1/namespaces/{namespace}/services/{service}:http/proxy{path}");
    let request = http::Request::get(url).body(Vec::new())?;
    let asked = kompass_kube::client::within(kompass_kube::client::REQUEST_TIMEOUT, client.request_text(request));
    asked
        .await
        .with_context(|| format!("failed to ask the Service {service} in namespace {namespace}"))
}
