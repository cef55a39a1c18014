//! Driver pods between two looks, as text, which takes much less than trees: thousands may wait at once.

use std::sync::Arc;

use serde_json::Value;

/// A pod as it was read, without what only the API server reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept(Arc<str>);

impl Kept {
    /// Keeps a pod.
    pub(super) fn new(mut pod: Value) -> Self {
        if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        Self(pod.to_string().into())
    }

    /// The pod.
    pub(super) fn pod(&self) -> Option<Value> {
        serde_json::from_str(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Kept;

    #[test]
    fn a_pod_is_kept_without_what_only_the_api_server_reads() {
        let pod = json!({
            "metadata": {"name": "x", "managedFields": [{"manager": "fabric8"}], "resourceVersion": "7"},
            "spec": {"containers": []},
        });
        let kept = Kept::new(pod).pod().unwrap();
        assert_eq!(
            kept,
            json!({"metadata": {"name": "x", "resourceVersion": "7"}, "spec": {"containers": []}})
        );
    }
}
