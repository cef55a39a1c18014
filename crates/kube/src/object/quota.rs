//! Resource quotas.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prost::Message;
use serde::Deserialize;

use super::{Quantities, metadata, or_default};

/// A resource quota.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ResourceQuota {
    /// `metadata` without `managedFields`.
    #[serde(default, deserialize_with = "metadata::deserialize")]
    pub metadata: ObjectMeta,
    /// `spec`.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: QuotaSpec,
    /// `status`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: QuotaStatus,
}

/// `spec` of a resource quota.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct QuotaSpec {
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, message", tag = "1")]
    pub hard: Quantities,
    #[serde(deserialize_with = "or_default")]
    #[prost(string, repeated, tag = "2")]
    pub scopes: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    #[prost(message, required, tag = "3")]
    pub scope_selector: ScopeSelector,
}

/// `scopeSelector` of a resource quota.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct ScopeSelector {
    #[serde(deserialize_with = "or_default")]
    #[prost(message, repeated, tag = "1")]
    pub match_expressions: Vec<ScopeRequirement>,
}

/// `scopeName operator values`.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct ScopeRequirement {
    #[prost(string, tag = "1")]
    pub scope_name: String,
    #[prost(string, tag = "2")]
    pub operator: String,
}

/// `status` of a resource quota.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the Kubernetes API")]
pub struct QuotaStatus {
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, message", tag = "1")]
    pub hard: Quantities,
    #[serde(deserialize_with = "or_default")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub used: Quantities,
}
