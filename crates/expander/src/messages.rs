//! The messages of the service `grpcplugin.Expander`, as they stand on the wire.
//!
//! Pods and nodes are kept as bytes: most of them are the same for all options, and to read each once is enough. Autoscalers
//! before 1.35 send them as messages instead, which are the same bytes under another tag.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

/// Where the one method of the service is called.
pub const BEST_OPTIONS: &str = "/grpcplugin.Expander/BestOptions";

/// What is asked.
#[derive(Clone, PartialEq, Message)]
pub struct BestOptionsRequest {
    /// Each group that could grow.
    #[prost(message, repeated, tag = "1")]
    pub options: Vec<Candidate>,
    /// A node of each group, by the group's id, as autoscalers before 1.35 send it.
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub node_map: BTreeMap<String, Vec<u8>>,
    /// A node of each group, a `v1.Node`, by the group's id.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub node_bytes_map: BTreeMap<String, Vec<u8>>,
}

/// What is answered: the options that are left, known by their ids.
#[derive(Clone, PartialEq, Message)]
pub struct BestOptionsResponse {
    /// At least one unless none was asked about.
    #[prost(message, repeated, tag = "1")]
    pub options: Vec<Candidate>,
}

/// An option: to let one group grow.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Candidate {
    /// The group.
    #[prost(string, tag = "1")]
    pub node_group_id: String,
    /// By how many nodes.
    #[prost(int32, tag = "2")]
    pub node_count: i32,
    /// For people.
    #[prost(string, tag = "3")]
    pub debug: String,
    /// The pods that these nodes would take, as autoscalers before 1.35 send them.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub pod: Vec<Bytes>,
    /// The pods that these nodes would take, each a `v1.Pod`.
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub pod_bytes: Vec<Bytes>,
}

impl Candidate {
    /// Its pods, whichever way they came.
    pub fn pods(&self) -> &[Bytes] {
        if self.pod_bytes.is_empty() {
            &self.pod
        } else {
            &self.pod_bytes
        }
    }
}

impl BestOptionsRequest {
    /// A node of a group, if one was sent and is more than nothing.
    pub fn node(&self, id: &str) -> Option<&[u8]> {
        let maps = [&self.node_bytes_map, &self.node_map];
        let mut found = maps.into_iter().filter_map(|map| map.get(id));
        found.find(|node| !node.is_empty()).map(Vec::as_slice)
    }
}
