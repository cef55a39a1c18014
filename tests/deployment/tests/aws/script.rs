//! `setup-kompass.sh eks` from nothing to nothing: the real Terraform and the real AWS CLI on a stand-in for AWS. What is in
//! the cluster is made up (`fakes/`); the install itself is tested on real pods (`tests/tests/full/script.rs`).

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
use kompass_deployment_tests::terraform::{configuration, copy};

const CLI: &str = "awscli==1.46.3";
/// Fifty questions and an apply, on a machine that has other work.
const LIMIT: Duration = Duration::from_mins(8);
/// Terraform has made something, and has something left to make.
const UNDER_WAY: &str = "aws_vpc.this: Creation complete";

/// A checkout of its own, a home of its own, and the tools.
struct Machine {
    folder: TempDir,
    path: String,
    environment: Vec<(&'static str, String)>,
}

impl Machine {
    async fn new(aws: &Aws) -> Self {
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
        for (file, text) in OVERRIDES {
            std::fs::write(root.join("kompass/terraform").join(file), text).unwrap();
        }
        copy(&project().join("tests/deployment/tests/aws/fakes"), &root.join("fakes")).unwrap();
        let inputs = "zone_count = 2\nspark_nodes = { ami_id = \"ami-12345678\" }\n";
        std::fs::write(root.join("my.tfvars"), inputs).unwrap();

        let python = python::ensure("awscli", &[CLI], &Progress::lines()).await.unwrap();
        std::fs::write(
            root.join("fakes/aws"),
            format!(
                "#!/bin/sh\nexec {} {} \"$@\"\n",
                python.display(),
                python.with_file_name("aws").display()
            ),
        )
        .unwrap();
        executable(&root.join("fakes/aws"));

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
            path,
            environment,
        }
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
    async fn outcome(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = run(&mut self.script(arguments), LIMIT).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    async fn done(&self, arguments: &[&str]) -> String {
        let (code, text) = self.outcome(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}:\n{text}");
        text
    }

    /// Ends it when it has said `word`; its exit code, and what it said.
    async fn ended_at(&self, word: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.script(arguments);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let id = child.id().unwrap().to_string();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut told, mut ended) = (String::new(), false);
        let all = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                told.push_str(&line);
                told.push('\n');
                if !ended && line.contains(word) {
                    ended = true;
                    succeed(Command::new("kill").args(["-TERM", &id]), LIMIT).await.unwrap();
                }
            }
            child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(LIMIT, all).await.unwrap();
        assert!(ended, "it has not said {word}:\n{told}");
        (status.code(), told)
    }

    /// The folder of the cluster's state.
    fn state(&self) -> PathBuf {
        self.folder
            .path()
            .join("state/kompass/terraform/123456789012")
            .join(REGION)
            .join("spark-eu")
    }

    fn calls(&self, tool: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("fakes").join(format!("{tool}.calls"))).unwrap_or_default()
    }
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn one_command_makes_a_cluster_even_when_it_was_interrupted_and_another_takes_all_of_it_away() {
    let aws = Aws::start().await;
    let machine = Machine::new(&aws).await;
    let inputs = machine.folder.path().join("my.tfvars");
    let make = [
        "--vars",
        inputs.to_str().unwrap(),
        "--access-from",
        "203.0.113.7/32",
        "--jobs",
        "spark",
        "--yes",
    ];

    // What is made stays, the lock goes.
    let (code, told) = machine.ended_at(UNDER_WAY, &make).await;
    assert_eq!(code, Some(130), "{told}");
    for word in [
        "1 created aws_eks_cluster",
        "4 created aws_autoscaling_group",
        "Price: 0.49 to ",
        "the same command goes on",
    ] {
        assert!(told.contains(word), "{word}:\n{told}");
    }
    let half = aws.look().await;
    assert_eq!(
        (half["vpcs"].as_u64(), half["clusters"].as_array().map(Vec::len)),
        (Some(1), Some(0)),
        "{half}"
    );
    assert_eq!(machine.calls("helm"), "");

    let told = machine.done(&make).await;
    assert!(!told.contains("created aws_vpc\n"), "{told}");
    let whole = aws.look().await;
    assert_eq!(whole["clusters"], serde_json::json!(["spark-eu"]));
    assert_eq!(whole["vpcs"], 1);
    let kubeconfig = std::fs::read_to_string(machine.state().join("kubeconfig")).unwrap();
    assert!(
        kubeconfig.contains("get-token") && kubeconfig.contains("spark-eu"),
        "{kubeconfig}"
    );
    assert!(
        !machine.folder.path().join("home/.kube").exists(),
        "the user's kubeconfig was touched"
    );
    let helm = machine.calls("helm");
    assert!(
        helm.contains("upgrade --install cluster-autoscaler ") && helm.contains("upgrade --install kompass "),
        "{helm}"
    );
    assert_eq!(machine.calls("docker").matches("buildx build").count(), 4);

    // Again: nothing to change, and no image twice. Inputs are those of the last run.
    let told = machine.done(&["--jobs", "spark", "--yes"]).await;
    assert!(told.contains("nothing to change"), "{told}");
    assert_eq!(machine.calls("docker").matches("buildx build").count(), 4);

    // Whoever has lost the state, or never had it, does no harm.
    let state = machine.state();
    let away = state.with_extension("away");
    std::fs::rename(&state, &away).unwrap();
    let (code, told) = machine.outcome(&make).await;
    assert_eq!(code, Some(6), "{told}");
    assert!(
        told.contains("there is a cluster spark-eu in eu-central-1 already"),
        "{told}"
    );
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&away, &state).unwrap();

    let told = machine.done(&["--destroy", "--yes"]).await;
    assert!(
        told.contains("AWS deletes these keys when their time is over"),
        "{told}"
    );
    assert!(machine.calls("kompass").contains("uninstall --kubeconfig"));
    assert!(machine.calls("helm").contains("uninstall cluster-autoscaler"));
    assert!(!state.exists());
    // One that was being made when it was interrupted is made anew.
    aws.is_empty_but_for(2).await;
    machine.done(&["--destroy", "--yes"]).await;
}
