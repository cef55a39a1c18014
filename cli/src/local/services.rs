//! KOMPASS itself in a local cluster: webhook, extender and its kube-scheduler, as daemons beside the cluster's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kompass_local_cluster::full::Cluster;
use kompass_local_cluster::full::forward::Forwarder;
use kompass_local_cluster::images::Image;
use kompass_local_cluster::kompass::{MANIFESTS, Service};
use kompass_local_cluster::process::{self, Record};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use kompass_scheduler_extender::scheduler_config;

use crate::page;

/// The kube-scheduler that asks the extender.
pub(crate) const SCHEDULER: &str = "kompass-kube-scheduler";
/// Where the extender serves, inside the cluster's network, which is the cluster's own: no port can be taken.
pub(crate) const EXTENDER: SocketAddr = loopback(8_888);
const EXTENDER_ADMIN: SocketAddr = loopback(9_091);
const WEBHOOK: SocketAddr = loopback(8_443);
const WEBHOOK_ADMIN: SocketAddr = loopback(9_092);
const SCHEDULER_PORT: u16 = 10_262;
/// How long the services may take to be ready; an idle machine needs two seconds.
const READY_LIMIT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

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

/// Starts KOMPASS in a cluster, or starts it again with the programs as they are now, and waits until it is ready.
pub(crate) async fn start(cluster: &Cluster, own: &Programs, progress: &Progress) -> anyhow::Result<()> {
    let step = progress.step("Starting KOMPASS", Some(Duration::from_secs(6)));
    step.note("names and rights");
    let manifests = cluster.inner_kubeconfig().with_file_name("kompass.yaml");
    std::fs::write(&manifests, MANIFESTS).with_context(|| format!("failed to write {}", manifests.display()))?;
    cluster
        .kubectl(&["apply", "--filename", &manifests.display().to_string()])
        .await?;

    step.note("extender, scheduler and webhook");
    let extender = run(cluster, own, Service::SchedulerExtender, EXTENDER, EXTENDER_ADMIN).await?;
    let scheduler = run_scheduler(cluster, progress).await?;
    let webhook = run(cluster, own, Service::AdmissionWebhook, WEBHOOK, WEBHOOK_ADMIN).await?;
    wait(cluster, &extender, EXTENDER_ADMIN).await?;
    wait(cluster, &webhook, WEBHOOK_ADMIN).await?;
    anyhow::ensure!(scheduler.is_running(), ended(&scheduler));
    step.done();
    Ok(())
}

/// Stops KOMPASS in a cluster; good when it doesn't run.
pub(crate) async fn stop(cluster: &Cluster) -> anyhow::Result<()> {
    for name in [
        Service::AdmissionWebhook.name(),
        SCHEDULER,
        Service::SchedulerExtender.name(),
    ] {
        cluster.stop_daemon(name).await?;
    }
    Ok(())
}

/// The services that were started, and whether each is ready.
pub(crate) async fn readiness(cluster: &Cluster) -> anyhow::Result<Vec<(&'static str, bool)>> {
    let daemons = cluster.daemons()?;
    let mut services = Vec::new();
    for (service, admin) in [
        (Service::AdmissionWebhook, WEBHOOK_ADMIN),
        (Service::SchedulerExtender, EXTENDER_ADMIN),
    ] {
        if daemons.iter().any(|daemon| daemon.name == service.name()) {
            services.push((service.name(), is_ready(cluster, admin).await?));
        }
    }
    Ok(services)
}

async fn run(
    cluster: &Cluster,
    own: &Programs,
    service: Service,
    listen: SocketAddr,
    admin: SocketAddr,
) -> anyhow::Result<Record> {
    let [all, namespace] = Service::groups();
    let kubeconfig = cluster.inner_kubeconfig_for(&service.user(), &[&all, &namespace])?;
    let arguments = arguments(service, &kubeconfig, listen, admin);
    Ok(cluster
        .run_daemon(service.name(), own.of(service), arguments, no_colours())
        .await?)
}

async fn run_scheduler(cluster: &Cluster, progress: &Progress) -> anyhow::Result<Record> {
    let kubeconfig = cluster.inner_kubeconfig_for("system:kube-scheduler", &[])?;
    let options = scheduler_config::Options {
        kubeconfig: Some(kubeconfig.display().to_string()),
        ..scheduler_config::Options::new(&format!("http://{EXTENDER}"))
    };
    let configuration = kubeconfig.with_file_name(format!("{SCHEDULER}.yaml"));
    std::fs::write(&configuration, scheduler_config::render(&options))
        .with_context(|| format!("failed to write {}", configuration.display()))?;
    let program = programs::ensure(&[Module::Kubernetes], progress)
        .await?
        .path(Program::Scheduler)?;
    let arguments = [
        format!("--config={}", configuration.display()),
        format!("--authentication-kubeconfig={}", kubeconfig.display()),
        format!("--authorization-kubeconfig={}", kubeconfig.display()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={SCHEDULER_PORT}"),
    ];
    Ok(cluster.run_daemon(SCHEDULER, program, arguments, []).await?)
}

async fn wait(cluster: &Cluster, daemon: &Record, admin: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_ready(cluster, admin).await? {
        anyhow::ensure!(daemon.is_running(), ended(daemon));
        anyhow::ensure!(
            began.elapsed() < READY_LIMIT,
            "{} is not ready after {} s:\n{}",
            daemon.name,
            READY_LIMIT.as_secs(),
            process::log_tail(&daemon.log)
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

fn ended(daemon: &Record) -> String {
    format!(
        "{} has ended; the last lines of {}:\n{}",
        daemon.name,
        daemon.log.display(),
        process::log_tail(&daemon.log)
    )
}

async fn is_ready(cluster: &Cluster, admin: SocketAddr) -> anyhow::Result<bool> {
    let door = Forwarder::start(loopback(0), &cluster.network_namespace(), admin)?;
    Ok(page::get(door.address(), "/readyz").await.is_ok())
}

/// Logs go to a file.
fn no_colours() -> [(String, String); 1] {
    [("NO_COLOR".to_owned(), "1".to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_webhook_is_told_its_url() {
        let of = |service| arguments(service, Path::new("/k"), WEBHOOK, WEBHOOK_ADMIN);
        assert!(of(Service::AdmissionWebhook).contains(&"--url=https://127.0.0.1:8443".to_owned()));
        assert!(
            !of(Service::SchedulerExtender)
                .iter()
                .any(|argument| argument.starts_with("--url"))
        );
        assert!(of(Service::SchedulerExtender).contains(&"--kubeconfig=/k".to_owned()));
    }
}
