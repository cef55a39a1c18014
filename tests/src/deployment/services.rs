//! Starting the services and their schedulers, again and again where a test has ended them.

use std::net::SocketAddr;
use std::path::Path;

use kompass_deployment_tests::own_program;
use kompass_local_cluster::kompass::{NAMESPACE, Service};
use kompass_local_cluster::pki::MASTERS;
use kompass_local_cluster::ports::free_address;
use kompass_local_cluster::process::{Daemon, Spec};
use tokio::process::Command;

use super::{Deployment, READY_LIMIT};
use crate::fault_proxy::FaultProxy;

/// An extender and the kube-scheduler beside it.
#[derive(Debug)]
pub struct Replica {
    /// The extender.
    pub extender: Daemon,
    /// Its kube-scheduler.
    pub scheduler: Daemon,
    /// Where the extender listens.
    pub address: SocketAddr,
}

impl Deployment {
    /// Starts the extender, once more where a fault has ended it, and waits until it is ready.
    ///
    /// # Errors
    /// The last lines of its log.
    pub async fn start_extender(&mut self) -> anyhow::Result<()> {
        let spec = self
            .service(Service::SchedulerExtender)?
            .argument(format!("--listen={}", self.extender_address))
            .argument(format!("--admin-listen={}", self.extender_admin))
            .argument("--identity=first-extender")
            .arguments(&self.options.extender_args);
        self.extender = None;
        self.extender = Some(start(spec, self.extender_admin).await?);
        Ok(())
    }

    /// Starts another replica of the extender, past any fault proxy and on ports of its own, and its kube-scheduler.
    /// It may be ready only when it gets the lease.
    ///
    /// # Errors
    /// The last lines of a log.
    pub async fn start_second_replica(&self) -> anyhow::Result<Replica> {
        let (address, admin) = (free_address()?, free_address()?);
        let spec = self
            .service_called(Service::SchedulerExtender, "second-extender", None)?
            .argument(format!("--listen={address}"))
            .argument(format!("--admin-listen={admin}"))
            .argument("--identity=second-extender")
            .arguments(&self.options.extender_args);
        let mut extender = Daemon::start(spec)?;
        extender
            .ready(READY_LIMIT, || async {
                crate::http::get(admin, "/livez").await.is_ok()
            })
            .await?;
        let scheduler = self.scheduler_for("second-kompass-scheduler", address).await?;
        Ok(Replica {
            extender,
            scheduler,
            address,
        })
    }

    /// Starts the kube-scheduler that asks the extender.
    ///
    /// # Errors
    /// The last lines of its log.
    pub async fn start_scheduler(&mut self) -> anyhow::Result<()> {
        self.scheduler = None;
        let daemon = self.scheduler_for("kompass-scheduler", self.extender_address).await?;
        self.scheduler = Some(daemon);
        Ok(())
    }

    /// Starts a kube-scheduler of any name for the extender at `address`.
    ///
    /// # Errors
    /// The last lines of its log.
    pub async fn scheduler_for(&self, name: &str, address: SocketAddr) -> anyhow::Result<Daemon> {
        let mut print = Command::new(own_program(Service::SchedulerExtender.name())?);
        print
            .arg("print-scheduler-config")
            .arg(format!("--url=http://{address}"))
            .kill_on_drop(true);
        if self.options.leader_election {
            // The usual rights of kube-scheduler are for a lease of another name.
            let kubeconfig = self.cluster.kubeconfig_for("kompass-scheduler", &[MASTERS])?;
            print.arg(format!("--kubeconfig={}", kubeconfig.display()));
            print.arg(format!("--lease-namespace={NAMESPACE}"));
        }
        let output = print.output().await?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(self
            .cluster
            .start_scheduler(name, &String::from_utf8(output.stdout)?, &[])
            .await?)
    }

    /// Starts the webhook and waits until it is ready: its configuration is registered then.
    ///
    /// # Errors
    /// The last lines of its log.
    pub async fn start_webhook(&mut self) -> anyhow::Result<()> {
        let spec = self
            .service(Service::AdmissionWebhook)?
            .argument(format!("--listen={}", self.webhook_address))
            .argument(format!("--admin-listen={}", self.webhook_admin))
            .argument(format!("--url=https://{}", self.webhook_address))
            .arguments(&self.options.webhook_args);
        self.webhook = None;
        self.webhook = Some(start(spec, self.webhook_admin).await?);
        Ok(())
    }

    /// What the services have logged so far.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn logs(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        for daemon in [&self.extender, &self.webhook].into_iter().flatten() {
            text += &std::fs::read_to_string(daemon.log())?;
        }
        Ok(text)
    }

    fn service(&self, service: Service) -> anyhow::Result<Spec> {
        let proxy = self.proxies.as_ref().map(|proxies| match service {
            Service::SchedulerExtender => &proxies.extender,
            Service::AdmissionWebhook => &proxies.webhook,
        });
        self.service_called(service, service.name(), proxy.map(FaultProxy::kubeconfig))
    }

    fn service_called(&self, service: Service, name: &str, kubeconfig: Option<&Path>) -> anyhow::Result<Spec> {
        let [all, own] = Service::groups();
        let kubeconfig = match kubeconfig {
            Some(path) => path.to_owned(),
            None => self.cluster.kubeconfig_for(&service.user(), &[&all, &own])?,
        };
        Ok(
            Spec::new(name, own_program(service.name())?, &self.cluster.folder().join("logs"))
                .path_flag("kubeconfig", &kubeconfig)
                .argument("--log-format=text")
                .argument("--shutdown-grace=0s"),
        )
    }
}

async fn start(spec: Spec, admin: SocketAddr) -> anyhow::Result<Daemon> {
    let mut daemon = Daemon::start(spec)?;
    daemon
        .ready(READY_LIMIT, || async {
            crate::http::get(admin, "/readyz").await.is_ok()
        })
        .await?;
    Ok(daemon)
}
