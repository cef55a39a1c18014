//! What `setup-kompass.sh cluster` finds out before it changes anything, on a real API server: rights that one can't give.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use kompass_deployment_tests::{project, run};
use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use serde_json::json;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_mins(2);
const USER: &str = "ada";
const NO_PERMISSION: i32 = 4;

/// What the script asks for, and no right that KOMPASS has.
fn installer() -> serde_json::Value {
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    let make = ["create", "get", "list", "patch", "update"];
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "installer"},
        "rules": [
            rule(&[""], &["nodes"], &["list"]),
            rule(
                &[""],
                &["namespaces", "pods", "services", "serviceaccounts", "secrets", "configmaps", "resourcequotas"],
                &make,
            ),
            rule(
                &["rbac.authorization.k8s.io"],
                &["clusterroles", "clusterrolebindings", "roles", "rolebindings"],
                &make,
            ),
            rule(
                &["admissionregistration.k8s.io"],
                &["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
                &make,
            ),
            rule(
                &["scheduling.k8s.io", "apps", "coordination.k8s.io", "networking.k8s.io", "policy"],
                &["priorityclasses", "deployments", "leases", "networkpolicies", "poddisruptionbudgets"],
                &make,
            ),
        ],
    })
}

/// The script's plan, as that user sees it.
async fn plan(cluster: &Cluster) -> Output {
    let programs = programs::ensure(&[Module::Kubernetes, Module::Helm], &Progress::lines())
        .await
        .unwrap();
    let mut path = OsString::new();
    for program in [Program::Kubectl, Program::Helm] {
        let folder = programs.path(program).unwrap().parent().map(PathBuf::from).unwrap();
        path.push(folder);
        path.push(":");
    }
    path.push(std::env::var_os("PATH").unwrap());
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(project().join("setup-kompass.sh"));
    command
        .args(["cluster", "--plan", "--kubeconfig"])
        .arg(cluster.kubeconfig_for(USER, &["system:authenticated"]).unwrap())
        .env("PATH", path)
        .env("HOME", home.path())
        .env_remove("KUBECONFIG");
    run(&mut command, LIMIT).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_one_may_not_give_are_told_before_anything_is_changed() {
    let cluster = Cluster::start(Options {
        progress: Progress::lines(),
        ..Options::default()
    })
    .await
    .unwrap();
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    cluster.client().create(roles, &installer()).await.unwrap();
    let user = format!("--user={USER}");
    let bind = [
        "create",
        "clusterrolebinding",
        "installer",
        "--clusterrole=installer",
        &user,
    ];
    cluster.kubectl(&bind).await.unwrap();

    let refused = plan(&cluster).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(NO_PERMISSION), "{said}");
    assert!(said.contains("none that give more than you hold"), "{said}");
    assert!(said.contains(r#"Resources:["pods/binding"]"#), "{said}");
    let there = cluster
        .kubectl(&["get", "clusterroles", "--output=name"])
        .await
        .unwrap();
    assert!(!there.contains("kompass"), "a dry run made a role: {there}");

    // Who may give more than he holds may install.
    let escalate = [
        "create",
        "clusterrole",
        "escalator",
        "--verb=escalate,bind",
        "--resource=clusterroles,roles",
    ];
    cluster.kubectl(&escalate).await.unwrap();
    let bind = [
        "create",
        "clusterrolebinding",
        "escalator",
        "--clusterrole=escalator",
        &user,
    ];
    cluster.kubectl(&bind).await.unwrap();
    // The API server takes a moment to learn it.
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let allowed = plan(&cluster).await;
        let said = String::from_utf8_lossy(&allowed.stderr).into_owned();
        if allowed.status.success() {
            assert!(said.contains("You have them all"), "{said}");
            break;
        }
        assert!(
            said.contains("none that give more than you hold") && std::time::Instant::now() < deadline,
            "{said}"
        );
    }
    cluster.stop().await.unwrap();
}
