//! The webhook configuration as JSON: only the fields that are ours. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kompass_core::{Role, names};
use kompass_spark::role::Marks;
use serde_json::{Value, json};

use super::install;
use crate::certificates::Trust;

/// Name of all three objects.
pub const NAME: &str = names::REGISTRATION;
/// Path of the endpoint.
const PATH: &str = "/mutate";
/// Path of the endpoint that answers the probe.
pub const PROBE_PATH: &str = "/probe";
/// Label of the objects that only ask whether the API server reaches the webhook.
pub const PROBE_LABEL: &str = "kompass.dev/probe";
/// Label that the API server gives to every namespace.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// cert-manager's CA injector writes the caBundle of what has this.
const INJECT: &str = "cert-manager.io/inject-ca-from";

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
            Self::Service { namespace, name } => ["", "-probe"]
                .map(|suffix| format!("{name}{suffix}.{namespace}.svc"))
                .into(),
            Self::Url { host, .. } => vec![host.trim_matches(['[', ']']).to_owned()],
        }
    }

    /// How the API server calls `path`. The probe has a Service of its own, which also leads to pods that are not ready:
    /// they wait for the probe.
    fn client_config(&self, path: &str) -> Value {
        match self {
            Self::Service { namespace, name } => {
                let suffix = if path == PROBE_PATH { "-probe" } else { "" };
                json!({"service": {
                    "namespace": namespace, "name": format!("{name}{suffix}"), "path": path, "port": 443,
                }})
            }
            Self::Url { host, port } => json!({"url": format!("https://{host}:{}{path}", port.unwrap_or(443))}),
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
    /// Which install of KOMPASS this is: `namespace/service`.
    pub install: String,
    /// Namespace of KOMPASS's own objects.
    pub namespace: String,
    /// How the API server reaches us.
    pub endpoint: Endpoint,
    /// Namespaces that are never touched.
    pub excluded_namespaces: Vec<String>,
    /// Touch only namespaces that ask for it.
    pub opt_in: bool,
    /// Users that may write plans and profiles.
    pub writers: Vec<String>,
    /// Name of the `ClusterRole` that owns the objects.
    pub owner: Option<String>,
}

/// The `MutatingWebhookConfiguration`.
pub fn webhook_configuration(settings: &Settings, trust: &Trust) -> Value {
    let client_config = |path| {
        let mut config = settings.endpoint.client_config(path);
        if let Trust::Bundle(pem) = trust {
            config["caBundle"] = json!(STANDARD.encode(pem));
        }
        config
    };
    let mut metadata = metadata(settings);
    if let Trust::Injected(certificate) = trust {
        metadata["annotations"][INJECT] = json!(certificate);
    }
    let enabled = if settings.opt_in {
        json!({ "key": names::ENABLED_LABEL, "operator": "In", "values": ["true"] })
    } else {
        json!({ "key": names::ENABLED_LABEL, "operator": "NotIn", "values": ["false"] })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": metadata,
        "webhooks": [{
            "name": names::PODS_WEBHOOK,
            "admissionReviewVersions": ["v1"],
            "clientConfig": client_config(PATH),
            // KOMPASS down never stops a pod.
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            // Operators' webhooks add sidecars, schedulers and affinity after us.
            "reinvocationPolicy": "IfNeeded",
            // Who has a slot is remembered.
            "sideEffects": "NoneOnDryRun",
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
                    "key": NAMESPACE_LABEL,
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
                {
                    // A pod may wear the label and be something else.
                    "name": "runs-spark",
                    "expression": runs_spark(),
                },
            ],
        }, probe(settings, &client_config(PROBE_PATH))],
    })
}

/// CEL: a container runs Spark in the role that the pod's label names. The same as [`kompass_spark::role::of`] finds.
fn runs_spark() -> String {
    let runs = |role| {
        let Marks { commands, names } = Marks::of(role);
        format!(
            "object.spec.containers.exists(c, c.name in {} || (has(c.args) && c.args.exists(a, a in {})))",
            json!(names),
            json!(commands)
        )
    };
    format!(
        "object.metadata.labels['{}'] == 'driver' ? {} : {}",
        names::SPARK_ROLE_LABEL,
        runs(Role::Driver),
        runs(Role::Executor)
    )
}

