//! Which install of KOMPASS a command is about.

use std::path::PathBuf;

use kompass_core::names;
use kompass_kube::client::{Connected, Target};

/// The cluster, and the namespace of KOMPASS in it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Install {
    /// Kubeconfig file of the cluster; without it, KUBECONFIG or ~/.kube/config, or the pod's own cluster.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace of KOMPASS's own objects.
    #[arg(long, short, env = "KOMPASS_NAMESPACE", default_value = names::DEFAULT_NAMESPACE, value_name = "NAME")]
    pub(crate) namespace: String,
}

impl Install {
    /// A client for the cluster, and where that is.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connected> {
        let given = self.kubeconfig.clone().or_else(usual);
        let target = Target {
            kubeconfig: given.as_deref(),
            context: self.context.as_deref(),
        };
        Ok(kompass_kube::client::connect_to(target, "kompass").await?)
    }
}

/// Where kubectl looks without being told, if there is such a file.
fn usual() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("HOME")?).join(".kube/config");
    path.is_file().then_some(path)
}
