//! Nodes that only exist in the API. KWOK plays their kubelets: it keeps their leases and makes their pods run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::Spec;
use crate::programs::{self, Program, Programs};

/// The annotation of nodes that KWOK plays, and the key of their taint.
pub const ANNOTATION: &str = "kwok.x-k8s.io/node";
/// The label that all of these nodes have, with the value `kwok`.
pub const LABEL: &str = "type";

/// What happens to such nodes and pods, and when.
const STAGES: &str = include_str!("kwok/stages.yaml");

/// Why KWOK cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be had.
    #[error("failed to get the program")]
    Programs(#[from] programs::Error),
    /// The file of stages cannot be written.
    #[error("failed to write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
}

/// How KWOK behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a lease holds; each node renews its own four times in that time. With thousands of nodes take minutes,
    /// and a longer grace of the controller manager, or the renewals are all that the API server does.
    pub lease: Duration,
    /// More `Stage` objects as YAML documents, for example one that ends pods after some time.
    pub more_stages: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(40),
            more_stages: String::new(),
        }
    }
}

/// What KWOK is started with. Stages and log go into `folder`.
pub fn spec(
    programs: &Programs,
    kubeconfig: &Path,
    folder: &Path,
    address: SocketAddr,
    options: &Options,
) -> Result<Spec, Error> {
    let stages = folder.join("kwok.stages.yaml");
    let text = format!("{STAGES}---\n{}", options.more_stages);
    std::fs::write(&stages, text).map_err(|source| Error::Write {
        path: stages.clone(),
        source,
    })?;
    Ok(Spec::new("kwok", programs.path(Program::Kwok)?, &folder.join("logs"))
        .serving(address)
        // It keeps a folder of its own in the home folder unless told otherwise.
        .environment("KWOK_WORKDIR", folder.join("kwok").display().to_string())
        .path_flag("kubeconfig", kubeconfig)
        .path_flag("config", &stages)
        .argument("--manage-all-nodes=false")
        .argument(format!("--manage-nodes-with-annotation-selector={ANNOTATION}=fake"))
        .argument(format!("--node-lease-duration-seconds={}", options.lease.as_secs()))
        .argument(format!("--server-address={address}")))
}

/// What each of the nodes looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Names are `<prefix>-0`, `<prefix>-1`, and so on.
    pub name_prefix: String,
    /// Allocatable CPU in thousandths of a core.
    pub cpu_millis: u64,
    /// Allocatable memory in bytes.
    pub memory_bytes: u64,
    /// Allocatable pods.
    pub pods: u64,
    /// Labels beside the usual ones.
    pub labels: BTreeMap<String, String>,
    /// The nodes carry a taint that keeps pods of other nodes away; wanted beside real nodes.
    pub tainted: bool,
    /// The object itself says that the node is ready. For clusters without KWOK; without a controller manager it stays so.
    pub ready_at_once: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            name_prefix: "fake".to_owned(),
            cpu_millis: 8_000,
            memory_bytes: 32 << 30,
            pods: 110,
            labels: BTreeMap::new(),
            tainted: false,
            ready_at_once: false,
        }
    }
}

/// `count` Node objects of one shape.
pub fn fake_nodes(count: usize, shape: &Shape) -> Vec<Value> {
    (0..count).map(|number| fake_node(number, shape)).collect()
}

fn fake_node(number: usize, shape: &Shape) -> Value {
    let name = format!("{}-{number}", shape.name_prefix);
    let mut labels = shape.labels.clone();
    for (key, value) in [
        (LABEL, "kwok"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/hostname", &name),
    ] {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    let resources = json!({
        "cpu": format!("{}m", shape.cpu_millis),
        "memory": shape.memory_bytes.to_string(),
        "pods": shape.pods.to_string(),
    });
    let mut node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {ANNOTATION: "fake"}},
        "spec": {},
        "status": {"capacity": resources, "allocatable": resources},
    });
    if shape.tainted {
        node["spec"]["taints"] = json!([{"key": ANNOTATION, "value": "fake", "effect": "NoSchedule"}]);
    }
    if shape.ready_at_once {
        node["status"]["conditions"] = json!([{
            "type": "Ready", "status": "True", "reason": "FakeNode", "message": "declared ready",
        }]);
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_numbered_and_carry_their_shape() {
        let shape = Shape {
            labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            tainted: true,
            ..Shape::default()
        };
        let nodes = fake_nodes(3, &shape);
        assert_eq!(nodes.len(), 3);
        let node = &nodes[2];
        assert_eq!(node["metadata"]["name"], "fake-2");
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "fake-2");
        assert_eq!(node["metadata"]["labels"]["zone"], "a");
        assert_eq!(node["metadata"]["annotations"][ANNOTATION], "fake");
        assert_eq!(node["spec"]["taints"][0]["effect"], "NoSchedule");
        assert_eq!(node["status"]["allocatable"]["cpu"], "8000m");
        assert!(node["status"].get("conditions").is_none());
    }

    #[test]
    fn ready_at_once_is_a_condition_of_the_object() {
        let shape = Shape {
            ready_at_once: true,
            ..Shape::default()
        };
        let nodes = fake_nodes(1, &shape);
        assert_eq!(nodes[0]["status"]["conditions"][0]["status"], "True");
        assert!(nodes[0]["spec"].get("taints").is_none());
    }
}
