//! Which install of KOMPASS a command is about.

use std::path::PathBuf;

use kompass_core::names;
use kube::Client;

/// The cluster, and the namespace of KOMPASS in it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Install {
    /// Kubeconfig file of the cluster; without it, KUBECONFIG or ~/.kube/config, or the pod's own cluster.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Namespace of KOMPASS's own objects.
    #[arg(long, short, env = "KOMPASS_NAMESPACE", default_value = names::DEFAULT_NAMESPACE, value_name = "NAME")]
    pub(crate) namespace: String,
}

impl Install {
    /// A client for the cluster.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let given = self.kubeconfig.clone().or_else(usual);
        Ok(kompass_kube::client::connect(given.as_deref(), "kompass").await?)
    }
}

/// Where kubectl looks without being told, if there is such a file.
fn usual() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("HOME")?).join(".kube/config");
    path.is_file().then_some(path)
}
