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
    /// The kubeconfig, or several as `KUBECONFIG` lists them; without one, its own choice.
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
        let kubeconfig = self.kubeconfig.as_ref();
        let place = kubeconfig.map(|path| format!("KUBECONFIG={} ", path.display()));
        let command = format!(
            "{}{} {}",
            place.unwrap_or_default(),
            self.program.display(),
            arguments.join(" ")
        );
        tell(&format!("  {command}"));
        let output = Command::new(&self.program)
            .args(&arguments)
            // As a list it is understood in the environment only. What Helm has of its own there may be another cluster's.
            .envs(kubeconfig.map(|path| ("KUBECONFIG", path)))
            .env_remove("HELM_KUBECONTEXT")
            .env_remove("HELM_KUBEAPISERVER")
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
        arguments.extend(self.context.iter().map(|name| format!("--kube-context={name}")));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn helm_is_about_the_cluster_that_was_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        let helm = Helm {
            program: "sh".into(),
            release: "kompass".into(),
            kubeconfig: Some("/one:/two".into()),
            context: Some("prod".into()),
        };
        // A shell is no Helm: it ends badly, and what is to be run by hand names the cluster as well.
        let command = helm.uninstall("ns", &|_| {}).await.unwrap().unwrap();
        assert!(
            command.starts_with("KUBECONFIG=/one:/two sh uninstall kompass "),
            "{command}"
        );

        let script = folder.path().join("helm");
        std::fs::write(
            &script,
            format!("#!/bin/sh\necho \"$KUBECONFIG $*\" > {}\n", seen.display()),
        )
        .unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let helm = Helm {
            program: script,
            ..helm
        };
        assert_eq!(helm.uninstall("ns", &|_| {}).await.unwrap(), None);
        let seen = std::fs::read_to_string(seen).unwrap();
        assert!(
            seen.starts_with("/one:/two uninstall kompass") && seen.contains("--kube-context=prod"),
            "{seen}"
        );
    }

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
            "--kube-context=prod",
        ];
        assert_eq!(helm.arguments("ns"), expected);
    }
}
