//! The workflows: they are valid, use nothing that can change under them, and ask for no more rights than they need.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use kompass_deployment_tests::{project, run, succeed};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_mins(1);
/// Digits of a commit.
const COMMIT: usize = 40;

/// All workflows, by the name of their file.
fn workflows() -> BTreeMap<String, (PathBuf, String)> {
    let folder = project().join(".github/workflows");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (name, (path, text))
        })
        .collect()
}

fn parsed(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// What a job may write, by its `permissions`.
fn writes(job: &Value) -> BTreeSet<&str> {
    let permissions = job["permissions"].as_object();
    permissions
        .into_iter()
        .flatten()
        .filter(|(_, level)| *level == "write")
        .map(|(scope, _)| scope.as_str())
        .collect()
}

/// The actions of a text, each with what stands behind it on its line.
fn actions(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (_, used) = line.split_once("uses: ")?;
        Some(used.split_once(' ').unwrap_or((used, "")))
    })
}

/// A commit of one of GitHub's own actions with its version beside it, or a workflow of this repository.
fn is_pinned(action: &str, comment: &str) -> bool {
    if action.starts_with("./") {
        return true;
    }
    let Some((name, commit)) = action.split_once('@') else {
        return false;
    };
    name.starts_with("actions/")
        && commit.len() == COMMIT
        && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
        && comment.trim().starts_with("# v")
}

#[tokio::test]
async fn the_workflows_are_valid_and_their_shell_is_clean() {
    // Where it is missing, actionlint leaves scripts unread without a word.
    succeed(Command::new("shellcheck").arg("--version"), LIMIT)
        .await
        .unwrap();
    let programs = programs::ensure(&[Module::Actionlint], &Progress::lines())
        .await
        .unwrap();
    let mut check = Command::new(programs.path(Program::Actionlint).unwrap());
    check.args(workflows().values().map(|(path, _)| path));
    succeed(&mut check, LIMIT).await.unwrap();
    let scripts = [".ci/run", ".ci/terraform"].map(|script| project().join(script));
    succeed(Command::new("shellcheck").args(scripts), LIMIT).await.unwrap();
}

#[test]
fn every_action_is_githubs_own_and_a_commit() {
    let mut versions = BTreeMap::new();
    for (file, (_, text)) in workflows() {
        for (action, comment) in actions(&text) {
            assert!(is_pinned(action, comment), "{file}: {action} {comment}");
            if let Some((name, commit)) = action.split_once('@') {
                let known = versions
                    .entry(name.to_owned())
                    .or_insert_with(|| (commit.to_owned(), comment.to_owned()));
                assert_eq!(
                    (known.0.as_str(), known.1.as_str()),
                    (commit, comment),
                    "{file}: {name}"
                );
            }
        }
    }
    assert!(versions.contains_key("actions/checkout"), "{versions:?}");
    for (action, comment) in [
        ("actions/checkout@v5", ""),
        ("actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8", ""),
        ("someone/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8", "# v5.0.0"),
    ] {
        assert!(!is_pinned(action, comment), "{action}");
    }
}

#[test]
fn jobs_have_the_rights_that_they_need_and_no_others() {
    for (file, (_, text)) in workflows() {
        let workflow = parsed(&text);
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({}),
            "{file}: each job asks for itself"
        );
        // Without it a failure on the left of a pipe is none.
        assert_eq!(workflow["defaults"]["run"]["shell"], "bash", "{file}");
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            assert!(
                job["permissions"].is_object(),
                "{file}: {name} has no permissions of its own"
            );
            assert!(
                job["uses"].is_string() || job["timeout-minutes"].is_u64(),
                "{file}: {name} may run for hours"
            );
            let allowed: &[&str] = match (file.as_str(), name.as_str()) {
                ("release.yml", "build") => &["packages"],
                ("release.yml", "images" | "chart") => &["attestations", "id-token", "packages"],
                ("release.yml", "release") => &["attestations", "contents", "id-token"],
                _ => &[],
            };
            assert_eq!(writes(job), allowed.iter().copied().collect(), "{file}: {name}");
            let steps = job["steps"].as_array().into_iter().flatten();
            for step in steps {
                let script = step["run"].as_str().unwrap_or_default();
                // Names of branches and the like are others' text: it comes by the environment, never into the script.
                assert!(
                    !script.contains("${{"),
                    "{file}: {name}: an expression in a script: {script}"
                );
                if step["uses"]
                    .as_str()
                    .is_some_and(|used| used.starts_with("actions/checkout@"))
                {
                    assert_eq!(step["with"]["persist-credentials"], false, "{file}: {name}");
                }
            }
        }
    }
}

