//! A machine of its own for `setup-kompass.sh eks`: the real Terraform and the real AWS CLI on a stand-in for AWS.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kompass_deployment_tests::{project, run, succeed};
use kompass_local_cluster::progress::Progress;
use kompass_local_cluster::python;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::life::{Aws, OVERRIDES, REGION};
use kompass_deployment_tests::terraform::{configuration, copy, lock};

const CLI: &str = "awscli==1.46.3";
/// Fifty questions and an apply, on a machine that has other work.
const LIMIT: Duration = Duration::from_mins(8);
const INPUTS: &str = "my.tfvars";

/// A checkout of its own, a home of its own, and the tools.
pub(crate) struct Machine {
    folder: TempDir,
    /// The AWS CLI itself.
    cli: String,
    path: String,
    environment: Vec<(&'static str, String)>,
}

impl Machine {
    pub(crate) async fn new(aws: &Aws) -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        for part in ["setup", "terraform", "charts/kompass"] {
            copy(&project().join(part), &root.join("kompass").join(part)).unwrap();
        }
        std::fs::copy(
            project().join("setup-kompass.sh"),
            root.join("kompass/setup-kompass.sh"),
        )
        .unwrap();
        lock(&root.join("kompass/terraform")).unwrap();
        for (file, text) in OVERRIDES {
            std::fs::write(root.join("kompass/terraform").join(file), text).unwrap();
        }
        copy(&project().join("tests/deployment/tests/aws/fakes"), &root.join("fakes")).unwrap();
        let inputs = "zone_count = 2\nspark_nodes = { ami_id = \"ami-12345678\" }\n";
        std::fs::write(root.join(INPUTS), inputs).unwrap();

        let python = python::ensure("awscli", &[CLI], &Progress::lines()).await.unwrap();
        let cli = format!("{} {}", python.display(), python.with_file_name("aws").display());
        program(&root.join("fakes/aws"), &format!("#!/bin/sh\nexec {cli} \"$@\"\n"));

        let moto = format!("http://{}", aws.server.address());
        let mut environment = vec![
            ("AWS_ENDPOINT_URL", moto),
            ("AWS_ENDPOINT_URL_EKS", aws.eks.url()),
            ("AWS_ENDPOINT_URL_AUTO_SCALING", aws.layer.url()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            // moto can't judge policies, and asked again it can't either.
            ("AWS_MAX_ATTEMPTS", "1".to_owned()),
            ("HOME", root.join("home").display().to_string()),
            ("XDG_STATE_HOME", root.join("state").display().to_string()),
            ("KOMPASS_PROGRAM", root.join("fakes/kompass").display().to_string()),
        ];
        if let Some(configuration) = configuration() {
            std::fs::write(root.join("cli.tfrc"), configuration).unwrap();
            environment.push(("TF_CLI_CONFIG_FILE", root.join("cli.tfrc").display().to_string()));
        }
        let path = format!("{}:{}", root.join("fakes").display(), std::env::var("PATH").unwrap());
        Self {
            folder,
            cli,
            path,
            environment,
        }
    }

    /// The same with a cluster that is there, in place of what the fakes play: `tools` are the programs by their names,
    /// and the AWS CLI leads to it.
    pub(crate) fn with_cluster(mut self, kubeconfig: &Path, tools: &[(&str, PathBuf)]) -> Self {
        let fakes = self.folder.path().join("fakes");
        // moto is asked all the same: it must know the cluster.
        let aws = format!(
            "#!/bin/sh\n{} \"$@\" || exit\ncase \" $* \" in\n  *\" update-kubeconfig \"*)\n    \
             while [ \"$1\" != --kubeconfig ]; do shift; done\n    cp {} \"$2\"\n    ;;\nesac\n",
            self.cli,
            kubeconfig.display()
        );
        program(&fakes.join("aws"), &aws);
        for (name, tool) in tools {
            std::fs::remove_file(fakes.join(name)).unwrap();
            std::os::unix::fs::symlink(tool, fakes.join(name)).unwrap();
        }
        // Nothing of what this machine's user has set up for other clusters.
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            let folder = self.folder.path().join("helm").join(name);
            self.environment.push((name, folder.display().to_string()));
        }
        self
    }

    /// Inputs for Terraform with little to make.
    pub(crate) fn inputs(&self) -> String {
        self.folder.path().join(INPUTS).display().to_string()
    }

    /// Writes a file and tells where it is.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("kompass/setup-kompass.sh"));
        command
            .args(["eks", "--name", "spark-eu", "--region", REGION])
            .args(arguments);
        for name in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "KUBECONFIG"] {
            command.env_remove(name);
        }
        command
            .env("PATH", &self.path)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// How it ended, and all that it said.
    pub(crate) async fn outcome(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = run(&mut self.script(arguments), LIMIT).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    pub(crate) async fn done(&self, arguments: &[&str]) -> String {
        let (code, text) = self.outcome(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}:\n{text}");
        text
    }

    /// Ends it and all that it has started, as a ^C would, when it has said `word`; its exit code, and what it said.
    pub(crate) async fn ended_at(&self, word: &str, arguments: &[&str]) -> (Option<i32>, String) {
        self.ended_after(word, async {}, arguments).await
    }

    /// The same, once `more` has come about after the word.
    pub(crate) async fn ended_after(
        &self,
        word: &str,
        more: impl Future<Output = ()>,
        arguments: &[&str],
    ) -> (Option<i32>, String) {
        let mut command = self.script(arguments);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .unwrap();
        let group = format!("-{}", child.id().unwrap());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut told, mut more) = (String::new(), Some(more));
        let all = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                told.push_str(&line);
                told.push('\n');
                if line.contains(word)
                    && let Some(more) = more.take()
                {
                    more.await;
                    succeed(Command::new("kill").args(["-TERM", "--", &group]), LIMIT)
                        .await
                        .unwrap();
                }
            }
            child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(LIMIT, all).await.unwrap();
        assert!(more.is_none(), "it has not said {word}:\n{told}");
        (status.code(), told)
    }

    /// Whether the user's own kubeconfig was touched.
    pub(crate) fn has_users_kubeconfig(&self) -> bool {
        self.folder.path().join("home/.kube/config").exists()
    }

    /// The folder of the cluster's state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder
            .path()
            .join("state/kompass/terraform/123456789012")
            .join(REGION)
            .join("spark-eu")
    }

    /// Whether the fake Helm knows this release.
    pub(crate) fn has_release(&self, name: &str) -> bool {
        self.folder.path().join("fakes").join(format!("helm.{name}")).exists()
    }

    /// What a fake was called with, a line for each call.
    pub(crate) fn calls(&self, tool: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("fakes").join(format!("{tool}.calls"))).unwrap_or_default()
    }
}

/// Writes a script that can be run.
fn program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
