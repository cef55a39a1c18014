//! How etcd, API server and controller manager are started.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use super::{Cluster, Error, Folder, Options, PORT_ATTEMPTS, READY_LIMIT, url};
use crate::client::Client;
use crate::pki::{API_SERVER_NAMES, Authority, Identity, ServiceAccountKeys};
use crate::ports;
use crate::process::{Daemon, Spec};
use crate::programs::{Program, Programs};

/// Never reached: nothing here forwards service addresses.
const SERVICE_RANGE: &str = "10.96.0.0/16";
const KUBERNETES_SERVICE: &str = "10.96.0.1";

/// Starts something on a free port, again on another one when somebody else took it in between.
pub(super) async fn on_free_port<F>(name: &str, start: F) -> Result<Daemon, Error>
where
    F: AsyncFn(SocketAddr) -> Result<Daemon, Error>,
{
    let mut attempt = 1;
    loop {
        match start(free_address(name)?).await {
            Err(Error::Process(error)) if error.is_address_in_use() && attempt < PORT_ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

fn free_address(name: &str) -> Result<SocketAddr, Error> {
    ports::free_address().map_err(|_all_taken| Error::Port { name: name.to_owned() })
}

/// The store. It does not wait for the disk: the cluster is thrown away anyway.
pub(super) async fn start_etcd(programs: &Programs, folder: &Folder) -> Result<(Daemon, SocketAddr), Error> {
    let program = programs.path(Program::Etcd)?;
    let daemon = on_free_port("etcd", async |address| {
        let peer = free_address("etcd")?;
        // Its name tells it from an etcd of another cluster that took the port first.
        let name = format!("etcd-{}-{}", std::process::id(), address.port());
        let spec = Spec::new("etcd", &program, &folder.logs())
            .recorded_in(folder.records())
            .serving(address)
            .argument(format!("--name={name}"))
            .path_flag("data-dir", &folder.path().join(&name))
            .argument(format!("--listen-client-urls=http://{address}"))
            .argument(format!("--advertise-client-urls=http://{address}"))
            .argument(format!("--listen-peer-urls=http://{peer}"))
            .argument(format!("--initial-advertise-peer-urls=http://{peer}"))
            .argument(format!("--initial-cluster={name}=http://{peer}"))
            .argument("--unsafe-no-fsync")
            .argument("--log-level=warn")
            // Benchmarks write more than the usual limit of 2 GiB.
            .argument(format!("--quota-backend-bytes={}", 8_u64 << 30));
        let mut daemon = Daemon::start(spec)?;
        let client = Client::plain(address);
        let probe = || async {
            let members = client.create("/v3/cluster/member/list", &json!({})).await;
            members.is_ok_and(|members| members["members"][0]["name"] == name.as_str())
        };
        daemon.ready(READY_LIMIT, probe).await?;
        Ok(daemon)
    })
    .await?;
    let address = daemon.address().ok_or_else(|| Error::Port {
        name: "etcd".to_owned(),
    })?;
    Ok((daemon, address))
}

/// What the API server is started with.
pub(super) struct ApiServer<'a> {
    pub(super) programs: &'a Programs,
    pub(super) folder: &'a Folder,
    pub(super) authority: &'a Authority,
    pub(super) authority_file: &'a Path,
    pub(super) admin: &'a Identity,
    pub(super) etcd: SocketAddr,
    pub(super) options: &'a Options,
}

impl ApiServer<'_> {
    pub(super) async fn start(&self) -> Result<(Daemon, SocketAddr, Client), Error> {
        let pki = self.folder.pki();
        let keys = ServiceAccountKeys::create(&pki)?;
        let names = API_SERVER_NAMES.into_iter().chain(["127.0.0.1", KUBERNETES_SERVICE]);
        let serving = self
            .authority
            .server("kube-apiserver", names)?
            .save(&pki, "kube-apiserver")?;
        let program = self.programs.path(Program::ApiServer)?;
        let daemon = on_free_port("kube-apiserver", async |address| {
            let spec = Spec::new("kube-apiserver", &program, &self.folder.logs())
                .recorded_in(self.folder.records())
                .serving(address)
                .argument(format!("--etcd-servers=http://{}", self.etcd))
                .argument(format!("--bind-address={}", address.ip()))
                .argument(format!("--secure-port={}", address.port()))
                // The `kubernetes` Service has no endpoint: they may not be loopback addresses, and nobody needs them.
                .argument("--endpoint-reconciler-type=none")
                .argument(format!("--advertise-address={}", address.ip()))
                .path_flag("cert-dir", &pki)
                .path_flag("tls-cert-file", &serving.certificate)
                .path_flag("tls-private-key-file", &serving.key)
                .path_flag("client-ca-file", self.authority_file)
                .path_flag("service-account-key-file", &keys.public)
                .path_flag("service-account-signing-key-file", &keys.private)
                .argument("--service-account-issuer=https://kubernetes.default.svc")
                .argument(format!("--service-cluster-ip-range={SERVICE_RANGE}"))
                .argument("--authorization-mode=Node,RBAC")
                .arguments(admission_flags(self.options))
                .arguments(&self.options.api_server_flags);
            let mut daemon = Daemon::start(spec)?;
            let client = Client::new(address, self.authority, self.admin)?;
            daemon
                .ready(READY_LIMIT, || async { client.get_text("/readyz").await.is_ok() })
                .await?;
            Ok(daemon)
        })
        .await?;
        let address = daemon.address().ok_or_else(|| Error::Port {
            name: "kube-apiserver".to_owned(),
        })?;
        let client = Client::new(address, self.authority, self.admin)?;
        Ok((daemon, address, client))
    }
}

/// Two admission plug-ins count on controllers: one refuses pods until the service account exists, one taints each new
/// node until it is seen ready. Without a controller manager neither would ever end.
fn admission_flags(options: &Options) -> Vec<&'static str> {
    let mut flags = vec!["--enable-admission-plugins=NodeRestriction"];
    if !options.controller_manager {
        flags.push("--disable-admission-plugins=ServiceAccount");
    }
    if !options.controller_manager || !options.new_nodes_tainted {
        flags.push("--disable-admission-plugins=TaintNodesByCondition");
    }
    flags
}

