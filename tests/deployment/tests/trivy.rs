//! What trivy finds in Terraform. To compile it takes minutes, so this target is run by `cargo xtask test --full` alone.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use kompass_deployment_tests::{project, succeed};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use serde_json::Value;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_mins(5);
const WAIVER: &str = "#trivy:ignore:";

/// Each finding is mended, or waived where it is with a reason; and without its waiver it is found.
#[tokio::test]
async fn trivy_finds_nothing_but_what_is_waived() {
    let terraform = project().join("terraform");
    assert_eq!(scan(&terraform).await, BTreeSet::new());

    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("terraform");
    succeed(Command::new("cp").arg("-r").arg(&terraform).arg(&bare), LIMIT)
        .await
        .unwrap();
    let waived = take_waivers(&bare);
    assert!(
        !waived.is_empty(),
        "with no waivers this test does not know that trivy looks"
    );
    assert_eq!(scan(&bare).await, waived);
}

/// The findings: what each is called.
async fn scan(folder: &Path) -> BTreeSet<String> {
    let programs = programs::ensure(&[Module::Trivy], &Progress::lines()).await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    let mut trivy = Command::new(programs.path(Program::Trivy).unwrap());
    // Its checks are part of it: nothing is asked for on the network.
    trivy
        .args(["config", "--skip-check-update", "--skip-version-check", "--quiet"])
        .args(["--format", "json", "--cache-dir"])
        .arg(cache.path())
        .arg(folder);
    let told: Value = serde_json::from_str(&succeed(&mut trivy, LIMIT).await.unwrap()).unwrap();
    let results = told["Results"].as_array().unwrap();
    let ids = results
        .iter()
        .filter_map(|result| result["Misconfigurations"].as_array())
        .flatten()
        .map(|finding| finding["ID"].as_str().unwrap().to_owned());
    ids.collect()
}

/// Takes the waivers out of all files below a folder, and tells what they waive. The comment before each says why.
fn take_waivers(folder: &Path) -> BTreeSet<String> {
    let mut waived = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            waived.extend(take_waivers(&path));
        } else if path.extension().is_some_and(|extension| extension == "tf") {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.windows(2) {
                if let Some(id) = pair[1].trim().strip_prefix(WAIVER) {
                    let reason = pair[0].trim();
                    assert!(
                        reason.starts_with("# ") && reason.len() > 20,
                        "a waiver without a reason: {id} in {}",
                        path.display()
                    );
                    waived.insert(id.to_owned());
                }
            }
            let kept: Vec<&str> = lines.into_iter().filter(|line| !line.contains(WAIVER)).collect();
            std::fs::write(&path, kept.join("\n") + "\n").unwrap();
        }
    }
    waived
}
