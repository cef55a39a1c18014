//! The workflows: they are valid, use nothing that can change under them, and ask for no more rights than they need.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use kompass_deployment_tests::{project, succeed};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use serde_json::Value;
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
