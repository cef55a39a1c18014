//! Where the cluster runs, and who else places gangs in it.

use std::collections::BTreeMap;

use super::{Finding, Snapshot, ok, warn};
use crate::doctor::NodeSeen;

/// A kind of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Fargate,
    AutoMode,
    EksManaged,
    Eks,
    Autopilot,
    Gke,
    AksVirtual,
    Aks,
    Other,
}

fn kind(node: &NodeSeen) -> Kind {
    let label = |key: &str| node.labels.get(key).map(String::as_str);
    match label("eks.amazonaws.com/compute-type") {
        Some("fargate") => return Kind::Fargate,
        Some("auto") => return Kind::AutoMode,
        _ => {}
    }
    if label("eks.amazonaws.com/nodegroup").is_some() {
        Kind::EksManaged
    } else if node.provider_id.starts_with("aws://") {
        Kind::Eks
    } else if node.provider_id.starts_with("gce://") || label("cloud.google.com/gke-nodepool").is_some() {
        // Autopilot's nodes are the only ones that are called so.
        if node.name.starts_with("gk3-") {
            Kind::Autopilot
        } else {
            Kind::Gke
        }
    } else if label("type") == Some("virtual-kubelet") {
        Kind::AksVirtual
    } else if node.provider_id.starts_with("azure://") || label("kubernetes.azure.com/cluster").is_some() {
        Kind::Aks
    } else {
        Kind::Other
    }
}

fn judge(kind: Kind, count: usize) -> Finding {
    let hold = "let the predictor hold nodes by --act-with buffers or pause-pods";
    match kind {
        Kind::Fargate => warn(
            format!(
                "{count} Fargate nodes: each is made for one pod, so that pods of a Fargate profile are left alone"
            ),
            "run Spark in namespaces without a Fargate profile",
        ),
        Kind::AutoMode => warn(
            format!(
                "{count} nodes of EKS Auto Mode: they are in no Auto Scaling group, so that no floor can be raised"
            ),
            hold,
        ),
        Kind::Autopilot => warn(
            format!("{count} nodes of GKE Autopilot: it makes nodes for single pods and is not supported"),
            "use GKE Standard; jobs are placed, but holding nodes for them is not",
        ),
        Kind::AksVirtual => warn(
            format!("{count} virtual nodes: they have no room that could be reserved, and are not supported"),
            "keep Spark off them: they have a taint that Spark must not tolerate",
        ),
        Kind::EksManaged => ok(format!(
            "{count} nodes of EKS managed node groups: {hold}; floors are for Auto Scaling groups of your own"
        )),
        Kind::Eks => ok(format!("{count} nodes on AWS: all of KOMPASS works")),
        Kind::Gke => ok(format!("{count} nodes of GKE Standard: {hold}; there are no floors")),
        Kind::Aks => ok(format!("{count} nodes of AKS: {hold}; there are no floors")),
        Kind::Other => ok(format!("{count} nodes of no known cloud: there are no floors")),
    }
}

pub(super) fn platform(snapshot: &Snapshot) -> Vec<Finding> {
    let mut kinds = BTreeMap::<Kind, usize>::new();
    for node in &snapshot.nodes {
        *kinds.entry(kind(node)).or_default() += 1;
    }
    let mut findings: Vec<Finding> = kinds.into_iter().map(|(kind, count)| judge(kind, count)).collect();
    findings.extend(snapshot.others.iter().map(|other| {
        ok(format!(
            "{other} is here too: the pods that it manages are left alone, or wait for it first (docs/admission.md)"
        ))
    }));
    findings
}
