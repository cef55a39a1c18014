//! What is read of a cluster for a judgement.

use std::collections::BTreeMap;

use crate::pending::Pending;

/// All that is looked at.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When it was read.
    pub now_ms: i64,
    /// Namespace of KOMPASS's own objects.
    pub namespace: String,
    /// What `PodSecurity` enforces there, empty where that is nothing; none if the namespace was not seen.
    pub pod_security: Option<String>,
    /// The version of this program.
    pub version: String,
    /// Major and minor version of the API server.
    pub server: (u32, u32),
    /// KOMPASS's Deployments.
    pub parts: Vec<Part>,
    /// The webhook configuration.
    pub registration: Option<Registration>,
    /// The admission policy is there.
    pub policy: bool,
    /// And so is its binding.
    pub policy_binding: bool,
    /// Whether the API server reaches the webhook.
    pub probe: Answer,
    /// What becomes of a Spark driver that is only tried, and in which namespace it was tried.
    pub driver: (Answer, String),
    /// Rights that the services need.
    pub rights: Vec<RightSeen>,
    /// Leases of KOMPASS's namespace.
    pub leases: Vec<LeaseSeen>,
    /// Pods that wait for KOMPASS.
    pub pending: Vec<Pending>,
    /// Drivers with an open gate that had no node a moment later either: namespace and name.
    pub unplaced: Vec<String>,
    /// What should have ended.
    pub overdue: Vec<Overdue>,
    /// Namespaces that KOMPASS takes pods of, or that say something about it.
    pub namespaces: Vec<NamespaceSeen>,
    /// Quotas of these.
    pub quotas: Vec<QuotaSeen>,
    /// Others that place gangs.
    pub others: Vec<String>,
    /// Nodes.
    pub nodes: Vec<NodeSeen>,
    /// What could not be read, by check, and why.
    pub unread: Vec<(&'static str, String)>,
}

/// A Deployment.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Which part of KOMPASS.
    pub component: String,
    /// Replicas that it is to have.
    pub wanted: i32,
    /// Replicas that are ready.
    pub ready: i32,
    /// What runs in its pods.
    pub containers: Vec<Container>,
}

/// A container of a Deployment.
#[derive(Debug, Clone, Default)]
pub struct Container {
    /// Its image.
    pub image: String,
    /// It is told to change nothing (`--mode shadow`).
    pub shadow: bool,
}

impl Container {
    /// The image's name without registry, tag and digest.
    pub fn name(&self) -> &str {
        let image = self.image.split('@').next().unwrap_or_default();
        let last = image.rsplit('/').next().unwrap_or_default();
        last.split(':').next().unwrap_or_default()
    }

    /// The image's tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        let image = self.image.split('@').next().unwrap_or_default();
        image.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag)
    }
}

/// The webhook configuration.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Whose it is: `namespace/service`.
    pub install: Option<String>,
    /// Why no pod is to be taken, where that is so.
    pub bypass: Option<String>,
    /// The API server asks about pods.
    pub asks: bool,
    /// Only namespaces that say so are in scope.
    pub is_labelled: bool,
    /// What the API server does when it can't ask.
    pub failure_policy: String,
    /// When each certificate of the caBundle ends.
    pub ends_ms: Vec<i64>,
}

/// What the API server answered to something that was only tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Answer {
    /// Not asked.
    #[default]
    None,
    /// As it should be.
    Good,
    /// Answered, but as if there were no webhook.
    Unchanged,
    /// Refused, and how it was worded.
    Refused(String),
}

/// A right of a service.
#[derive(Debug, Clone)]
pub struct RightSeen {
    /// The account and what it may.
    pub text: String,
    /// `None` where it could not be asked.
    pub allowed: Option<bool>,
}

/// A lease.
#[derive(Debug, Clone, Default)]
pub struct LeaseSeen {
    /// Its name.
    pub name: String,
    /// Who has it.
    pub holder: String,
    /// When it was renewed last.
    pub renewed_ms: Option<i64>,
    /// How long it lasts.
    pub lasts_ms: i64,
}

/// Something that should have ended.
#[derive(Debug, Clone)]
pub struct Overdue {
    /// Its kind and name.
    pub object: String,
    /// Since when, in milliseconds.
    pub by_ms: i64,
}

/// A namespace.
#[derive(Debug, Clone, Default)]
pub struct NamespaceSeen {
    /// Its name.
    pub name: String,
    /// What its label `kompass.dev/enabled` says.
    pub enabled: Option<String>,
    /// The webhook may do its work there; none where that could not be asked.
    pub allowed: Option<bool>,
}

/// A quota.
#[derive(Debug, Clone, Default)]
pub struct QuotaSeen {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Hard limits, and what is used, by resource.
    pub amounts: BTreeMap<String, (String, String)>,
}

/// A node.
#[derive(Debug, Clone, Default)]
pub struct NodeSeen {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `spec.providerID`.
    pub provider_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_taken_apart() {
        let of = |image: &str| {
            let container = Container {
                image: image.into(),
                ..Container::default()
            };
            (container.name().to_owned(), container.tag().map(str::to_owned))
        };
        assert_eq!(
            of("registry.k8s.io/kube-scheduler:v1.33.2"),
            ("kube-scheduler".into(), Some("v1.33.2".into()))
        );
        assert_eq!(of("localhost:5000/kompass-cli"), ("kompass-cli".into(), None));
        assert_eq!(
            of("r:5/a/kompass-predictor:0.1.0@sha256:ab"),
            ("kompass-predictor".into(), Some("0.1.0".into()))
        );
    }
}
