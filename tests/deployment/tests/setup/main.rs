//! The setup script, without a cluster: its shell is clean, and its errors say what to do (`bats/`).

#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Duration;

use kompass_deployment_tests::{project, run, succeed};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_mins(1);
/// Thousands of small processes.
const BATS_LIMIT: Duration = Duration::from_mins(5);

#[tokio::test]
async fn the_scripts_are_clean() {
    let mut command = Command::new("shellcheck");
    command.current_dir(project()).args(["-x", "-a", "setup-kompass.sh"]);
    for folder in [
        "setup",
        "docker/base",
        "docker/kompass",
        "docker/spark",
        "docker/spark-examples",
    ] {
        for entry in std::fs::read_dir(project().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "sh") {
                command.arg(path);
            }
        }
    }
    succeed(&mut command, LIMIT).await.unwrap();
}

/// They are all read into one shell, where the second of two functions of one name takes the place of the first.
#[test]
fn no_name_of_a_function_is_used_twice() {
    let folder = project().join("setup");
    let mut files = vec![project().join("setup-kompass.sh")];
    for folder in [folder.join("eks"), folder] {
        let entries = std::fs::read_dir(folder).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    let mut names = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for name in text
            .lines()
            .filter_map(|line| line.split_once("()").map(|(name, _)| name))
        {
            if name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_') {
                let before = names.insert(name.to_owned(), file.clone());
                assert_eq!(before, None, "{name} is in {} too", file.display());
            }
        }
    }
    assert!(names.contains_key("setup_cluster") && names.len() > 50, "{names:?}");
}

/// Runs a file of `bats/`, whose tests are at least so many: those that bats does not find are no failures of its own.
async fn bats(file: &str, least: u32) {
    let path = project().join("tests/deployment/tests/setup/bats").join(file);
    let mut command = Command::new("bats");
    let told = succeed(command.args(["--formatter", "tap"]).arg(path), BATS_LIMIT)
        .await
        .unwrap();
    let plan = told.lines().next().unwrap_or_default();
    let count: u32 = plan.trim_start_matches("1..").parse().unwrap();
    assert!(count >= least, "{told}");
    assert!(!told.contains("# skip"), "{told}");
}

#[tokio::test]
async fn every_error_of_an_install_is_as_it_is_documented() {
    bats("cluster.bats", 48).await;
}

#[tokio::test]
async fn every_error_of_a_local_cluster_is_as_it_is_documented() {
    bats("local.bats", 11).await;
}

#[tokio::test]
async fn an_uninstall_and_a_doctor_end_as_it_is_documented() {
    bats("uninstall.bats", 8).await;
}

#[tokio::test]
async fn every_error_of_a_cluster_on_aws_is_as_it_is_documented() {
    bats("eks.bats", 41).await;
}

#[tokio::test]
async fn every_error_of_its_end_is_as_it_is_documented() {
    bats("eks_destroy.bats", 21).await;
}

#[tokio::test]
async fn an_unknown_mode_is_an_error_of_usage() {
    let output = run(Command::new(project().join("setup-kompass.sh")).arg("clowd"), LIMIT)
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--help"));
}
