//! A local cluster with KOMPASS's chart in it, two pods of each part, and nodes for played jobs: what the tests of KOMPASS as
//! pods share.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kompass_deployment_tests::{own_program, run, succeed};
use kompass_local_cluster::full::{self, Cluster};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::process::Command;

use crate::deployment::JOBS;

/// Where KOMPASS is.
pub const NAMESPACE: &str = "kompass";
/// For everything of a step to be done, on a machine that does other things, too.
pub const PATIENCE: Duration = Duration::from_mins(4);
/// The longest command is a whole `up`.
const COMMAND_LIMIT: Duration = Duration::from_mins(12);

/// The cluster, and the tools that a user would have.
#[expect(missing_debug_implementations, reason = "the client has none")]
pub struct Installed {
    /// The cluster itself.
    pub cluster: Cluster,
    /// A client with all rights.
    pub client: Client,
    /// Values of this test, beside those of a local cluster.
    pub values: PathBuf,
    helm: PathBuf,
    kubectl: PathBuf,
    folder: PathBuf,
}

impl Installed {
    /// Brings a cluster of this name up as a user would, with `more` arguments of `kompass local up`. What an earlier run has
    /// left of it is removed.
    ///
    /// # Errors
    /// What did not come up.
    #[expect(clippy::print_stdout, reason = "a long test tells what it has seen")]
    pub async fn up(name: &str, more: &[&str]) -> anyhow::Result<Self> {
        full::down(name, &Progress::lines()).await?;
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let values = folder.join("values.json");
        // Requests are small, since two of each share a node with everything else of this machine.
        let resources = json!({"requests": {"cpu": "20m", "memory": "32Mi"}});
        let text = json!({
            "scheduler": {
                "replicas": 2, "resources": resources,
                "kubeScheduler": {"resources": resources},
            },
            "admissionWebhook": {"replicas": 2, "resources": resources},
            "shutdown": {"grace": "2s"},
        });
        std::fs::write(&values, text.to_string())?;
        let began = Instant::now();
        let arguments = ["local", "up", "--yes", "--name", name, "--kwok-nodes", "6", "--values"];
        let mut up = Command::new(own_program("kompass")?);
        succeed(up.args(arguments).arg(&values).args(more), COMMAND_LIMIT).await?;
        println!("cluster and chart were up after {:?}", began.elapsed());
        let cluster = Cluster::attach(name, &Progress::lines()).await?;
        let client = kompass_kube::client::connect(Some(&cluster.kubeconfig()), "kompass-tests").await?;
        let namespace = json!({"metadata": {"name": JOBS}});
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &serde_json::from_value(namespace)?)
            .await?;
        let programs = programs::ensure(&[Module::Helm, Module::Kubernetes], &Progress::lines()).await?;
        Ok(Self {
            helm: programs.path(Program::Helm)?,
            kubectl: programs.path(Program::Kubectl)?,
            cluster,
            client,
            values,
            folder,
        })
    }

    /// Helm on this cluster.
    ///
    /// # Errors
    /// It can't be started, does not end, or fails: then with all that it said.
    pub async fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.helm);
        command.args(arguments).args(["--namespace", NAMESPACE]);
        succeed(self.environment(&mut command, &[])?, COMMAND_LIMIT).await
    }

    /// The setup script with helm, kubectl and kompass on its PATH; how it ended is the caller's to judge.
    ///
    /// # Errors
    /// It can't be started, or does not end.
    pub async fn script(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../setup-kompass.sh");
        let mut command = Command::new(script);
        command.args(arguments);
        run(self.environment(&mut command, &[])?, COMMAND_LIMIT).await
    }

    /// What a user would copy into a shell, with helm, kubectl, kompass and what else is in `folders` on its PATH.
    ///
    /// # Errors
    /// It can't be started, does not end, or fails: then with all that it said.
    pub async fn shell(&self, lines: &str, folders: &[PathBuf]) -> anyhow::Result<String> {
        let mut command = Command::new("bash");
        command.args(["-euc", lines]);
        succeed(self.environment(&mut command, folders)?, COMMAND_LIMIT).await
    }

    fn environment<'a>(&self, command: &'a mut Command, more: &[PathBuf]) -> anyhow::Result<&'a mut Command> {
        let own = own_program("kompass")?;
        let folders = [&self.helm, &self.kubectl, &own].map(|program| program.parent().map(PathBuf::from));
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let folders = folders.into_iter().flatten().chain(more.iter().cloned());
        let path = folders.chain(std::env::split_paths(&usual));
        Ok(command
            .env("PATH", std::env::join_paths(path)?)
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("XDG_STATE_HOME", self.folder.join("state"))
            .env("HELM_CACHE_HOME", self.folder.join("helm"))
            .env("HELM_CONFIG_HOME", self.folder.join("helm"))
            .env("HELM_DATA_HOME", self.folder.join("helm")))
    }

    /// KOMPASS's own pods.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        Ok(pods.list(&ListParams::default()).await?.items)
    }

    /// How many of them are ready, and are not on their way out.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn ready(&self) -> anyhow::Result<usize> {
        let is_ready = |pod: &&Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            let ready =
                conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
            ready && pod.metadata.deletion_timestamp.is_none()
        };
        Ok(self.pods().await?.iter().filter(is_ready).count())
    }

    /// The images that they run.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn images(&self) -> anyhow::Result<Vec<String>> {
        let pods = self.pods().await?;
        let containers = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .filter_map(|pod| pod.spec.as_ref())
            .flat_map(|spec| &spec.containers);
        Ok(containers.filter_map(|container| container.image.clone()).collect())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // What is left of it is in the folder of temporary files, for whoever looks for a reason.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// The words of a command that has ended, those for people first.
pub fn words(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    )
}

/// The name of a pod's part.
pub fn component(pod: &Pod) -> String {
    let label = pod.labels().get("app.kubernetes.io/component");
    label.cloned().unwrap_or_default()
}
