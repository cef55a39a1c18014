//! The way to the extender's `/v1/gangs` and `/v1/queues`, wherever it runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use kompass_core::names;
use kompass_kube::client::Target;
use kompass_local_cluster::full::{self, Cluster};
use kompass_local_cluster::kompass::Service;
use kompass_local_cluster::progress::Progress;

use crate::gangs::{self, Answer, Gang};
use crate::install;
use crate::local;
use crate::page;
use crate::queues::Standing;

const GANGS: &str = "/v1/gangs";
const QUEUES: &str = "/v1/queues";

/// Which extender to ask, and where it is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// Local cluster whose extender is asked. Where neither it nor a kubeconfig is named: `local`, or if that is not up, the
    /// cluster of KUBECONFIG or ~/.kube/config.
    #[arg(long, env = "KOMPASS_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// Ask the extender of this cluster instead, through its API server.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one unless given.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
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
    /// Through the API server, with the rights of a kubeconfig.
    Proxied(kube::Client, String),
}

impl Place {
    /// Finds the way.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        if let Some(address) = self.extender {
            return Ok(Connection::Direct(address));
        }
        if self.kubeconfig.is_some() || self.context.is_some() {
            return self.proxied().await;
        }
        let cluster = self.cluster.as_deref().unwrap_or(local::DEFAULT_NAME);
        if let Some(held) = local::api_only::find(cluster)? {
            let address = held.extender.context("the local cluster runs without KOMPASS")?;
            return Ok(Connection::Direct(address));
        }
        match Cluster::attach(cluster, &Progress::silent()).await {
            Ok(cluster) => {
                let client = kompass_kube::client::connect(Some(&cluster.kubeconfig()), "kompass").await?;
                Ok(through(client))
            }
            Err(full::Error::NotUp { .. } | full::Error::NotRoot)
                if self.cluster.is_none() && install::kubeconfig().is_some() =>
            {
                self.proxied().await
            }
            Err(error @ (full::Error::NotUp { .. } | full::Error::NotRoot)) => Err(anyhow::Error::new(error).context(
                "failed to find an extender: start a local cluster with `kompass local up`, or name another cluster with \
                 --kubeconfig FILE",
            )),
            Err(error) => Err(error.into()),
        }
    }

    async fn proxied(&self) -> anyhow::Result<Connection> {
        let kubeconfig = self.kubeconfig.clone().or_else(install::kubeconfig);
        let target = Target {
            kubeconfig: kubeconfig.as_deref(),
            context: self.context.as_deref(),
        };
        let connected = kompass_kube::client::connect_to(target, "kompass").await?;
        Ok(Connection::Proxied(connected.client, self.kompass_namespace.clone()))
    }
}

/// The way to the extender through the API server of a local cluster.
pub(crate) fn through(client: kube::Client) -> Connection {
    Connection::Proxied(client, names::DEFAULT_NAMESPACE.to_owned())
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

    /// How queues stand: as it was sent, and as it is understood.
    pub(crate) async fn queues(&self) -> anyhow::Result<(serde_json::Value, Standing)> {
        const OLD: &str = "failed to ask for the state of queues: the extender is older than this command and does not \
                           tell it; update KOMPASS in the cluster, or use the `kompass` of its version";
        let text = match self.get(QUEUES).await {
            Err(error) if page::is_missing(&error) => return Err(error.context(OLD)),
            asked => asked?,
        };
        let answer: serde_json::Value =
            serde_json::from_str(&text).context("failed to read the extender's word on queues: it is no JSON")?;
        anyhow::ensure!(answer.get("state").is_some(), OLD);
        let standing = serde_json::from_value(answer.clone())
            .context("failed to read the extender's word on queues: it is of another version")?;
        Ok((answer, standing))
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let address = match self {
            Self::Direct(address) => *address,
            Self::Proxied(client, namespace) => return proxied(client, namespace, path).await,
        };
        let asked = page::get(address, path).await;
        asked.context("failed to ask the extender: it does not run, or is not ready; `kompass local status` tells more")
    }
}

/// The port of pods where the extender shows its gangs and queues (`--view-listen` in the chart).
const VIEW_PORT: u16 = 8_889;

/// Asks through the API server, which forwards to the replica that plans: the others know what there is, but not whose turn
/// it is. Where that one can't be told or asked, to any of them by the extender's Service.
async fn proxied(client: &kube::Client, namespace: &str, path: &str) -> anyhow::Result<String> {
    let limit = kompass_kube::client::REQUEST_TIMEOUT;
    let leases = kube::Api::<Lease>::namespaced(client.clone(), namespace);
    let lease = kompass_kube::client::within(limit, leases.get_opt(names::PLANNER_LEASE)).await;
    let holder = lease.ok().flatten().and_then(|lease| lease.spec?.holder_identity);
    if let Some(holder) = holder.filter(|holder| !holder.is_empty()) {
        let url = format!("/api/v1/namespaces/{namespace}/pods/{holder}:{VIEW_PORT}/proxy{path}");
        let request = http::Request::get(url).body(Vec::new())?;
        if let Ok(text) = kompass_kube::client::within(limit, client.request_text(request)).await {
            return Ok(text);
        }
    }
    let service = Service::SchedulerExtender.name();
    let url = format!("/api/v1/namespaces/{namespace}/services/{service}:http/proxy{path}");
    let request = http::Request::get(url).body(Vec::new())?;
    let asked = kompass_kube::client::within(limit, client.request_text(request));
    asked
        .await
        .with_context(|| format!("failed to ask the Service {service} in namespace {namespace}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What is understood of an extender that answers so.
    async fn queues(status: &str, body: &str) -> anyhow::Result<Standing> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let connection = Connection::Direct(listener.local_addr()?);
        let serve = async {
            let (mut stream, _) = listener.accept().await?;
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await?;
            assert!(request[..read].starts_with(b"GET /v1/queues HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await?;
            anyhow::Ok(())
        };
        let (served, asked) = tokio::join!(serve, connection.queues());
        served?;
        asked.map(|(_, standing)| standing)
    }

    #[tokio::test]
    async fn an_extender_that_tells_no_state_is_too_old_and_one_that_is_not_there_is_said_to_be_so() {
        let right = r#"{"leads": true, "total": {}, "state": [{"name": "a", "later": 1}], "later": 1}"#;
        assert_eq!(queues("200 OK", right).await.unwrap().state[0].name, "a");
        for (status, body, words) in [
            ("404 Not Found", "", "older than this command"),
            ("200 OK", r#"{"file": null, "queues": []}"#, "older than this command"),
            ("200 OK", r#"{"state": 5}"#, "of another version"),
            ("200 OK", "<html>", "no JSON"),
            ("503 Service Unavailable", "busy", "does not run, or is not ready"),
        ] {
            let said = format!("{:#}", queues(status, body).await.unwrap_err());
            assert!(
                said.starts_with("failed to ") && said.contains(words),
                "{status} {body}: {said}"
            );
        }
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let said = format!("{:#}", Connection::Direct(nobody).queues().await.unwrap_err());
        assert!(
            said.contains("does not run") && said.contains(&format!("http://{nobody}/v1/queues")),
            "{said}"
        );
    }
}
