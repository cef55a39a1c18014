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
        let file = self.file();
        let target = Target {
            kubeconfig: file.as_deref(),
            context: self.context.as_deref(),
        };
        Ok(kompass_kube::client::connect_to(target, "kompass").await?)
    }

    /// The kubeconfig, or the list of them, that says where the cluster is.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.kubeconfig.clone().or_else(kubeconfig)
    }

    /// What a command that is told to be run needs to be about the same cluster, kubectl's and ours alike, with a space before
    /// each option; nothing where the environment says so.
    pub(crate) fn options(&self) -> String {
        let environment = environment();
        let file = self
            .kubeconfig
            .as_ref()
            .filter(|file| environment.as_ref() != Some(file));
        let file = file.map(|file| format!(" --kubeconfig={}", file.display()));
        let context = self.context.as_ref().map(|name| format!(" --context={name}"));
        [file, context].into_iter().flatten().collect()
    }
}

/// Where kubectl is told by the environment to look.
fn environment() -> Option<PathBuf> {
    let path = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty())?;
    Some(path.into())
}

/// Where kubectl looks without an option, if there is such a file.
pub(crate) fn kubeconfig() -> Option<PathBuf> {
    if let Some(path) = environment() {
        return Some(path);
    }
    let path = PathBuf::from(std::env::var_os("HOME")?).join(".kube/config");
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_to_be_run_is_about_the_same_cluster() {
        let install = |kubeconfig: Option<&str>, context: Option<&str>| Install {
            kubeconfig: kubeconfig.map(PathBuf::from),
            context: context.map(str::to_owned),
            namespace: "kompass".into(),
        };
        assert_eq!(install(None, None).options(), "");
        let other = install(Some("/other/config"), Some("prod"));
        assert_eq!(other.options(), " --kubeconfig=/other/config --context=prod");
    }
}
