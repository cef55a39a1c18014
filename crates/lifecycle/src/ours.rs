//! Which objects of a cluster are KOMPASS's own. Pure.

use std::collections::BTreeMap;

use kompass_core::names;

/// The parts whose objects are called after them, with or without something behind.
const PARTS: [&str; 8] = [
    names::REGISTRATION,
    "kompass-scheduler",
    "kompass-predictor",
    "kompass-profiler-namespace",
    "kompass-stand-in",
    "kompass-service",
    "kompass-console",
    names::PLANNER_LEASE,
];
/// Groups of what has no namespace, where the name alone tells.
const BY_NAME: [&str; 3] = [
    "rbac.authorization.k8s.io",
    "admissionregistration.k8s.io",
    "scheduling.k8s.io",
];

/// What is known of an object.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    /// Its API group.
    pub group: &'a str,
    /// Its kind's plural.
    pub plural: &'a str,
    /// Its namespace, where it has one.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

/// Whether nobody looks at this kind: events end by themselves, namespaces and definitions of kinds are the administrator's,
/// and the last are views of what is looked at elsewhere.
pub fn is_skipped(group: &str, plural: &str) -> bool {
    matches!(
        (group, plural),
        ("" | "events.k8s.io", "events")
            | ("", "namespaces" | "nodes" | "componentstatuses")
            // With a definition go all objects of its kind, those of others too.
            | ("apiextensions.k8s.io", "customresourcedefinitions")
            | ("metrics.k8s.io", _)
    )
}

/// Whether the object is KOMPASS's, for an install in `own` namespace. Spark's pods are not, whatever is written on them; nor
/// is what somebody has named `kompass-…` for himself.
pub fn is_ours(object: &Object<'_>, own: &str) -> bool {
    if is_skipped(object.group, object.plural) || object.labels.contains_key(names::SPARK_ROLE_LABEL) {
        return false;
    }
    let labelled = |key: &str| object.labels.get(key).is_some_and(|value| value == "kompass");
    if labelled("app.kubernetes.io/part-of") || labelled("app.kubernetes.io/managed-by") {
        return true;
    }
    match object.namespace {
        Some(namespace) => namespace == own && is_named(object.name),
        None => BY_NAME.contains(&object.group) && is_named(object.name),
    }
}

fn is_named(name: &str) -> bool {
    PARTS.iter().any(|part| {
        name.strip_prefix(part)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', ':']))
    })
}

/// When an object is deleted: first the rights of services that may still run, so that nothing is put back; then what the
/// API server asks; then the rest.
pub fn turn(group: &str, plural: &str) -> u8 {
    match (group, plural) {
        ("rbac.authorization.k8s.io", "clusterrolebindings" | "rolebindings") => 0,
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations") => 1,
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => 2,
        ("admissionregistration.k8s.io", _) => 3,
        ("apps" | "batch" | "autoscaling.x-k8s.io", _) => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(group: &str, plural: &str, namespace: Option<&str>, name: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|&(key, value)| (key.into(), value.into())).collect();
        let object = Object {
            group,
            plural,
            namespace,
            name,
            labels: &labels,
        };
        is_ours(&object, "kompass")
    }

    #[test]
    fn what_the_services_make_is_ours() {
        let managed = [("app.kubernetes.io/managed-by", "kompass")];
        for (group, plural, namespace, name, labels) in [
            (
                "rbac.authorization.k8s.io",
                "clusterroles",
                None,
                "kompass-admission-webhook",
                &[][..],
            ),
            (
                "rbac.authorization.k8s.io",
                "clusterroles",
                None,
                "kompass-scheduler-extender",
                &[],
            ),
            (
                "rbac.authorization.k8s.io",
                "clusterroles",
                None,
                "kompass-profiler-namespace",
                &[],
            ),
            (
                "admissionregistration.k8s.io",
                "validatingadmissionpolicies",
                None,
                "kompass-admission-webhook",
                &[],
            ),
            ("scheduling.k8s.io", "priorityclasses", None, "kompass-stand-in", &[]),
            ("coordination.k8s.io", "leases", Some("kompass"), "kompass-planner", &[]),
            (
                "coordination.k8s.io",
                "leases",
                Some("kompass"),
                "kompass-scheduler",
                &[],
            ),
            ("", "secrets", Some("kompass"), "kompass-admission-webhook-ca", &[]),
            ("", "configmaps", Some("kompass"), "kompass-predictor-paused", &[]),
            (
                "policy",
                "poddisruptionbudgets",
                Some("etl"),
                "kompass-drivers",
                &managed,
            ),
            ("batch", "jobs", Some("kompass"), "stand-in-driver-0", &managed),
        ] {
            assert!(is(group, plural, namespace, name, labels), "{plural} {name}");
        }
    }

    #[test]
    fn what_others_have_made_is_not() {
        let driver = [("spark-role", "driver"), ("app.kubernetes.io/part-of", "kompass")];
        for (group, plural, namespace, name, labels) in [
            (
                "",
                "namespaces",
                None,
                "kompass",
                &[("app.kubernetes.io/part-of", "kompass")][..],
            ),
            (
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                None,
                "servicemonitors.monitoring.coreos.com",
                &[("app.kubernetes.io/part-of", "kompass")],
            ),
            ("", "pods", Some("etl"), "kompass-scheduler-test", &[]),
            ("", "pods", Some("etl"), "a-driver", &driver),
            ("", "configmaps", Some("kompass"), "kompass-queues", &[]),
            ("", "configmaps", Some("kompass"), "kube-root-ca.crt", &[]),
            ("rbac.authorization.k8s.io", "clusterroles", None, "kompass-users", &[]),
            (
                "rbac.authorization.k8s.io",
                "clusterroles",
                None,
                "kompass-schedulers",
                &[],
            ),
            (
                "rbac.authorization.k8s.io",
                "rolebindings",
                Some("etl"),
                "kompass-profiler-namespace",
                &[],
            ),
            ("storage.k8s.io", "storageclasses", None, "kompass-predictor", &[]),
            ("", "events", Some("kompass"), "kompass-planner.17", &[]),
        ] {
            assert!(!is(group, plural, namespace, name, labels), "{plural} {name}");
        }
    }

    #[test]
    fn services_lose_their_rights_before_the_registration_goes() {
        assert!(
            turn("rbac.authorization.k8s.io", "clusterrolebindings")
                < turn("admissionregistration.k8s.io", "mutatingwebhookconfigurations")
        );
        assert!(turn("admissionregistration.k8s.io", "mutatingwebhookconfigurations") < turn("", "secrets"));
    }
}
