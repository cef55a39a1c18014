//! Pods, nodes, quotas and namespaces as the API server sends them, cut down to the fields that KOMPASS reads.
//!
//! A pod in full is some 8 KiB of JSON, half of it `managedFields`, volumes and environment; a watch over 50,000 of
//! them is read in a fraction of the time and memory when the rest is skipped by the parser. The fields are named as
//! in the Kubernetes API and mean the same. These types are only read, never written back: a typed round trip would
//! drop what is not named here.
//!
//! They are read from JSON, which is what webhooks, kube-scheduler and patches send, and from protobuf, in which
//! [`crate::watch`] asks for lists and watches. The tags are those of `generated.proto` in `k8s.io/api/core/v1` and
//! `k8s.io/apimachinery`; tags never change.

mod affinity;
mod metadata;
mod namespace;
mod node;
mod pod;
mod quota;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use prost::Message;
use serde::{Deserialize, Deserializer, de};

pub use self::affinity::{
    Affinity, LabelSelector, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinity,
    PodAffinityTerm,
};
pub(crate) use self::metadata::Identity;
use self::metadata::Metadata;
pub use self::namespace::Namespace;
pub use self::node::{Node, NodeSpec, NodeStatus, Taint};
pub use self::pod::{
    Container, ContainerState, ContainerStatus, Named, Pod, PodSpec, PodStatus, Port, Requirements, Running,
    Terminated, Toleration,
};
pub use self::quota::{QuotaSpec, QuotaStatus, ResourceQuota, ScopeRequirement, ScopeSelector};

/// Amounts by resource name, not yet read as numbers.
pub type Quantities = BTreeMap<String, Quantity>;

/// A quantity as it is written (`500m`, `1Gi`).
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Quantity(#[prost(string, tag = "1")] pub String);

/// A moment; the default is none, as in Go, which writes it as `null` or as an empty message.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Time {
    /// Whole seconds since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds after these.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Time {
    /// Milliseconds since 1970, if there is a moment.
    pub fn millisecond(&self) -> Option<i64> {
        let ms = self.seconds.saturating_mul(1_000);
        (*self != Self::default()).then(|| ms.saturating_add(i64::from(self.nanos) / 1_000_000))
    }
}

/// A condition of a pod or a node.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct Condition {
    #[serde(rename = "type")]
    #[prost(string, tag = "1")]
    pub type_: String,
    #[prost(string, tag = "2")]
    pub status: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "4")]
    pub last_transition_time: Time,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "5")]
    pub reason: String,
}

/// An object that can be read from either encoding.
pub trait Object:
    kube::Resource<DynamicType = ()> + de::DeserializeOwned + fmt::Debug + Clone + Send + Sync + 'static
{
    /// Reads the object's message; the envelope is off already.
    fn from_protobuf(bytes: &[u8]) -> Result<Self, prost::DecodeError>;
}

macro_rules! object {
    ($type:ident { $($field:ident: $message:ty = $tag:tt),* }, $plural:literal, $scope:ty) => {
        impl Object for $type {
            fn from_protobuf(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
                #[derive(Clone, PartialEq, Message)]
                struct Whole {
                    #[prost(message, required, tag = "1")]
                    metadata: Metadata,
                    $(
                        #[prost(message, required, tag = $tag)]
                        $field: $message,
                    )*
                }
                let whole = Whole::decode(bytes)?;
                Ok(Self {
                    metadata: whole.metadata.into(),
                    $($field: whole.$field,)*
                })
            }
        }

        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind(&(): &()) -> Cow<'_, str> {
                stringify!($type).into()
            }

            fn group(&(): &()) -> Cow<'_, str> {
                "".into()
            }

            fn version(&(): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural(&(): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

object!(
    Pod {
        spec: PodSpec = "2",
        status: PodStatus = "3"
    },
    "pods",
    NamespaceResourceScope
);
object!(
    Node {
        spec: NodeSpec = "2",
        status: NodeStatus = "3"
    },
    "nodes",
    ClusterResourceScope
);
object!(
    ResourceQuota {
        spec: QuotaSpec = "2",
        status: QuotaStatus = "3"
    },
    "resourcequotas",
    NamespaceResourceScope
);
object!(Namespace {}, "namespaces", ClusterResourceScope);

/// Reads `null` as the default: Go writes nil slices and maps so.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let time = jiff::Timestamp::deserialize(deserializer)?;
        Ok(Self {
            seconds: time.as_second(),
            nanos: time.subsec_nanosecond(),
        })
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity: a text like \"500m\", or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests;