/// The targets that the release builds on each architecture, and joins.
#[test]
fn what_is_built_is_joined_and_signed() {
    let workflows = workflows();
    let text = &workflows["release.yml"].1;
    let release = parsed(text);
    let joined: BTreeSet<&str> = release["jobs"]["images"]["strategy"]["matrix"]["target"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| target.as_str().unwrap())
        .collect();
    let build = release["jobs"]["build"]["steps"].as_array().unwrap();
    let script = build
        .iter()
        .find_map(|step| step["run"].as_str().filter(|script| script.contains("buildx build")))
        .unwrap();
    let targets = script
        .split_once("for target in ")
        .unwrap()
        .1
        .split_once(';')
        .unwrap()
        .0;
    assert_eq!(targets.split(' ').collect::<BTreeSet<_>>(), joined);
    let dockerfile = std::fs::read_to_string(project().join("docker/kompass/Dockerfile")).unwrap();
    let stages = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM base AS "));
    assert_eq!(stages.collect::<BTreeSet<_>>(), joined, "each image is released");
    for job in ["images", "chart", "release"] {
        let steps = release["jobs"][job]["steps"].as_array().unwrap();
        let signs = |step: &Value| {
            let script = step["run"].as_str().unwrap_or_default();
            script.contains("cosign\" sign")
        };
        let attests = |step: &Value| {
            step["uses"]
                .as_str()
                .is_some_and(|used| used.starts_with("actions/attest-build-provenance@"))
        };
        assert!(steps.iter().any(signs), "{job} signs nothing");
        assert!(steps.iter().any(attests), "{job} has no provenance");
    }
    // Nothing is published of sources whose tests fail.
    let needs = |job: &str| serde_json::to_string(&release["jobs"][job]["needs"]).unwrap();
    assert!(needs("build").contains("test") && needs("images").contains("build"));
    assert!(needs("chart").contains("images") && needs("release").contains("chart"));
}

/// The scripts of a job's steps, in their order.
fn scripts(job: &Value) -> Vec<&str> {
    let steps = job["steps"].as_array().into_iter().flatten();
    steps.filter_map(|step| step["run"].as_str()).collect()
}

#[test]
fn where_tests_run_terraform_is_there_before() {
    let mut runs = BTreeSet::new();
    for (file, (_, text)) in workflows() {
        for (name, job) in parsed(&text)["jobs"].as_object().unwrap() {
            let scripts = scripts(job);
            let Some(tests) = scripts.iter().position(|script| script.contains(".ci/run")) else {
                continue;
            };
            let before = scripts.get(..tests).unwrap();
            let installs = |script: &&&str| script.contains(".ci/terraform \"$RUNNER_TEMP/terraform\"\n");
            let script = before.iter().find(installs);
            let script = script.unwrap_or_else(|| panic!("{file}: {name} tests without Terraform"));
            assert!(
                script.contains("echo \"$RUNNER_TEMP/terraform\" >>\"$GITHUB_PATH\""),
                "{file}: {name}"
            );
            // The tests run as root, who has another PATH.
            assert!(scripts[tests].contains("\"PATH=$PATH\""), "{file}: {name}");
            runs.insert((name.clone(), scripts[tests].trim_end().ends_with(".ci/run --full")));
        }
    }
    assert_eq!(runs, [("full".to_owned(), true), ("test".to_owned(), false)].into());
}

