//! Namespaces.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::metadata;

/// A namespace, of which only the metadata is read.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Namespace {
    /// `metadata` without `managedFields`.
    #[serde(default, deserialize_with = "metadata::deserialize")]
    pub metadata: ObjectMeta,
}
