//! The registration objects as JSON: only the fields that are ours. Pure.

use kompass_core::names;
use serde_json::{Value, json};

/// Name of all three objects.
pub const NAME: &str = "kompass-admission-webhook";
/// Path of the endpoint.
const PATH: &str = "/mutate";

/// How the API server reaches the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Through a Service of the cluster, on port 443.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Directly, outside the cluster.
    Url {
        /// Name or address; an IPv6 address in brackets.
        host: String,
        /// Port; `None` until the server is bound.
        port: Option<u16>,
    },
}

impl Endpoint {
    /// The names and addresses that the certificate must be for.
    pub fn subjects(&self) -> Vec<String> {
        match self {
            Self::Service { namespace, name } => vec![format!("{name}.{namespace}.svc")],
            Self::Url { host, .. } => vec![host.trim_matches(['[', ']']).to_owned()],
        }
    }

    /// The same with the port that was bound, where none was given.
    #[must_use]
    pub fn bound_to(self, bound: u16) -> Self {
        match self {
            Self::Url { host, port } => Self::Url {
                host,
                port: port.or(Some(bound)),
            },
            service @ Self::Service { .. } => service,
        }
    }
}

/// What the registration depends on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the API server reaches us.
    pub endpoint: Endpoint,
    /// Namespaces that are never touched.
    pub excluded_namespaces: Vec<String>,
    /// Touch only namespaces that ask for it.
    pub opt_in: bool,
    /// Users that may write plans and profiles.
    pub writers: Vec<String>,
}

/// The `MutatingWebhookConfiguration`; `trust` are the authorities' certificates as PEM.
pub fn webhook_configuration(settings: &Settings, trust: &str) -> Value {
    use base64::Engine as _;
    let mut client = json!({ "caBundle": base64::engine::general_purpose::STANDARD.encode(trust) });
    match &settings.endpoint {
        Endpoint::Service { namespace, name } => {
            client["service"] = json!({ "namespace": namespace, "name": name, "path": PATH, "port": 443 });
        }
        Endpoint::Url { host, port } => {
            client["url"] = json!(format!("https://{host}:{}{PATH}", port.unwrap_or(443)));
        }
    }
    let enabled = if settings.opt_in {
        json!({ "key": names::ENABLED_LABEL, "operator": "In", "values": ["true"] })
    } else {
        json!({ "key": names::ENABLED_LABEL, "operator": "NotIn", "values": ["false"] })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": NAME, "labels": labels() },
        "webhooks": [{
            "name": "pods.kompass.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": client,
            // KOMPASS down never stops a pod.
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            // Operators' webhooks add sidecars, schedulers and affinity after us.
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "timeoutSeconds": 2,
            "rules": [{
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
                "scope": "Namespaced",
            }],
            "namespaceSelector": { "matchExpressions": [
                {
                    "key": "kubernetes.io/metadata.name",
                    "operator": "NotIn",
                    "values": settings.excluded_namespaces,
                },
                enabled,
            ]},
            "objectSelector": { "matchExpressions": [
                { "key": names::SPARK_ROLE_LABEL, "operator": "In", "values": ["driver", "executor"] },
            ]},
            "matchConditions": [
                {
                    // Static pods are mirrored with their node, and past every scheduler.
                    "name": "not-a-mirror-pod",
                    "expression":
                        "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)",
                },
            ],
        }],
    })
}

