//! The registration, and what the API server does about a pod that is only tried.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::certificates;
use crate::Error;
use crate::bypass::State;
use crate::doctor::snapshot::{Answer, NamespaceSeen, Registration, Snapshot};
use crate::error::{chain, failed};

/// The label of what only asks whether the webhook is reached, and what it answers with.
const PROBE_LABEL: &str = "kompass.dev/probe";
const PROBED: &str = "kompass.dev/probed";

/// Reads the registration, which namespaces are in its scope and what KOMPASS's own enforces, and tries it.
pub(super) async fn read(client: &Client, snapshot: &mut Snapshot) -> Result<(), Error> {
    let all: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let known = within(REQUEST_TIMEOUT, all.get_opt(names::REGISTRATION))
        .await
        .map_err(failed("read", "the webhook configuration"))?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespaces = within(REQUEST_TIMEOUT, namespaces.list_metadata(&ListParams::default()))
        .await
        .map_err(failed("list", "the namespaces"))?;
    let pods = known.as_ref().and_then(pods_webhook);
    let in_scope = |namespace: &_| pods.is_some_and(|webhook| selects(webhook.namespace_selector.as_ref(), namespace));
    for namespace in &namespaces {
        let (name, labels) = (namespace.name_any(), namespace.labels());
        let enabled = labels.get(names::ENABLED_LABEL).cloned();
        if name == snapshot.namespace {
            snapshot.pod_security = Some(labels.get(names::POD_SECURITY_LABEL).cloned().unwrap_or_default());
        }
        if enabled.is_some() || in_scope(labels) {
            snapshot.namespaces.push(NamespaceSeen {
                name,
                enabled,
                allowed: None,
            });
        }
    }
    let first = namespaces
        .iter()
        .filter(|namespace| namespace.metadata.deletion_timestamp.is_none() && in_scope(namespace.labels()))
        .map(kube::ResourceExt::name_any)
        // In most clusters nobody has narrowed it down.
        .min_by_key(|name| (name != "default", name.clone()));
    snapshot.registration = known.as_ref().map(registration);
    if known.is_some() {
        snapshot.probe = probe(client, &snapshot.namespace).await;
    }
    if let Some(namespace) = first {
        snapshot.driver = (try_driver(client, &namespace).await, namespace);
    }
    Ok(())
}

/// Reads whether the policy and its binding are there.
pub(super) async fn policy(client: &Client, snapshot: &mut Snapshot) -> Result<(), Error> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let policy = within(REQUEST_TIMEOUT, policies.get_opt(names::REGISTRATION))
        .await
        .map_err(failed("read", "the ValidatingAdmissionPolicy"))?;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let binding = within(REQUEST_TIMEOUT, bindings.get_opt(names::REGISTRATION))
        .await
        .map_err(failed("read", "the ValidatingAdmissionPolicyBinding"))?;
    (snapshot.policy, snapshot.policy_binding) = (policy.is_some(), binding.is_some());
    Ok(())
}

fn pods_webhook(known: &MutatingWebhookConfiguration) -> Option<&MutatingWebhook> {
    known
        .webhooks
        .iter()
        .flatten()
        .find(|webhook| webhook.name == names::PODS_WEBHOOK)
}

fn registration(known: &MutatingWebhookConfiguration) -> Registration {
    let State { reason, asks, install } = State::of(known);
    let pods = pods_webhook(known);
    let expressions = pods
        .and_then(|webhook| webhook.namespace_selector.as_ref()?.match_expressions.as_deref())
        .unwrap_or_default();
    let any = pods.or_else(|| known.webhooks.iter().flatten().next());
    let bundle = any.and_then(|webhook| webhook.client_config.ca_bundle.as_ref());
    Registration {
        install,
        bypass: reason,
        asks,
        is_labelled: expressions
            .iter()
            .any(|one| one.key == names::ENABLED_LABEL && one.operator == "In"),
        failure_policy: pods
            .and_then(|webhook| webhook.failure_policy.clone())
            .unwrap_or_default(),
        ends_ms: bundle.map_or_else(Vec::new, |bundle| certificates::ends_ms(&bundle.0)),
    }
}

type Labels = std::collections::BTreeMap<String, String>;

/// As the API server does it; no selector selects all, and an operator that nobody knows nothing.
fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return true };
    let pairs = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|one| {
            let found = labels.get(&one.key);
            let is_in = found.is_some_and(|found| one.values.iter().flatten().any(|value| value == found));
            match one.operator.as_str() {
                "In" => is_in,
                "NotIn" => !is_in,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// A lease that is only tried: the API server asks the webhook's probe about it, and says why if it can't.
async fn probe(client: &Client, namespace: &str) -> Answer {
    let lease: Lease = serde_json::from_value(json!({
        "metadata": { "generateName": "kompass-doctor-", "labels": { PROBE_LABEL: "true" } },
    }))
    .unwrap_or_default();
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    judge(
        within(REQUEST_TIMEOUT, leases.create(&dry_run(), &lease)).await,
        |lease| lease.annotations().contains_key(PROBED),
    )
}

/// A Spark driver that is only tried: it gets the gate if all is well.
async fn try_driver(client: &Client, namespace: &str) -> Answer {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "generateName": "kompass-doctor-",
            "labels": { names::SPARK_ROLE_LABEL: "driver", names::SPARK_APP_LABEL: "kompass-doctor" },
        },
        "spec": {
            "restartPolicy": "Never",
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65_535, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "spark-kubernetes-driver", "image": "example.com/never-run", "args": ["driver"],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "resources": {
                    "requests": { "cpu": "1m", "memory": "1Mi" }, "limits": { "cpu": "1m", "memory": "1Mi" },
                },
            }],
        },
    }))
    .unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    judge(within(REQUEST_TIMEOUT, pods.create(&dry_run(), &pod)).await, |pod| {
        let gates = pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten());
        gates.into_iter().any(|gate| gate.name == names::GANG_GATE)
    })
}

fn dry_run() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}

fn judge<K>(answer: Result<K, RequestError>, is_good: impl Fn(&K) -> bool) -> Answer {
    match answer {
        Ok(object) if is_good(&object) => Answer::Good,
        Ok(_) => Answer::Unchanged,
        Err(error) if error.message().is_empty() => Answer::Refused(chain(&error)),
        Err(error) => Answer::Refused(error.message().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(webhooks: &serde_json::Value) -> MutatingWebhookConfiguration {
        serde_json::from_value(json!({ "metadata": { "name": "x" }, "webhooks": webhooks })).unwrap()
    }

    #[test]
    fn the_scope_is_read_from_the_selector() {
        let webhook = |operator: &str, value: &str| {
            json!([{ "name": "pods.kompass.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Ignore", "clientConfig": { "url": "https://x" },
                "namespaceSelector": { "matchExpressions": [
                    { "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"] },
                    { "key": "kompass.dev/enabled", "operator": operator, "values": [value] } ] } }])
        };
        let (all, labelled) = (of(&webhook("NotIn", "false")), of(&webhook("In", "true")));
        assert!(!registration(&all).is_labelled && registration(&labelled).is_labelled);
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        };
        let is_in = |known: &MutatingWebhookConfiguration, pairs| {
            selects(pods_webhook(known).unwrap().namespace_selector.as_ref(), &labels(pairs))
        };
        assert!(is_in(&all, &[]) && !is_in(&labelled, &[]));
        assert!(is_in(&labelled, &[("kompass.dev/enabled", "true")]));
        assert!(!is_in(&all, &[("kompass.dev/enabled", "false")]));
        assert!(!is_in(&all, &[("kubernetes.io/metadata.name", "kube-system")]));
    }
}