/// What is too long for each push is run each night, and before anything is published.
#[test]
fn the_long_tests_run_each_night_and_before_a_release() {
    let workflows = workflows();
    let ci = parsed(&workflows["ci.yml"].1);
    assert_eq!(ci["on"]["schedule"].as_array().unwrap().len(), 1);
    assert_eq!(ci["on"]["workflow_call"]["inputs"]["full"]["type"], "boolean");
    assert_eq!(
        ci["jobs"]["full"]["if"],
        "github.event_name == 'schedule' || inputs.full"
    );
    assert_eq!(
        ci["jobs"]["test"]["if"],
        "github.event_name != 'schedule' && !inputs.full"
    );
    let tests = &parsed(&workflows["release.yml"].1)["jobs"]["test"];
    assert_eq!(tests["uses"], "./.github/workflows/ci.yml");
    assert_eq!(tests["with"], json!({ "full": true }));
}

/// Writes a program.
fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A path with programs of the test before the machine's.
fn path_with(programs: &Path) -> String {
    format!("{}:{}", programs.display(), std::env::var("PATH").unwrap())
}

#[tokio::test]
async fn the_whole_run_passes_its_arguments_on() {
    let folder = TempDir::new().unwrap();
    write_program(&folder.path().join("cargo"), "#!/bin/sh\necho \"$@\"\n");
    for (arguments, expected) in [(&[][..], "xtask test\n"), (&["--full"][..], "xtask test --full\n")] {
        let mut command = Command::new(project().join(".ci/run"));
        command.args(arguments).env("PATH", path_with(folder.path()));
        assert_eq!(succeed(&mut command, LIMIT).await.unwrap(), expected);
    }
}

/// A machine that `.ci/terraform` is run on, and the server that it asks.
struct Runner {
    folder: TempDir,
}

const TERRAFORM: &str = "terraform_1.11.4";
const PROVIDER: &str = "terraform-provider-aws_5.100.0";
const SHA256_DIGITS: usize = 64;
const LOCK: &str = "project/terraform/.terraform.lock.hcl";

impl Runner {
    /// The server has both archives, and the project their checksums: the program's in the script, the provider's in
    /// Terraform's lock file.
    async fn new() -> Self {
        let runner = Self {
            folder: TempDir::new().unwrap(),
        };
        write_program(
            &runner.path("fakes/curl"),
            "#!/bin/bash\nwhile (($#)); do case \"$1\" in --output) to=\"$2\" ;; https://releases.hashicorp.com/*) \
             from=\"${1##*/}\" ;; esac; shift; done\nexec cp \"$SERVED/$from\" \"$to\"\n",
        );
        write_program(&runner.path("made/terraform"), "#!/bin/sh\necho it runs\n");
        fs::create_dir_all(runner.path("served")).unwrap();
        let program = runner.serve_archive(TERRAFORM).await;
        let provider = runner.serve_archive(PROVIDER).await;
        let script = fs::read_to_string(project().join(".ci/terraform")).unwrap();
        let (before, pinned) = script.split_once("TERRAFORM_SHA256=").unwrap();
        let (pinned, after) = pinned.split_at(SHA256_DIGITS);
        assert!(pinned.bytes().all(|one| one.is_ascii_hexdigit()), "{pinned}");
        write_program(
            &runner.path("project/.ci/terraform"),
            &format!("{before}TERRAFORM_SHA256={program}{after}"),
        );
        // Of other platforms' archives and of what is in them, as the real file has them.
        let lock = format!(
            "  hashes = [\n    \"h1:{}=\",\n    \"zh:{}\",\n    \"zh:{provider}\",\n  ]\n",
            "A".repeat(43),
            "0".repeat(SHA256_DIGITS)
        );
        fs::create_dir_all(runner.path("project/terraform")).unwrap();
        fs::write(runner.path(LOCK), lock).unwrap();
        runner
    }

