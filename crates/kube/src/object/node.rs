//! Nodes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prost::Message;
use serde::Deserialize;

use super::{Condition, Quantities, metadata, or_default};

/// A node.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Node {
    /// `metadata` without `managedFields`.
    #[serde(default, deserialize_with = "metadata::deserialize")]
    pub metadata: ObjectMeta,
    /// `spec`.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: NodeSpec,
    /// `status`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: NodeStatus,
}

/// `spec` of a node.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct NodeSpec {
    #[serde(rename = "providerID", deserialize_with = "or_default")]
    #[prost(string, tag = "3")]
    pub provider_id: String,
    #[prost(bool, tag = "4")]
    pub unschedulable: bool,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "5")]
    pub taints: Vec<Taint>,
}

/// A taint.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct Taint {
    #[prost(string, tag = "1")]
    pub key: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(string, tag = "3")]
    pub effect: String,
}

/// `status` of a node.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub allocatable: Quantities,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "4")]
    pub conditions: Vec<Condition>,
}
