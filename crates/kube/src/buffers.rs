//! Capacity buffers (`autoscaling.x-k8s.io`), by which cluster-autoscaler and Karpenter keep nodes empty: whether there
//! are any.

use std::time::Duration;

use kube::Client;
use kube::api::{ApiResource, GroupVersionKind};

use crate::client::{RequestError, within};

/// The group; provisioning requests and capacity quotas are of it, too.
pub const GROUP: &str = "autoscaling.x-k8s.io";
/// The kind.
pub const KIND: &str = "CapacityBuffer";
/// The resource.
pub const PLURAL: &str = "capacitybuffers";
/// Understood versions, the best first. All that KOMPASS writes is named alike in both.
pub const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];

/// The best version that the API server serves; `None` where it knows no capacity buffers. That it knows them does not mean
/// that an autoscaler looks at them: Karpenter brings the definition whether it does or not. Each answer comes within
/// `limit` or not at all.
pub async fn served(client: &Client, limit: Duration) -> Result<Option<ApiResource>, RequestError> {
    for version in VERSIONS {
        let group_version = format!("{GROUP}/{version}");
        let resources = match within(limit, client.list_api_group_resources(&group_version)).await {
            Ok(list) => list.resources,
            Err(error) if error.status() == Some(404) => continue,
            Err(error) => return Err(error),
        };
        if resources.iter().any(|resource| resource.name == PLURAL) {
            let kind = GroupVersionKind::gvk(GROUP, version, KIND);
            return Ok(Some(ApiResource::from_gvk_with_plural(&kind, PLURAL)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::fake;

    const LIMIT: Duration = Duration::from_secs(5);

    async fn version(known: &'static [(&'static str, &'static str)]) -> Option<String> {
        let client = fake::client(|seen| {
            let version = seen.path.rsplit('/').next().unwrap().to_owned();
            assert_eq!(seen.path, format!("/apis/autoscaling.x-k8s.io/{version}"));
            let resources: Vec<_> = known
                .iter()
                .filter(|(of, _)| *of == version)
                .map(|(_, name)| json!({ "name": name, "singularName": "", "namespaced": true, "kind": "K", "verbs": [] }))
                .collect();
            if resources.is_empty() {
                return fake::status(
                    StatusCode::NOT_FOUND,
                    "the server could not find the requested resource",
                );
            }
            fake::ok(&json!({ "groupVersion": format!("{GROUP}/{version}"), "resources": resources }))
        });
        served(&client, LIMIT)
            .await
            .unwrap()
            .map(|resource| resource.api_version)
    }

    #[tokio::test]
    async fn the_best_version_that_has_them_is_used() {
        for (known, expected) in [
            (
                &[("v1beta1", "capacitybuffers"), ("v1alpha1", "capacitybuffers")][..],
                Some("v1beta1"),
            ),
            (
                &[("v1alpha1", "capacitybuffers/status"), ("v1alpha1", "capacitybuffers")],
                Some("v1alpha1"),
            ),
            // Of the same group, and older than buffers.
            (
                &[("v1beta1", "provisioningrequests"), ("v1alpha1", "capacitybuffers")],
                Some("v1alpha1"),
            ),
            (
                &[("v1beta1", "provisioningrequests"), ("v1", "provisioningrequests")],
                None,
            ),
            (&[], None),
        ] {
            let expected = expected.map(|version| format!("{GROUP}/{version}"));
            assert_eq!(version(known).await, expected, "{known:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_no_absence() {
        let client = fake::client(|_| fake::status(StatusCode::FORBIDDEN, "forbidden"));
        assert_eq!(served(&client, LIMIT).await.unwrap_err().status(), Some(403));
    }
}