    /// Makes an archive, and tells its checksum.
    async fn serve_archive(&self, name: &str) -> String {
        let archive = self.path("served").join(format!("{name}_linux_amd64.zip"));
        let mut zip = Command::new("python3");
        zip.args(["-m", "zipfile", "--create"])
            .args([&archive, &self.path("made/terraform")]);
        succeed(&mut zip, LIMIT).await.unwrap();
        let sum = succeed(Command::new("sha256sum").arg(&archive), LIMIT).await.unwrap();
        sum.split(' ').next().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn install(&self) -> Output {
        let mut command = Command::new(self.path("project/.ci/terraform"));
        command
            .arg(self.path("bin"))
            .env("PATH", path_with(&self.path("fakes")))
            .env("HOME", self.path("home"))
            .env("SERVED", self.path("served"));
        run(&mut command, LIMIT).await.unwrap()
    }

    fn mirrored(&self) -> PathBuf {
        let mirror = self.path("home/.terraform.d/plugins/registry.terraform.io/hashicorp/aws");
        mirror.join(format!("{PROVIDER}_linux_amd64.zip"))
    }
}

#[tokio::test]
async fn terraform_and_its_provider_are_put_where_the_tests_find_them() {
    let runner = Runner::new().await;
    let output = runner.install().await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = succeed(&mut Command::new(runner.path("bin/terraform")), LIMIT).await;
    assert_eq!(told.unwrap(), "it runs\n");
    let served = runner.path("served").join(format!("{PROVIDER}_linux_amd64.zip"));
    assert_eq!(fs::read(runner.mirrored()).unwrap(), fs::read(served).unwrap());
    // What the project says that it was tested with is what its tests are run with.
    let readme = fs::read_to_string(project().join("terraform/README.md")).unwrap();
    let [provider, terraform] = [PROVIDER, TERRAFORM].map(|name| name.rsplit('_').next().unwrap());
    let words = format!("The tests were run with {provider} and Terraform {terraform};");
    assert!(readme.contains(&words), "terraform/README.md does not say: {words}");
}

#[tokio::test]
async fn what_is_not_as_its_checksum_says_is_not_installed() {
    let changes: [(&str, String); 3] = [
        (TERRAFORM, format!("served/{TERRAFORM}_linux_amd64.zip")),
        (PROVIDER, format!("served/{PROVIDER}_linux_amd64.zip")),
        (PROVIDER, LOCK.to_owned()),
    ];
    for (refused, changed) in changes {
        let runner = Runner::new().await;
        fs::write(runner.path(&changed), "something else").unwrap();
        let output = runner.install().await;
        assert_eq!(output.status.code(), Some(1), "{changed}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            told.contains(&format!("{refused}_linux_amd64.zip has the SHA-256 ")),
            "{told}"
        );
        assert!(!runner.path("bin").exists() && !runner.mirrored().exists(), "{changed}");
    }
}

/// The provider that a user gets is the one that the tests are run with.
#[test]
fn the_lock_names_the_provider_that_was_tested() {
    let lock = fs::read_to_string(project().join("terraform/.terraform.lock.hcl")).unwrap();
    let version = PROVIDER.rsplit('_').next().unwrap();
    assert!(lock.contains(&format!("version     = \"{version}\"\n")), "{lock}");
}

#[test]
fn a_released_chart_gets_its_digests_where_it_has_places_for_them() {
    let release = parsed(&workflows()["release.yml"].1);
    let values = std::fs::read_to_string(project().join("charts/kompass/values.yaml")).unwrap();
    let values = parsed(&values);
    let steps = release["jobs"]["chart"]["steps"].as_array().unwrap();
    let scripts = steps.iter().filter_map(|step| step["run"].as_str());
    let mut written = 0;
    for line in scripts.flat_map(str::lines) {
        let Some((left, _)) = line.split_once(" = strenv(") else {
            continue;
        };
        let path = left.rsplit(['\'', ' ']).next().unwrap();
        let pointer = path.replace('.', "/");
        assert!(
            values.pointer(&pointer).is_some_and(Value::is_string),
            "the chart has no {path}"
        );
        written += 1;
    }
    assert_eq!(written, 4, "the registry, and the digests of the three services");
}
