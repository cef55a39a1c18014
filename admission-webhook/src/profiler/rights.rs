//! Words for those whose namespace does not give KOMPASS the rights that it needs there.

use kompass_core::JobProfile;
use kompass_kube::events::{Note, Severity};

use super::Scope;

/// The role that a namespace in scope binds.
pub(super) const NAMESPACE_ROLE: &str = "kompass-profiler-namespace";
/// The role that is bound for all of them.
const CLUSTER_ROLE: &str = "kompass-admission-webhook";

/// Which rights there should be.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    /// Which namespaces are KOMPASS's business.
    pub(super) scope: Scope,
    /// Namespace of KOMPASS's own objects.
    pub(super) namespace: String,
}

impl Rights {
    /// Tells the owner of a driver that rights are missing in its namespace. `guess`: the profile that was written all
    /// the same; without one the planner starts the driver alone after a while.
    pub(super) fn missing(&self, namespace: String, pod: String, uid: String, guess: Option<&JobProfile>) -> Note {
        let account = format!("{}:kompass-admission-webhook", self.namespace);
        let (lacks, becomes) = match guess {
            Some(profile) => ("read the job's configuration", profile.warnings.join(". ")),
            None => (
                "read the job's configuration and write its profile",
                "The driver is planned alone, without executors, in some minutes".to_owned(),
            ),
        };
        let remedy = match self.scope {
            Scope::Labelled => format!(
                "A RoleBinding to ClusterRole {NAMESPACE_ROLE} is missing: kubectl create rolebinding {NAMESPACE_ROLE} \
                 --namespace={namespace} --clusterrole={NAMESPACE_ROLE} --serviceaccount={account}"
            ),
            Scope::All => {
                format!("ClusterRole {CLUSTER_ROLE} lacks it, or its ClusterRoleBinding to {account} is missing")
            }
        };
        Note {
            text: format!("KOMPASS may not {lacks} in namespace {namespace}. {remedy}. {becomes}."),
            namespace,
            pod,
            uid,
            severity: Severity::Warning,
            reason: "RightsMissing",
            action: "Profile",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_helps_is_named() {
        let rights = |scope| Rights {
            scope,
            namespace: "kompass".into(),
        };
        let text = |scope| rights(scope).missing("jobs".into(), "d".into(), "u".into(), None).text;
        let labelled = text(Scope::Labelled);
        for part in [
            "--namespace=jobs",
            "--clusterrole=kompass-profiler-namespace",
            "--serviceaccount=kompass:kompass-admission-webhook",
        ] {
            assert!(labelled.contains(part), "{labelled}");
        }
        assert!(text(Scope::All).contains("ClusterRole kompass-admission-webhook"));
    }
}
