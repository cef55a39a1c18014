//! Pods and nodes as cluster-autoscaler sends them, and what they are told of.

use std::collections::BTreeMap;

use bytes::Bytes;
use kompass_expander::messages::{BestOptionsRequest, Candidate};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Pod {
    #[prost(message, required, tag = "1")]
    metadata: Metadata,
    #[prost(message, required, tag = "2")]
    spec: Spec,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Spec {
    #[prost(message, repeated, tag = "2")]
    containers: Vec<Container>,
    #[prost(string, tag = "19")]
    scheduler: String,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(message, required, tag = "8")]
    resources: Resources,
}

#[derive(Clone, PartialEq, Message)]
struct Resources {
    #[prost(btree_map = "string, message", tag = "2")]
    requests: BTreeMap<String, Quantity>,
}

#[derive(Clone, PartialEq, Message)]
struct Quantity {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(message, required, tag = "1")]
    metadata: Metadata,
    #[prost(message, required, tag = "3")]
    status: Status,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(btree_map = "string, message", tag = "2")]
    allocatable: BTreeMap<String, Quantity>,
}

fn amounts(cpu: &str, memory: &str) -> BTreeMap<String, Quantity> {
    let amount = |(name, text): (&str, &str)| (name.to_owned(), Quantity { text: text.to_owned() });
    [("cpu", cpu), ("memory", memory)].map(amount).into()
}

/// A pod with labels.
pub(crate) fn labelled(name: &str, labels: &[(&str, &str)], scheduler: &str, cpu: &str, memory: &str) -> Bytes {
    let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
    let container = Container {
        resources: Resources {
            requests: amounts(cpu, memory),
        },
    };
    let pod = Pod {
        metadata: Metadata {
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            labels: labels.collect(),
        },
        spec: Spec {
            containers: vec![container],
            scheduler: scheduler.to_owned(),
        },
    };
    pod.encode_to_vec().into()
}

/// What stands for a member of a gang.
pub(crate) fn stand_in(name: &str, gang: &str, cpu: &str, memory: &str) -> Bytes {
    let labels = [("kompass.dev/stand-in-for", gang)];
    labelled(name, &labels, "kompass-stand-in", cpu, memory)
}

/// A node that offers this.
pub(crate) fn node(cpu: &str, memory: &str) -> Vec<u8> {
    let node = Node {
        metadata: Metadata {
            name: "template".to_owned(),
            ..Metadata::default()
        },
        status: Status {
            allocatable: amounts(cpu, memory),
        },
    };
    node.encode_to_vec()
}

/// An option.
pub(crate) fn option(id: &str, nodes: i32, pods: &[Bytes]) -> Candidate {
    Candidate {
        node_group_id: id.to_owned(),
        node_count: nodes,
        pod_bytes: pods.to_vec(),
        ..Candidate::default()
    }
}

/// A gang of five that asks for ten CPUs, and two groups: one takes three of it without waste, the other all of it.
pub(crate) fn gang_of_five() -> BestOptionsRequest {
    let pods: Vec<Bytes> = (0..5)
        .map(|at| stand_in(&format!("m{at}"), "gang", "2", "8Gi"))
        .collect();
    BestOptionsRequest {
        options: vec![option("part", 1, &pods[..4]), option("whole", 2, &pods)],
        node_bytes_map: ["part", "whole"].map(|id| (id.to_owned(), node("8", "32Gi"))).into(),
        ..BestOptionsRequest::default()
    }
}
