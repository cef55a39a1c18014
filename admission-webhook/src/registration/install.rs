//! Whose registration it is. Pure.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kompass_core::names;
use kube::{Resource, ResourceExt as _};

/// On all objects: the install that they belong to, `namespace/service`. No label, since labels hold no slash.
pub const ANNOTATION: &str = "kompass.dev/install";

/// The install that an object names.
pub(super) fn of(object: &impl Resource) -> Option<String> {
    object.annotations().get(ANNOTATION).cloned()
}

/// Why the API server is not to ask about pods, where somebody has said so.
pub(super) fn bypassed(object: &MutatingWebhookConfiguration) -> Option<&str> {
    object.annotations().get(names::BYPASS_ANNOTATION).map(String::as_str)
}

/// The install that a webhook configuration belongs to: by its name, else by the Service that it calls.
pub(super) fn of_webhook(object: &MutatingWebhookConfiguration) -> Option<String> {
    of(object).or_else(|| {
        let webhook = object.webhooks.as_ref()?.first()?;
        let service = webhook.client_config.service.as_ref()?;
        Some(format!("{}/{}", service.namespace, service.name))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_install_is_known_by_its_name_or_its_service() {
        let object = |annotations, client| -> MutatingWebhookConfiguration {
            serde_json::from_value(json!({
                "metadata": {"annotations": annotations},
                "webhooks": [{"name": "w", "admissionReviewVersions": [], "sideEffects": "None", "clientConfig": client}],
            }))
            .unwrap()
        };
        let service = json!({"service": {"namespace": "a", "name": "w"}});
        let named = object(json!({"kompass.dev/install": "b/w"}), service.clone());
        assert_eq!(of_webhook(&named).as_deref(), Some("b/w"));
        assert_eq!(of_webhook(&object(json!({}), service)).as_deref(), Some("a/w"));
        assert_eq!(of_webhook(&object(json!({}), json!({"url": "https://x"}))), None);
    }
}
