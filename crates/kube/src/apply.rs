//! Server-side apply: we own the fields that we write and no others.

use std::fmt::Debug;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{REQUEST_TIMEOUT, RequestError, within};

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("failed to apply {name:?}")]
pub struct Error {
    /// The object's name.
    pub name: String,
    /// What the API server said.
    #[source]
    pub source: RequestError,
}

/// Applies `object` (with `apiVersion`, `kind` and `metadata.name`) as field manager `manager`, creating it if absent.
/// Fields that another manager holds are taken over: the object is ours. Repeating it changes nothing.
pub async fn apply<K>(api: &Api<K>, manager: &str, name: &str, object: &impl ApplyObject) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let parameters = PatchParams::apply(manager).force();
    within(REQUEST_TIMEOUT, api.patch(name, &parameters, &Patch::Apply(object)))
        .await
        .map_err(|source| Error {
            name: name.to_owned(),
            source,
        })
}

/// Anything that can be sent as an object to apply.
pub trait ApplyObject: Serialize + Debug {}

impl<T: Serialize + Debug> ApplyObject for T {}
