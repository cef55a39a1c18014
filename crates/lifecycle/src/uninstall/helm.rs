//! The release, as Helm has written it down, and Helm itself.

use std::path::PathBuf;
use std::process::Stdio;

use k8s_openapi::api::core::v1::Secret;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::process::Command;

use crate::error::failed;
use crate::{Error, Tell};

/// Which release, and which Helm.
#[derive(Debug, Clone)]
pub struct Helm {
    /// The program.
    pub program: PathBuf,
    /// The release.
    pub release: String,
    /// The kubeconfig that it is to use; without one, its own choice.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without one, its current one.
    pub context: Option<String>,
}

impl Helm {
    /// Whether Helm has written down such a release.
    pub(super) async fn is_release(&self, client: &Client, namespace: &str) -> Result<bool, Error> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let ours = ListParams::default().labels(&format!("owner=helm,name={}", self.release));
        let found = within(REQUEST_TIMEOUT, secrets.list_metadata(&ours))
            .await
            .map_err(failed("list", format!("the Secrets of Helm in namespace {namespace}")))?;
        Ok(!found.items.is_empty())
    }

    /// Runs it. The command, where there is no Helm or it has failed: somebody must see to it.
    pub(super) async fn uninstall(&self, namespace: &str, tell: Tell<'_>) -> Result<Option<String>, Error> {
        let arguments = self.arguments(namespace);
        let command = format!("{} {}", self.program.display(), arguments.join(" "));
        tell(&format!("  {command}"));
        let output = Command::new(&self.program)
            .args(&arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        Ok(match output {
            Ok(output) if output.status.success() => None,
            Ok(output) => {
                for line in String::from_utf8_lossy(&output.stderr).lines() {
                    tell(&format!("  {line}"));
                }
                Some(command)
            }
            Err(error) => {
                tell(&format!("  failed to start it: {error}"));
                Some(command)
            }
        })
    }

    fn arguments(&self, namespace: &str) -> Vec<String> {
        let mut arguments = vec![
            "uninstall".to_owned(),
            self.release.clone(),
            format!("--namespace={namespace}"),
            "--wait".to_owned(),
            "--timeout=5m".to_owned(),
        ];
        arguments.extend(
            self.kubeconfig
                .iter()
                .map(|path| format!("--kubeconfig={}", path.display())),
        );
        arguments.extend(self.context.iter().map(|name| format!("--kube-context={name}")));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_release_namespace_and_cluster() {
        let helm = Helm {
            program: "helm".into(),
            release: "kompass".into(),
            kubeconfig: Some("k".into()),
            context: Some("prod".into()),
        };
        let expected = [
            "uninstall",
            "kompass",
            "--namespace=ns",
            "--wait",
            "--timeout=5m",
            "--kubeconfig=k",
            "--kube-context=prod",
        ];
        assert_eq!(helm.arguments("ns"), expected);
    }
}
