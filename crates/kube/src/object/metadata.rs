//! `metadata` without `managedFields`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use prost::Message;
use serde::{Deserialize, Deserializer};

use super::{Time, or_default};

/// What is read of `metadata`.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "1")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "2")]
    generate_name: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "3")]
    namespace: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "5")]
    uid: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, tag = "6")]
    resource_version: String,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "8")]
    creation_timestamp: Time,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "9")]
    deletion_timestamp: Time,
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "13")]
    owner_references: Vec<Owner>,
}

/// Any object, of which only is read what the API server itself has written or checked.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Identity {
    #[prost(message, required, tag = "1")]
    metadata: Names,
}

#[derive(Clone, PartialEq, Message)]
struct Names {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
}

impl From<Identity> for meta::ObjectMeta {
    fn from(Identity { metadata: read }: Identity) -> Self {
        Metadata {
            name: read.name,
            namespace: read.namespace,
            uid: read.uid,
            resource_version: read.resource_version,
            ..Metadata::default()
        }
        .into()
    }
}

/// An owner reference.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Owner {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    uid: String,
    #[prost(string, tag = "5")]
    api_version: String,
    #[prost(bool, optional, tag = "6")]
    controller: Option<bool>,
}

impl From<Metadata> for meta::ObjectMeta {
    fn from(read: Metadata) -> Self {
        let text = |text: String| (!text.is_empty()).then_some(text);
        let map = |map: BTreeMap<_, _>| (!map.is_empty()).then_some(map);
        let owners: Vec<_> = read.owner_references.into_iter().map(Into::into).collect();
        Self {
            name: text(read.name),
            generate_name: text(read.generate_name),
            namespace: text(read.namespace),
            uid: text(read.uid),
            resource_version: text(read.resource_version),
            creation_timestamp: time(read.creation_timestamp),
            deletion_timestamp: time(read.deletion_timestamp),
            labels: map(read.labels),
            annotations: map(read.annotations),
            owner_references: (!owners.is_empty()).then_some(owners),
            ..Self::default()
        }
    }
}

impl From<Owner> for meta::OwnerReference {
    fn from(read: Owner) -> Self {
        Self {
            api_version: read.api_version,
            kind: read.kind,
            name: read.name,
            uid: read.uid,
            controller: read.controller,
            block_owner_deletion: None,
        }
    }
}

/// `None` also beyond the years that a time stamp can tell.
fn time(read: Time) -> Option<meta::Time> {
    let ms = read.millisecond()?;
    Some(meta::Time(jiff::Timestamp::from_millisecond(ms).ok()?))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<meta::ObjectMeta, D::Error> {
    Ok(Metadata::deserialize(deserializer)?.into())
}
