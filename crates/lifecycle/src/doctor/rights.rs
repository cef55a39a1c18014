//! The rights that each service needs.

use kompass_core::names;
use kompass_kube::pause;

const ADMISSION: &str = "admissionregistration.k8s.io";
const LEASES: &str = "coordination.k8s.io";

/// Whose right it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Webhook and profiler.
    Webhook,
    /// Planner and extender.
    Extender,
}

impl Account {
    /// The service account.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "kompass-admission-webhook",
            Self::Extender => "kompass-scheduler-extender",
        }
    }
}

/// A right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// Whose.
    pub account: Account,
    /// API group.
    pub group: &'static str,
    /// Resource, with its subresource behind a slash.
    pub resource: &'static str,
    /// The one object that it is about; empty for any.
    pub name: &'static str,
    /// Verb.
    pub verb: &'static str,
    /// Only in KOMPASS's own namespace.
    pub own: bool,
    /// With `--scope labelled` it is needed only in namespaces that are in scope.
    pub by_namespace: bool,
}

/// Account, own namespace only, group, resources, the one object that it is about or none, verbs.
type Row = (
    Account,
    bool,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
);

const WATCH: &[&str] = &["get", "list", "watch"];
const REGISTRATION: &[&str] = &[
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
];

/// What both the chart and the manifests of a local cluster give, whatever the options. Not here: Secrets, which depend on
/// where the certificates are from, budgets, and what only the predictor holds nodes by.
const ROWS: [Row; 19] = [
    (Account::Webhook, false, "", &["pods", "namespaces"], "", WATCH),
    (Account::Webhook, false, "", &["configmaps"], "", WATCH),
    (Account::Webhook, false, "", &["pods"], "", &["patch"]),
    (
        Account::Webhook,
        false,
        "events.k8s.io",
        &["events"],
        "",
        &["create", "patch"],
    ),
    (Account::Webhook, false, ADMISSION, REGISTRATION, "", &["create"]),
    (
        Account::Webhook,
        false,
        ADMISSION,
        REGISTRATION,
        names::REGISTRATION,
        WATCH,
    ),
    (
        Account::Webhook,
        false,
        ADMISSION,
        REGISTRATION,
        names::REGISTRATION,
        &["patch"],
    ),
    (Account::Webhook, true, LEASES, &["leases"], "", &["create"]),
    (
        Account::Webhook,
        true,
        LEASES,
        &["leases"],
        names::PLANNER_LEASE,
        &["get"],
    ),
    (
        Account::Extender,
        false,
        "",
        &["pods", "nodes", "resourcequotas", "namespaces"],
        "",
        WATCH,
    ),
    (Account::Extender, false, "", &["pods"], "", &["patch", "delete"]),
    (Account::Extender, false, "", &["pods/binding"], "", &["create"]),
    (
        Account::Extender,
        false,
        "events.k8s.io",
        &["events"],
        "",
        &["create", "patch"],
    ),
    (
        Account::Extender,
        false,
        "scheduling.k8s.io",
        &["priorityclasses"],
        pause::PRIORITY_CLASS,
        &["get"],
    ),
    (
        Account::Extender,
        true,
        "",
        &["pods"],
        "",
        &["create", "delete", "deletecollection"],
    ),
    (Account::Extender, true, "", &["pods/status"], "", &["patch"]),
    (
        Account::Extender,
        true,
        "batch",
        &["jobs"],
        "",
        &["list", "create", "patch", "delete", "deletecollection"],
    ),
    (Account::Extender, true, LEASES, &["leases"], "", &["create"]),
    (
        Account::Extender,
        true,
        LEASES,
        &["leases"],
        names::PLANNER_LEASE,
        &["get", "update"],
    ),
];

/// All of them.
pub fn all() -> Vec<Right> {
    let mut rights = Vec::new();
    for (account, own, group, resources, name, verbs) in ROWS {
        for &resource in resources {
            for &verb in verbs {
                let by_namespace = account == Account::Webhook
                    && !own
                    && (resource == "configmaps" || (resource, verb) == ("pods", "patch"));
                rights.push(Right {
                    account,
                    group,
                    resource,
                    name,
                    verb,
                    own,
                    by_namespace,
                });
            }
        }
    }
    rights
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        f.write_str(if self.own {
            " in its own namespace"
        } else {
            " in all namespaces"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_by_namespace_are_those_of_the_namespaces_role() {
        let mut some: Vec<_> = all().into_iter().filter(|right| right.by_namespace).collect();
        some.sort_by_key(|right| (right.resource, right.verb));
        let texts: Vec<_> = some
            .iter()
            .map(|right| format!("{} {}", right.verb, right.resource))
            .collect();
        assert_eq!(
            texts,
            ["get configmaps", "list configmaps", "watch configmaps", "patch pods"]
        );
    }
}
