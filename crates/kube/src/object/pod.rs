//! Pods.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prost::Message;
use serde::Deserialize;

use super::{Affinity, Condition, Quantities, Time, metadata, or_default};

/// A pod.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Pod {
    /// `metadata` without `managedFields`.
    #[serde(default, deserialize_with = "metadata::deserialize")]
    pub metadata: ObjectMeta,
    /// `spec`.
    #[serde(default)]
    pub spec: PodSpec,
    /// `status`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: PodStatus,
}

/// `spec` of a pod.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct PodSpec {
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "10")]
    pub node_name: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "19")]
    pub scheduler_name: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "38")]
    pub scheduling_gates: Vec<Named>,
    #[prost(int32, optional, tag = "25")]
    pub priority: Option<i32>,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "3")]
    pub restart_policy: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "2")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "20")]
    pub init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, message", tag = "32")]
    pub overhead: Quantities,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "40")]
    pub resources: Requirements,
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, string", tag = "7")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "18")]
    pub affinity: Affinity,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "22")]
    pub tolerations: Vec<Toleration>,
}

/// An object of which only the name is read.
#[derive(Clone, PartialEq, Message, Deserialize)]
pub struct Named {
    /// Its name.
    #[serde(default)]
    #[prost(string, tag = "1")]
    pub name: String,
}

/// A container or init container.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct Container {
    #[prost(string, tag = "1")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "6")]
    pub ports: Vec<Port>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "8")]
    pub resources: Requirements,
    /// `Always` makes an init container a sidecar.
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "24")]
    pub restart_policy: String,
}

/// A port of a container.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// 0: none.
    #[prost(int32, tag = "2")]
    pub host_port: i32,
}

/// `resources` of a container, or of a pod.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct Requirements {
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub requests: Quantities,
}

/// A toleration.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct Toleration {
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "1")]
    pub key: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "2")]
    pub operator: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "3")]
    pub value: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "4")]
    pub effect: String,
}

/// `status` of a pod.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct PodStatus {
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "1")]
    pub phase: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "2")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "8")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "10")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// What the kubelet has put into effect for the pod as a whole.
    #[prost(message, optional, tag = "20")]
    pub resources: Option<Requirements>,
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, message", tag = "19")]
    pub allocated_resources: Quantities,
}

/// The status of one container.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "2")]
    pub state: ContainerState,
    /// What the kubelet has put into effect.
    #[prost(message, optional, tag = "11")]
    pub resources: Option<Requirements>,
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, message", tag = "10")]
    pub allocated_resources: Quantities,
}

/// `state` of a container.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct ContainerState {
    #[prost(message, optional, tag = "2")]
    pub running: Option<Running>,
    #[prost(message, optional, tag = "3")]
    pub terminated: Option<Terminated>,
}

/// A container that runs.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct Running {
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "1")]
    pub started_at: Time,
}

/// A container that has ended.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct Terminated {
    #[prost(int32, tag = "1")]
    pub exit_code: i32,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "5")]
    pub started_at: Time,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "6")]
    pub finished_at: Time,
}
