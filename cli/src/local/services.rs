//! KOMPASS where no pod runs: webhook, extender and its kube-scheduler, as daemons beside a control plane.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kompass_local_cluster::images::Image;
use kompass_local_cluster::kompass::Service;

/// The kube-scheduler that asks the extender.
pub(crate) const SCHEDULER: &str = "kompass-kube-scheduler";
/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    webhook: PathBuf,
    extender: PathBuf,
}

impl Programs {
    /// Finds all, or says which is missing.
    pub(crate) fn find() -> anyhow::Result<Self> {
        Ok(Self {
            webhook: crate::programs::find(Service::AdmissionWebhook.name())?,
            extender: crate::programs::find(Service::SchedulerExtender.name())?,
        })
    }

    /// The program of a service.
    pub(crate) fn of(&self, service: Service) -> &Path {
        match service {
            Service::AdmissionWebhook => &self.webhook,
            Service::SchedulerExtender => &self.extender,
        }
    }
}

/// What a service is started with.
pub(crate) fn arguments(service: Service, kubeconfig: &Path, listen: SocketAddr, admin: SocketAddr) -> Vec<String> {
    let mut arguments = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--listen={listen}"),
        format!("--admin-listen={admin}"),
        "--log-format=text".to_owned(),
        // Nobody else forwards to it: there is nobody to notice first that it is not ready.
        "--shutdown-grace=0s".to_owned(),
    ];
    arguments.push(match service {
        Service::AdmissionWebhook => format!("--url=https://{listen}"),
        // The one that is on the node already: a local cluster reaches no registry.
        Service::SchedulerExtender => format!("--pause-image={}", Image::Pause.reference()),
    });
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_webhook_is_told_its_url() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let of = |service| arguments(service, Path::new("/k"), address(8_443), address(9_092));
        assert!(of(Service::AdmissionWebhook).contains(&"--url=https://127.0.0.1:8443".to_owned()));
        assert!(
            !of(Service::SchedulerExtender)
                .iter()
                .any(|argument| argument.starts_with("--url"))
        );
        assert!(of(Service::SchedulerExtender).contains(&"--kubeconfig=/k".to_owned()));
    }
}