impl Cluster {
    pub(super) fn start_controller_manager(&self, options: &Options, authority_file: &Path) -> Result<Daemon, Error> {
        let kubeconfig = self.kubeconfig_for("system:kube-controller-manager", &[])?;
        let spec = Spec::new(
            "kube-controller-manager",
            self.programs.path(Program::ControllerManager)?,
            &self.folder.logs(),
        )
        .recorded_in(self.folder.records())
        .path_flag("kubeconfig", &kubeconfig)
        .path_flag(
            "service-account-private-key-file",
            &self.folder.pki().join("service-account.key"),
        )
        .path_flag("root-ca-file", authority_file)
        .path_flag("cert-dir", &self.folder.pki())
        .argument("--use-service-account-credentials=true")
        .argument("--leader-elect=false")
        // It serves nothing that is needed: one port less to find.
        .argument("--secure-port=0")
        .argument(format!("--kube-api-qps={}", options.client_qps))
        .argument(format!("--kube-api-burst={}", options.client_qps.saturating_mul(2)))
        .argument(format!("--node-monitor-grace-period={}s", options.node_grace.as_secs()))
        .arguments(&options.controller_manager_flags);
        Ok(Daemon::start(spec)?)
    }

    pub(super) async fn start_default_scheduler(&self, options: &Options) -> Result<Daemon, Error> {
        let kubeconfig = self.kubeconfig_for("system:kube-scheduler", &[])?;
        let flags = [
            format!("--kubeconfig={}", kubeconfig.display()),
            "--leader-elect=false".to_owned(),
            format!("--kube-api-qps={}", options.client_qps),
            format!("--kube-api-burst={}", options.client_qps.saturating_mul(2)),
        ];
        let flags = flags
            .into_iter()
            .chain(options.scheduler_flags.iter().cloned())
            .collect();
        self.start_scheduler_with("kube-scheduler", flags).await
    }

    /// The address of the API server as programs take it.
    pub fn url(&self) -> String {
        url(self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plug_ins_that_count_on_controllers_are_off_without_them() {
        let off = |controller_manager, new_nodes_tainted| {
            let flags = admission_flags(&Options {
                controller_manager,
                new_nodes_tainted,
                ..Options::default()
            });
            let flags = flags.join(" ");
            (
                flags.contains("=ServiceAccount"),
                flags.contains("=TaintNodesByCondition"),
            )
        };
        assert_eq!(off(true, true), (false, false));
        assert_eq!(off(true, false), (false, true));
        assert_eq!(off(false, true), (true, true));
    }
}
