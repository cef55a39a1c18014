//! The rights that each service needs, as its manifests give them.

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
    /// Verb.
    pub verb: &'static str,
    /// Only in KOMPASS's own namespace.
    pub own: bool,
    /// With `--scope labelled` it is needed only in namespaces that are in scope.
    pub by_namespace: bool,
}

type Row = (
    Account,
    bool,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const WATCH: &[&str] = &["get", "list", "watch"];
const LEASE: &[&str] = &["get", "list", "watch", "create", "update", "patch"];

/// Account, own namespace only, group, resources, verbs.
const ROWS: [Row; 16] = [
    (Account::Webhook, false, "", &["pods", "namespaces"], WATCH),
    (Account::Webhook, false, "", &["configmaps"], WATCH),
    (Account::Webhook, false, "", &["pods"], &["patch"]),
    (
        Account::Webhook,
        false,
        "events.k8s.io",
        &["events"],
        &["create", "patch"],
    ),
    (
        Account::Webhook,
        false,
        "admissionregistration.k8s.io",
        &[
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
        ],
        &["get", "list", "watch", "create", "patch"],
    ),
    (
        Account::Webhook,
        true,
        "",
        &["secrets"],
        &["get", "list", "watch", "create", "patch"],
    ),
    (Account::Webhook, true, "coordination.k8s.io", &["leases"], LEASE),
    (
        Account::Extender,
        false,
        "",
        &["pods", "nodes", "resourcequotas", "namespaces"],
        WATCH,
    ),
    (Account::Extender, false, "", &["pods"], &["patch", "delete"]),
    (Account::Extender, false, "", &["pods/binding"], &["create"]),
    (
        Account::Extender,
        false,
        "events.k8s.io",
        &["events"],
        &["create", "patch"],
    ),
    (
        Account::Extender,
        false,
        "scheduling.k8s.io",
        &["priorityclasses"],
        &["get", "create"],
    ),
    (
        Account::Extender,
        true,
        "",
        &["pods"],
        &["create", "delete", "deletecollection"],
    ),
    (Account::Extender, true, "", &["pods/status"], &["patch"]),
    (
        Account::Extender,
        true,
        "batch",
        &["jobs"],
        &["list", "create", "patch", "delete", "deletecollection"],
    ),
    (Account::Extender, true, "coordination.k8s.io", &["leases"], LEASE),
];

/// All of them.
pub fn all() -> Vec<Right> {
    let mut rights = Vec::new();
    for (account, own, group, resources, verbs) in ROWS {
        for &resource in resources {
            for &verb in verbs {
                let by_namespace = account == Account::Webhook
                    && !own
                    && (resource == "configmaps" || (resource, verb) == ("pods", "patch"));
                rights.push(Right {
                    account,
                    group,
                    resource,
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