/// The entry that answers the probe. It sees nothing but our own dry runs, so that it may fail: the API server then says
/// why it does not reach us.
fn probe(settings: &Settings, client_config: &Value) -> Value {
    json!({
        "name": "probe.kompass.dev",
        "admissionReviewVersions": ["v1"],
        "clientConfig": client_config,
        "failurePolicy": "Fail",
        "matchPolicy": "Exact",
        "reinvocationPolicy": "Never",
        "sideEffects": "None",
        "timeoutSeconds": 5,
        "rules": [{
            "apiGroups": ["coordination.k8s.io"],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["leases"],
            "scope": "Namespaced",
        }],
        "namespaceSelector": { "matchExpressions": [
            { "key": NAMESPACE_LABEL, "operator": "In", "values": [settings.namespace] },
        ]},
        "objectSelector": { "matchLabels": { PROBE_LABEL: "true" } },
        "matchConditions": [{ "name": "dry-run", "expression": "request.dryRun" }],
    })
}

/// Takes on the expressions that others have added to the selectors of namespaces, by labels that are none of ours.
///
/// The list of expressions has one owner as a whole. AKS's admissions enforcer adds its own to every webhook: to take
/// them out again would be a quarrel without an end, and they only spare the namespaces of the system.
pub(super) fn adopt(wanted: &mut Value, known: &MutatingWebhookConfiguration) {
    let known = known.webhooks.as_deref().unwrap_or_default();
    for webhook in wanted["webhooks"].as_array_mut().into_iter().flatten() {
        let selector = known
            .iter()
            .find(|known| webhook["name"] == known.name.as_str())
            .and_then(|known| known.namespace_selector.as_ref());
        let expressions = selector.and_then(|selector| selector.match_expressions.as_deref());
        let foreign = expressions
            .unwrap_or_default()
            .iter()
            .filter(|expression| ![NAMESPACE_LABEL, names::ENABLED_LABEL].contains(&expression.key.as_str()));
        if let Some(ours) = webhook["namespaceSelector"]["matchExpressions"].as_array_mut() {
            ours.extend(foreign.map(|expression| json!(expression)));
        }
    }
}

/// Leaves out what the API server asks about pods; the probe stays, so that the service knows that it could be reached.
pub(super) fn bypass(wanted: &mut Value) {
    if let Some(webhooks) = wanted["webhooks"].as_array_mut() {
        webhooks.retain(|webhook| webhook["name"] != names::PODS_WEBHOOK);
    }
}

/// The caBundle that is registered, as PEM; empty for none.
pub(super) fn bundle(known: &MutatingWebhookConfiguration) -> String {
    let webhook = known.webhooks.as_ref().and_then(|all| all.first());
    let bundle = webhook.and_then(|webhook| webhook.client_config.ca_bundle.as_ref());
    bundle.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes.0).into_owned())
}

