//! `kompass local up --api-only` and what works on it, with the real programs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in its helpers too")]

use std::path::Path;
use std::process::{Command, Output};

/// A `kompass` whose state is its own, so that the clusters of the machine's user are left alone.
fn kompass(state: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kompass"))
        .args(arguments)
        .env("KOMPASS_STATE", state)
        .env_remove("KOMPASS_CLUSTER")
        .env_remove("KOMPASS_EXTENDER")
        .output()
        .unwrap()
}

fn good(state: &Path, arguments: &[&str]) -> String {
    let output = kompass(state, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Processes whose command line speaks of a file below `state`.
fn processes(state: &Path) -> Vec<String> {
    let state = state.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok())
        })
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|line| line.contains(state))
        .collect()
}

#[test]
fn a_control_plane_with_kompass_lives_until_down() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    good(
        state,
        &["local", "up", "--api-only", "--yes", "--name", "a", "--kwok-nodes", "2"],
    );

    assert!(good(state, &["local", "status", "--name", "a"]).contains("control plane alone"));
    let nodes = good(
        state,
        &[
            "local", "kubectl", "--name", "a", "--", "get", "nodes", "--output", "name",
        ],
    );
    assert_eq!(nodes.lines().count(), 2, "{nodes}");
    let kubeconfig = good(state, &["local", "kubeconfig", "--name", "a"]);
    assert!(Path::new(kubeconfig.trim()).is_file(), "{kubeconfig}");
    let logs = good(state, &["local", "logs", "--name", "a"]);
    for part in [
        "kube-apiserver",
        "kompass-scheduler-extender",
        "kompass-admission-webhook",
        "kompass-kube-scheduler",
    ] {
        assert!(logs.contains(part), "{part} is missing in\n{logs}");
    }
    assert!(good(state, &["queue", "--cluster", "a"]).contains("no gangs"));
    let unknown = kompass(state, &["why", "nothing", "--cluster", "a"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("knows no gang of nothing"));

    good(state, &["local", "down", "--name", "a"]);
    assert_eq!(processes(state), Vec::<String>::new());
    assert_eq!(
        kompass(state, &["local", "kubeconfig", "--name", "a"]).status.code(),
        Some(1)
    );
}

#[test]
fn a_control_plane_whose_holder_was_killed_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    good(
        state,
        &["local", "up", "--api-only", "--yes", "--name", "b", "--without-kompass"],
    );
    let status = good(state, &["local", "status", "--name", "b"]);
    let pid = status.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    assert!(!processes(state).is_empty(), "its programs go on");

    good(
        state,
        &["local", "up", "--api-only", "--yes", "--name", "b", "--without-kompass"],
    );
    good(state, &["local", "kubectl", "--name", "b", "--", "get", "namespaces"]);
    good(state, &["local", "down", "--name", "b"]);
    assert_eq!(processes(state), Vec::<String>::new());
}
