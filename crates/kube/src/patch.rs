//! Patches that only take effect on the object as we knew it.

use std::fmt::Debug;
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::client::{RequestError, within};

/// Why a patch did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object is not as it was thought to be: a `test` failed. Look at it again.
    #[error("failed to patch {0:?}: it has changed")]
    Changed(String),
    /// It is gone.
    #[error("failed to patch {0:?}: it is gone")]
    Gone(String),
    /// Anything else; after a time-out the patch may yet have happened.
    #[error("failed to patch {name:?}")]
    Request {
        /// The object's name.
        name: String,
        /// What the API server said.
        #[source]
        source: RequestError,
    },
}

/// The operations of a JSON patch (RFC 6902), in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Operations(Vec<Value>);

impl Operations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the patch take effect only if `path` holds `value`.
    #[must_use]
    pub fn test(self, path: &str, value: impl Into<Value>) -> Self {
        self.with("test", path, Some(value.into()))
    }

    /// Sets `path`; its parent must be there.
    #[must_use]
    pub fn add(self, path: &str, value: impl Into<Value>) -> Self {
        self.with("add", path, Some(value.into()))
    }

    /// Removes `path`, which must be there.
    #[must_use]
    pub fn remove(self, path: &str) -> Self {
        self.with("remove", path, None)
    }

    /// The patch as it is sent.
    pub fn to_json(&self) -> Value {
        Value::Array(self.0.clone())
    }

    fn with(mut self, operation: &str, path: &str, value: Option<Value>) -> Self {
        let mut entry = json!({ "op": operation, "path": path });
        if let Some(value) = value {
            entry["value"] = value;
        }
        self.0.push(entry);
        self
    }
}

/// A key as a segment of a JSON pointer: `kompass.dev/gang` becomes `kompass.dev~1gang`.
pub fn segment(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Sends the patch; the object after it on success.
pub async fn send<K>(api: &Api<K>, name: &str, operations: &Operations, limit: Duration) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    // Through JSON because `json_patch::Patch` has no constructor of single operations that takes texts.
    let patch: json_patch::Patch = serde_json::from_value(operations.to_json()).map_err(|source| Error::Request {
        name: name.to_owned(),
        source: RequestError::Api(kube::Error::SerdeError(source)),
    })?;
    let sent = within(
        limit,
        api.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)),
    )
    .await;
    sent.map_err(|source| classify(name, source))
}

/// Sends a merge patch (RFC 7396). `metadata.uid` and `metadata.resourceVersion` in it are preconditions. Unlike a JSON
/// patch it adds an annotation also where there was none before.
pub async fn merge<K>(api: &Api<K>, name: &str, patch: &Value, limit: Duration) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let sent = within(limit, api.patch(name, &PatchParams::default(), &Patch::Merge(patch))).await;
    sent.map_err(|source| classify(name, source))
}

/// What the API server says (1.36) of a JSON patch that does not apply, a failed `test` or a path that is not there (it
/// keeps the reason to itself), and of a `metadata.uid` in a merge patch that is another's.
const CHANGED: [&str; 2] = ["rejected our request due to an error in our request", "metadata.uid"];

fn classify(name: &str, source: RequestError) -> Error {
    let name = name.to_owned();
    match source.status() {
        Some(404) => Error::Gone(name),
        Some(409) => Error::Changed(name),
        Some(422) if CHANGED.iter().any(|text| source.message().contains(text)) => Error::Changed(name),
        _ => Error::Request { name, source },
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use k8s_openapi::api::core::v1::Pod;

    use super::*;
    use crate::fake;

    #[test]
    fn operations_are_those_of_rfc_6902() {
        let operations = Operations::new()
            .test("/metadata/uid", "u")
            .add(
                &format!("/metadata/annotations/{}", segment("kompass.dev/gang-plan")),
                "{}",
            )
            .remove("/spec/schedulingGates/0");
        assert_eq!(
            operations.to_json(),
            json!([
                { "op": "test", "path": "/metadata/uid", "value": "u" },
                { "op": "add", "path": "/metadata/annotations/kompass.dev~1gang-plan", "value": "{}" },
                { "op": "remove", "path": "/spec/schedulingGates/0" },
            ])
        );
        assert_eq!(segment("a~b/c"), "a~0b~1c");
    }

    #[tokio::test]
    async fn refusals_are_told_apart() {
        for (code, message, expected) in [
            (
                422,
                "the server rejected our request due to an error in our request",
                "it has changed",
            ),
            (
                422,
                "metadata.uid: Invalid value: \"u\": field is immutable",
                "it has changed",
            ),
            (409, "the object has been modified", "it has changed"),
            (404, "pods \"p\" not found", "it is gone"),
            (422, "Pod \"p\" is invalid: spec: Forbidden", "failed to patch \"p\""),
            (403, "pods \"p\" is forbidden", "failed to patch \"p\""),
        ] {
            let client = fake::client(move |_| fake::status(StatusCode::from_u16(code).unwrap(), message));
            let api: Api<Pod> = Api::namespaced(client, "default");
            let operations = Operations::new().test("/metadata/uid", "u");
            let error = send(&api, "p", &operations, Duration::from_secs(5)).await.unwrap_err();
            assert!(error.to_string().ends_with(expected), "{code} {message}: {error}");
        }
    }
}
