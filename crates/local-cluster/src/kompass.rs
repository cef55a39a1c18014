//! What a local cluster needs before KOMPASS's services run in it, and who the services are.
//!
//! The services are started by the caller (the command line program, tests) as daemons; here stand the objects that
//! must be there first, and the identities that these give rights to.

/// Namespace, service accounts and rights, to be applied before the services start.
pub const MANIFESTS: &str = include_str!("../manifests/kompass.yaml");
/// The same for a webhook with `--scope labelled`, whose rights on `ConfigMaps` and pods come from the namespaces in scope.
pub const LABELLED_MANIFESTS: &str = include_str!("../manifests/kompass-labelled.yaml");
/// The namespace of KOMPASS's own objects in a local cluster.
pub const NAMESPACE: &str = "kompass";

/// A service of KOMPASS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Webhook and profiler.
    AdmissionWebhook,
    /// Planner and extender.
    SchedulerExtender,
}

impl Service {
    /// The program, the service account and the daemon are called alike.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdmissionWebhook => "kompass-admission-webhook",
            Self::SchedulerExtender => "kompass-scheduler-extender",
        }
    }

    /// The user that the API server knows the service by: its service account, so that rights and admission policies
    /// are the same as in a cluster where the service runs as a pod.
    pub fn user(self) -> String {
        format!("system:serviceaccount:{NAMESPACE}:{}", self.name())
    }

    /// Groups that every service account is in.
    pub fn groups() -> [String; 2] {
        [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{NAMESPACE}"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_an_account_with_rights() {
        for service in [Service::AdmissionWebhook, Service::SchedulerExtender] {
            for kind in [
                "ServiceAccount",
                "ClusterRole",
                "ClusterRoleBinding",
                "Role",
                "RoleBinding",
            ] {
                assert!(
                    MANIFESTS.contains(&format!("kind: {kind}\nmetadata:\n  name: {}\n", service.name())),
                    "{kind} of {}",
                    service.name()
                );
            }
        }
    }

    /// Without its comments.
    fn documents(manifests: &str) -> Vec<String> {
        let lines = manifests.lines().filter(|line| !line.starts_with('#'));
        let text = lines.collect::<Vec<_>>().join("\n");
        text.split("---\n").map(|document| document.trim().to_owned()).collect()
    }

    #[test]
    fn the_two_scopes_differ_in_the_webhooks_rights_only() {
        let (all, labelled) = (documents(MANIFESTS), documents(LABELLED_MANIFESTS));
        let differing: Vec<_> = labelled.iter().filter(|document| !all.contains(document)).collect();
        let names: Vec<_> = differing
            .iter()
            .filter_map(|document| document.lines().find(|line| line.starts_with("  name: ")))
            .collect();
        assert_eq!(
            names,
            [
                "  name: kompass-admission-webhook",
                "  name: kompass-profiler-namespace"
            ]
        );
        assert_eq!(labelled.len(), all.len() + 1);
        assert!(!differing[0].contains("configmaps") && differing[1].contains("configmaps"));
        assert!(!differing[0].contains("poddisruptionbudgets"));
    }
}
