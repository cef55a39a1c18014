//! A client of the API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Longest time that a single request (not a watch) may take anywhere in KOMPASS unless its caller is stricter.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig can't be read or lacks something.
    #[error("failed to read the kubeconfig {path}")]
    Kubeconfig {
        /// Where it was looked for.
        path: String,
        /// What is wrong.
        #[source]
        source: KubeconfigError,
    },
    /// A context was named, but there is no kubeconfig.
    #[error("failed to find the context {context}: there is no kubeconfig; name one by --kubeconfig or KUBECONFIG")]
    NoKubeconfig {
        /// The context.
        context: String,
    },
    /// Not in a pod with a service account.
    #[error("failed to find the API server from inside the cluster: give a kubeconfig, or run in a pod")]
    InCluster(#[source] kube::config::InClusterError),
    /// The configuration can't be used (certificates, keys).
    #[error("failed to set up the Kubernetes client")]
    Build(#[source] kube::Error),
    /// The program's name can't stand in a header.
    #[error("failed to use the user agent")]
    UserAgent(#[source] http::header::InvalidHeaderValue),
}

/// Which API server is meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Target<'a> {
    /// The kubeconfig, or several as `KUBECONFIG` lists them; without one, the API server of the pod's own cluster.
    pub kubeconfig: Option<&'a Path>,
    /// A context of the kubeconfig; its current one if there is none here.
    pub context: Option<&'a str>,
}

/// A client, and whom it asks.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a client has none")]
pub struct Connected {
    /// The client.
    pub client: Client,
    /// The URL of the API server.
    pub server: String,
    /// The context of the kubeconfig that was taken, also where none was named: by then another may be its current one.
    pub context: Option<String>,
}

/// A client with the credentials of a kubeconfig file, or of the pod's service account where none is given.
///
/// `program` is the user agent, by which the API server's audit log and its metrics know us. Requests are not limited
/// in rate: who bounds concurrency is the caller. Idle connections live on the keep-alive of the pool; a request's own
/// time-out is the caller's too (see [`within`]), since a watch must have none.
pub async fn connect(kubeconfig: Option<&Path>, program: &str) -> Result<Client, Error> {
    let target = Target {
        kubeconfig,
        context: None,
    };
    Ok(connect_to(target, program).await?.client)
}

/// [`connect`] to any context of a kubeconfig.
pub async fn connect_to(target: Target<'_>, program: &str) -> Result<Connected, Error> {
    let (mut config, context) = match (target.kubeconfig, target.context) {
        (Some(path), context) => from_file(path, context).await?,
        // The pod's own cluster is hardly the one that is meant.
        (None, Some(context)) => {
            return Err(Error::NoKubeconfig {
                context: context.into(),
            });
        }
        (None, None) => (Config::incluster().map_err(Error::InCluster)?, None),
    };
    let agent = format!("{program}/{}", env!("CARGO_PKG_VERSION"));
    config.headers.push((
        http::header::USER_AGENT,
        HeaderValue::try_from(agent).map_err(Error::UserAgent)?,
    ));
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(REQUEST_TIMEOUT);
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(Error::Build)?;
    Ok(Connected {
        client,
        server,
        context,
    })
}

async fn from_file(path: &Path, context: Option<&str>) -> Result<(Config, Option<String>), Error> {
    let refused = |source| Error::Kubeconfig {
        path: path.display().to_string(),
        source,
    };
    let kubeconfig = read(path).map_err(refused)?;
    let context = context
        .map(str::to_owned)
        .or_else(|| kubeconfig.current_context.clone());
    let options = KubeConfigOptions {
        context: context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(refused)?;
    Ok((config, context))
}

/// One file, or those of a list that are there, the first of which rules.
fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let listed: Vec<PathBuf> = std::env::split_paths(path).filter(|path| path.exists()).collect();
    match listed.split_first() {
        Some((first, others)) => others
            .iter()
            .try_fold(read_one(first)?, |read, path| read.merge(read_one(path)?)),
        None => read_one(path),
    }
}

fn read_one(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let mut read = Kubeconfig::read_from(path)?;
    // As kubectl writes it when there is none, and passes over.
    read.current_context = read.current_context.filter(|name| !name.is_empty());
    Ok(read)
}

/// Why a bounded request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server answered with an error, or could not be reached.
    #[error("the API server refused or could not be reached")]
    Api(#[from] kube::Error),
    /// No answer in time; whether the request was carried out is unknown.
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    /// The answer is none that can be read. Its text is kept back: it may hold secrets.
    #[error("the answer of the API server is not what was asked for")]
    Unreadable,
}

impl RequestError {
    /// The HTTP status of the API server's answer, `None` where there was none.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// The message of the API server's answer, empty where there was none.
    pub fn message(&self) -> &str {
        match self {
            Self::Api(kube::Error::Api(status)) => &status.message,
            _ => "",
        }
    }
}

/// Awaits a request for at most `limit`.
pub async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(limit, request).await {
        Ok(result) => result.map_err(RequestError::Api),
        Err(_elapsed) => Err(RequestError::Timeout(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let error = connect(Some(Path::new("/nowhere/kubeconfig")), "kompass-test")
            .await
            .err()
            .unwrap();
        assert_eq!(error.to_string(), "failed to read the kubeconfig /nowhere/kubeconfig");
    }

    fn kubeconfig(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: {name}, \
             contexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}], \
             clusters: [{{name: {name}, cluster: {{server: 'http://{name}.example:1'}}}}], \
             users: [{{name: {name}, user: {{}}}}]}}"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    #[tokio::test]
    async fn a_context_of_several_kubeconfigs_can_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let list = std::env::join_paths([
            kubeconfig(folder.path(), "blue"),
            folder.path().join("missing"),
            kubeconfig(folder.path(), "green"),
        ])
        .unwrap();
        let to = |context| Target {
            kubeconfig: Some(Path::new(&list)),
            context,
        };
        let connected = |context| async move { connect_to(to(context), "kompass-test").await };
        let server = |context| async move { connected(context).await.map(|it| it.server) };
        assert_eq!(server(None).await.unwrap(), "http://blue.example:1/");
        assert_eq!(server(Some("green")).await.unwrap(), "http://green.example:1/");
        // What others are told to go to, such as Helm, minutes later.
        assert_eq!(connected(None).await.unwrap().context.unwrap(), "blue");
        assert_eq!(connected(Some("green")).await.unwrap().context.unwrap(), "green");
        assert!(matches!(server(Some("red")).await, Err(Error::Kubeconfig { .. })));

        // The first file says which is the current one, unless it says nothing.
        let first = folder.path().join("blue");
        let text = std::fs::read_to_string(&first).unwrap();
        std::fs::write(&first, text.replace("current-context: blue", "current-context: ''")).unwrap();
        assert_eq!(server(None).await.unwrap(), "http://green.example:1/");
    }

    #[tokio::test]
    async fn a_context_is_never_the_pods_own_cluster() {
        let target = Target {
            kubeconfig: None,
            context: Some("prod"),
        };
        let error = connect_to(target, "kompass-test").await.err().unwrap().to_string();
        assert!(error.contains("prod") && error.contains("--kubeconfig"), "{error}");
    }

    #[tokio::test]
    async fn a_request_without_an_answer_ends_in_time() {
        let never = std::future::pending::<Result<(), kube::Error>>();
        let error = within(Duration::from_millis(5), never).await.unwrap_err();
        assert!(matches!(error, RequestError::Timeout(_)) && error.status().is_none());
    }
}