pub(super) fn metadata(settings: &Settings) -> Value {
    json!({
        "name": NAME,
        "labels": { "app.kubernetes.io/part-of": "kompass" },
        "annotations": { install::ANNOTATION: settings.install },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: Endpoint) -> Settings {
        Settings {
            install: "kompass/w".into(),
            namespace: "kompass".into(),
            endpoint,
            excluded_namespaces: vec!["kube-system".into(), "kompass".into()],
            opt_in: false,
            writers: vec!["system:serviceaccount:kompass:kompass-admission-webhook".into()],
            owner: None,
        }
    }

    #[test]
    fn the_webhook_never_stops_a_pod() {
        let object = webhook_configuration(
            &settings(Endpoint::Url {
                host: "127.0.0.1".into(),
                port: Some(1),
            }),
            &Trust::Bundle("x".into()),
        );
        let webhook = &object["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], "Ignore");
        assert_eq!(webhook["timeoutSeconds"], 2);
        assert_eq!(webhook["clientConfig"]["url"], "https://127.0.0.1:1/mutate");
        assert_eq!(webhook["clientConfig"]["caBundle"], "eA==");
        assert!(webhook["clientConfig"].get("service").is_none());
    }

    #[test]
    fn with_a_bypass_only_the_probe_is_left() {
        let mut object = webhook_configuration(&settings(service()), &Trust::Bundle("x".into()));
        bypass(&mut object);
        let names: Vec<_> = object["webhooks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["name"])
            .collect();
        assert_eq!(names, ["probe.kompass.dev"]);
    }

    #[test]
    fn the_condition_knows_every_mark_of_spark() {
        assert_eq!(
            runs_spark(),
            "object.metadata.labels['spark-role'] == 'driver' ? \
             object.spec.containers.exists(c, c.name in [\"spark-kubernetes-driver\"] || \
             (has(c.args) && c.args.exists(a, a in [\"driver\",\"driver-py\",\"driver-r\"]))) : \
             object.spec.containers.exists(c, c.name in [\"spark-kubernetes-executor\",\"executor\"] || \
             (has(c.args) && c.args.exists(a, a in [\"executor\"])))"
        );
    }

    fn service() -> Endpoint {
        Endpoint::Service {
            namespace: "kompass".into(),
            name: "w".into(),
        }
    }

    #[test]
    fn the_probe_can_refuse_nothing_but_our_own_dry_runs() {
        let object = webhook_configuration(&settings(service()), &Trust::Bundle("x".into()));
        let probe = &object["webhooks"][1];
        assert_eq!(probe["clientConfig"]["service"]["name"], "w-probe");
        assert_eq!(
            probe["namespaceSelector"]["matchExpressions"],
            json!([{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["kompass"]}])
        );
        assert_eq!(
            probe["objectSelector"],
            json!({"matchLabels": {"kompass.dev/probe": "true"}})
        );
        assert_eq!(probe["matchConditions"][0]["expression"], "request.dryRun");
    }

    #[test]
    fn the_bundle_is_left_to_the_injector() {
        let object = webhook_configuration(&settings(service()), &Trust::Injected("kompass/tls".into()));
        assert_eq!(
            object["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
            "kompass/tls"
        );
        for webhook in object["webhooks"].as_array().unwrap() {
            assert!(webhook["clientConfig"].get("caBundle").is_none());
        }
    }

    #[test]
    fn expressions_of_others_stay_and_old_ones_of_ours_go() {
        let mut settings = settings(service());
        let bundle = Trust::Bundle("x".into());
        let mut known = webhook_configuration(&settings, &bundle);
        let foreign = json!({"key": "control-plane", "operator": "DoesNotExist"});
        known["webhooks"][0]["namespaceSelector"]["matchExpressions"]
            .as_array_mut()
            .unwrap()
            .push(foreign.clone());
        let known = serde_json::from_value(known).unwrap();
        settings.opt_in = true;
        let mut wanted = webhook_configuration(&settings, &bundle);
        let ours = wanted["webhooks"][0]["namespaceSelector"]["matchExpressions"].clone();
        adopt(&mut wanted, &known);
        let adopted = &wanted["webhooks"][0]["namespaceSelector"]["matchExpressions"];
        assert_eq!(*adopted, json!([ours[0], ours[1], foreign]));
    }

    #[test]
    fn opting_in_and_out_is_by_namespace_label() {
        let rule = |settings: &Settings| {
            webhook_configuration(settings, &Trust::Bundle(String::new()))["webhooks"][0]["namespaceSelector"]["matchExpressions"][1].clone()
        };
        let mut settings = settings(service());
        assert_eq!(rule(&settings)["operator"], "NotIn");
        settings.opt_in = true;
        assert_eq!(
            rule(&settings),
            json!({"key": "kompass.dev/enabled", "operator": "In", "values": ["true"]})
        );
    }

    #[test]
    fn certificates_are_for_what_the_api_server_calls() {
        assert_eq!(service().subjects(), ["w.kompass.svc", "w-probe.kompass.svc"]);
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
