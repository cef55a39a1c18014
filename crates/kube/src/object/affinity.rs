//! Affinity of pods.

use std::collections::BTreeMap;

use prost::Message;
use serde::Deserialize;

use super::or_default;

/// `affinity`, of which only what is required is read.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct Affinity {
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "1")]
    pub node_affinity: NodeAffinity,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "2")]
    pub pod_affinity: PodAffinity,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "3")]
    pub pod_anti_affinity: PodAffinity,
}

/// `nodeAffinity`.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    #[prost(message, optional, tag = "1")]
    pub required: Option<NodeSelector>,
}

/// A node selector: terms that are alternatives.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct NodeSelector {
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "1")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// One alternative of a node selector.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct NodeSelectorTerm {
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "1")]
    pub match_expressions: Vec<NodeSelectorRequirement>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "2")]
    pub match_fields: Vec<NodeSelectorRequirement>,
}

/// `key operator values`.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct NodeSelectorRequirement {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub operator: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, repeated, tag = "3")]
    pub values: Vec<String>,
}

/// `podAffinity` or `podAntiAffinity`.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct PodAffinity {
    #[serde(
        rename = "requiredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "or_default"
    )]
    #[prost(message, repeated, tag = "1")]
    pub required: Vec<PodAffinityTerm>,
}

/// One term of it. `matchLabelKeys` and `mismatchLabelKeys` are not read: the API server has put what they mean into the
/// label selector.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct PodAffinityTerm {
    #[prost(message, optional, tag = "1")]
    pub label_selector: Option<LabelSelector>,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, repeated, tag = "2")]
    pub namespaces: Vec<String>,
    #[prost(string, tag = "3")]
    pub topology_key: String,
    #[prost(message, optional, tag = "4")]
    pub namespace_selector: Option<LabelSelector>,
}

/// A label selector.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct LabelSelector {
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, string", tag = "1")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "2")]
    pub match_expressions: Vec<NodeSelectorRequirement>,
}
