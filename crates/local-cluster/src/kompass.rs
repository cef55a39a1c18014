//! What a local cluster needs before KOMPASS's services run in it, and who the services are.
//!
//! The services are started by the caller (the command line program, tests) as daemons; here stand the objects that
//! must be there first, and the identities that these give rights to.

/// Namespace, service accounts and rights, to be applied before the services start.
pub const MANIFESTS: &str = include_str!("../manifests/kompass.yaml");
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
}
