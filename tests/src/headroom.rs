//! Nodes that are held empty: the predictor's holder with its own rights, and what it has made.

use std::time::Duration;

use jiff::Timestamp;
use kompass_capacity::Shape;
use kompass_core::{Constraints, names};
use kompass_local_cluster::kompass::NAMESPACE;
use kompass_predictor::hold::{Holder, Limits, Means, Report, Settings, Wish};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::deployment::Deployment;
use crate::wait::wait_for;

/// The account that the predictor runs as.
const ACCOUNT: &str = "kompass-predictor";

/// Holds at most ten nodes of three CPUs and 4 GiB with this label.
///
/// # Errors
/// None, with this shape.
pub fn settings(label: (&str, &str), means: Means, ttl: Duration) -> anyhow::Result<Settings> {
    Ok(Settings {
        namespace: NAMESPACE.to_owned(),
        limits: Limits {
            shape: Shape::new(3_000, 4_096)?,
            constraints: Constraints {
                node_selector: [(label.0.to_owned(), label.1.to_owned())].into(),
                ..Constraints::default()
            },
            image: "example.com/pause".to_owned(),
            nodes_max: 10,
            ttl_ms: i64::try_from(ttl.as_millis())?,
        },
        owner: None,
        means,
    })
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Reconciles until nothing is left to be done.
///
/// # Errors
/// What was left, or what went wrong, when the time had passed.
pub async fn settle(holder: &mut Holder, wish: &Wish, limit: Duration) -> anyhow::Result<Report> {
    let holder = Mutex::new(holder);
    wait_for("the nodes to be held as wished", limit, || async {
        let report = holder.lock().await.reconcile(wish, now_ms(), &|| true).await;
        match report {
            Ok(report) if report.is_settled => Ok(report),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// A client with the rights that holding nodes needs, and no others.
///
/// # Errors
/// What the API server answered.
pub async fn predictor(deployment: &mut Deployment) -> anyhow::Result<Client> {
    let change = ["list", "create", "patch", "delete"];
    let rule = |group: &str, resource: &str, verbs: &[&str]| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
    let own = [
        rule("autoscaling.x-k8s.io", "capacitybuffers", &change),
        rule("", "podtemplates", &change),
        rule("batch", "jobs", &change),
        rule("", "pods", &["list"]),
        rule("", "pods/status", &["patch"]),
    ];
    let all = [
        rule("", "nodes", &["list"]),
        rule("", "pods", &["list"]),
        rule("scheduling.k8s.io", "priorityclasses", &["create"]),
    ];
    let user = format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}");
    let rbac = "rbac.authorization.k8s.io/v1";
    let metadata = json!({ "name": ACCOUNT, "namespace": NAMESPACE });
    let to = |kind: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": ACCOUNT });
    let subjects = json!([{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user }]);
    let items = json!([
        { "apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": own },
        { "apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "roleRef": to("Role"), "subjects": subjects },
        { "apiVersion": rbac, "kind": "ClusterRole", "metadata": { "name": ACCOUNT }, "rules": all },
        { "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": { "name": ACCOUNT }, "roleRef": to("ClusterRole"),
          "subjects": subjects },
    ]);
    let cluster = deployment.cluster();
    let file = cluster.folder().join("predictor.json");
    std::fs::write(
        &file,
        json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string(),
    )?;
    cluster
        .kubectl(&["apply", "--filename", &file.display().to_string()])
        .await?;
    let kubeconfig = cluster.kubeconfig_for(&user, &["system:authenticated"])?;
    Ok(kompass_kube::client::connect(Some(&kubeconfig), ACCOUNT).await?)
}

/// Everything of a kind that holds nodes in KOMPASS's namespace, as `name of its part`, nodes, and the object.
///
/// # Errors
/// What the API server answered.
pub async fn held(
    client: &Client,
    group: &str,
    version: &str,
    kind: &str,
) -> Result<Vec<(String, Value)>, kube::Error> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    let list = api.list(&ListParams::default().labels(names::HEADROOM_LABEL)).await?;
    let mut held: Vec<(String, Value)> = list
        .into_iter()
        .map(|object| {
            let held_for = object
                .metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(names::HEADROOM_FOR_ANNOTATION));
            let held_for = held_for.cloned().unwrap_or_default();
            let mut value = object.data;
            value["metadata"] = serde_json::to_value(&object.metadata).unwrap_or_default();
            (held_for, value)
        })
        .collect();
    held.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(held)
}