/// The `ValidatingAdmissionPolicy`: plans, profiles and gang labels can't be forged.
///
/// It touches only requests of others than KOMPASS's about pods that have one of these, so that it may fail closed. Its
/// own webhook strips them at creation; what is still there came past it. An executor is never refused at its
/// creation, as Spark 4.2 and later end the job then: its label counts only beside the right owner, and its plan never.
pub fn policy(settings: &Settings) -> Value {
    let writers = serde_json::to_string(&settings.writers).expect("a list of texts is JSON");
    let annotated = format!(
        "({} || {})",
        has("object", "annotations", PLAN),
        has("object", "annotations", PROFILE)
    );
    let was_annotated = format!(
        "({} || {})",
        has("oldObject", "annotations", PLAN),
        has("oldObject", "annotations", PROFILE)
    );
    let labelled = has("object", "labels", names::GANG_LABEL);
    let was_labelled = has("oldObject", "labels", names::GANG_LABEL);
    // Not a Binding, which may carry any label.
    let executor = "request.kind.kind == 'Pod' && has(object.metadata.labels) && 'spark-role' in object.metadata.labels && \
                    object.metadata.labels['spark-role'] == 'executor'";
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": NAME, "labels": labels() },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [{
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    // A write of the status changes annotations too, and those of a Binding are copied to the pod.
                    "resources": ["pods", "pods/status", "pods/resize", "pods/ephemeralcontainers", "pods/binding"],
                    "scope": "Namespaced",
                }],
            },
            "matchConditions": [
                { "name": "not-kompass", "expression": format!("!(request.userInfo.username in {writers})") },
                {
                    "name": "has-a-field-of-kompass",
                    "expression": format!(
                        "request.operation == 'CREATE' ? {annotated} : \
                         ({annotated} || {was_annotated} || {labelled} || {was_labelled})"
                    ),
                },
            ],
            "validations": [
                {
                    "expression": format!("request.operation != 'CREATE' || ({executor})"),
                    "message": format!("a pod cannot be created or bound with the annotations {PLAN} or {PROFILE} by others than kompass"),
                    "reason": "Forbidden",
                },
                unchanged("annotations", PLAN),
                unchanged("annotations", PROFILE),
                unchanged("labels", names::GANG_LABEL),
            ],
        },
    })
}

/// The binding that puts the policy into effect.
pub fn policy_binding() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": NAME, "labels": labels() },
        "spec": { "policyName": NAME, "validationActions": ["Deny"] },
    })
}

const PLAN: &str = names::PLAN_ANNOTATION;
const PROFILE: &str = names::PROFILE_ANNOTATION;

fn labels() -> Value {
    json!({ "app.kubernetes.io/part-of": "kompass" })
}

/// CEL: the object has that label or annotation.
fn has(object: &str, field: &str, key: &str) -> String {
    let guard = if object == "oldObject" {
        "oldObject != null && "
    } else {
        ""
    };
    format!("({guard}has({object}.metadata.{field}) && '{key}' in {object}.metadata.{field})")
}

/// The rule that an update leaves a label or annotation as it is: absent, or with the same value.
fn unchanged(field: &str, key: &str) -> Value {
    let (now, before) = (has("object", field, key), has("oldObject", field, key));
    json!({
        "expression": format!(
            "request.operation != 'UPDATE' || ({now} ? \
             ({before} && object.metadata.{field}['{key}'] == oldObject.metadata.{field}['{key}']) : !{before})"
        ),
        "message": format!("{key} is written by KOMPASS only"),
        "reason": "Forbidden",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: Endpoint) -> Settings {
        Settings {
            endpoint,
            excluded_namespaces: vec!["kube-system".into(), "kompass".into()],
            opt_in: false,
            writers: vec!["system:serviceaccount:kompass:kompass-admission-webhook".into()],
        }
    }

    #[test]
    fn the_webhook_never_stops_a_pod() {
        let object = webhook_configuration(
            &settings(Endpoint::Url {
                host: "127.0.0.1".into(),
                port: Some(1),
            }),
            "x",
        );
        let webhook = &object["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], "Ignore");
        assert_eq!(webhook["timeoutSeconds"], 2);
        assert_eq!(webhook["clientConfig"]["url"], "https://127.0.0.1:1/mutate");
        assert_eq!(webhook["clientConfig"]["caBundle"], "eA==");
        assert!(webhook["clientConfig"].get("service").is_none());
    }

    #[test]
    fn opting_in_and_out_is_by_namespace_label() {
        let service = Endpoint::Service {
            namespace: "kompass".into(),
            name: "w".into(),
        };
        let rule = |settings: &Settings| {
            webhook_configuration(settings, "")["webhooks"][0]["namespaceSelector"]["matchExpressions"][1].clone()
        };
        let mut settings = settings(service);
        assert_eq!(rule(&settings)["operator"], "NotIn");
        settings.opt_in = true;
        assert_eq!(
            rule(&settings),
            json!({"key": "kompass.dev/enabled", "operator": "In", "values": ["true"]})
        );
    }

    #[test]
    fn certificates_are_for_what_the_api_server_calls() {
        let service = Endpoint::Service {
            namespace: "kompass".into(),
            name: "w".into(),
        };
        assert_eq!(service.subjects(), ["w.kompass.svc"]);
        let url = Endpoint::Url {
            host: "[::1]".into(),
            port: None,
        };
        assert_eq!(url.subjects(), ["::1"]);
        assert_eq!(
            url.bound_to(7),
            Endpoint::Url {
                host: "[::1]".into(),
                port: Some(7)
            }
        );
    }
}
