//! The programs of a cluster with their arguments. All of them run inside the cluster's network.

use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::network::{API_SERVICE_ADDRESS, NODE_ADDRESS, SERVICE_NETWORK};
use crate::process::Spec;
use crate::programs::{self, Program, Programs};

/// The node's name.
pub const NODE: &str = "real-0";
/// Where the API server listens, on every address of the cluster's network. The standard port, because the Service
/// address `10.96.0.1` is the node's own and nothing translates ports.
pub(super) const API_PORT: u16 = 443;
pub(super) const ETCD_PORT: u16 = 2379;
const ETCD_PEER_PORT: u16 = 2380;
pub(super) const DNS_PORT: u16 = 53;
pub(super) const SCHEDULER_PORT: u16 = 10259;

/// The daemons of the cluster itself, in the order in which they are stopped. All others are stopped before.
pub(super) const CORE: [&str; 9] = [
    "kubelet",
    "kube-proxy",
    "kwok",
    "coredns",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "etcd",
    CONTAINERD,
];
pub(super) const CONTAINERD: &str = "containerd";

/// A daemon of this cluster: inside its network, with a log and a record where the cluster looks for them.
pub(super) fn spec(layout: &Layout, name: &str, program: impl Into<PathBuf>) -> Spec {
    Spec::new(name, program, &layout.logs())
        .recorded_in(layout.records())
        .in_network_namespace(layout.namespace().path())
}

pub(super) fn etcd(layout: &Layout, programs: &Programs) -> Result<Spec, programs::Error> {
    let client = format!("http://127.0.0.1:{ETCD_PORT}");
    let peer = format!("http://127.0.0.1:{ETCD_PEER_PORT}");
    Ok(core(layout, programs, Program::Etcd)?
        .path_flag("data-dir", &layout.etcd())
        // The data is thrown away with the cluster; waiting for the disk would only make it slow.
        .argument("--unsafe-no-fsync")
        .arguments([
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ]))
}

pub(super) fn containerd(layout: &Layout) -> Spec {
    spec(layout, CONTAINERD, CONTAINERD).path_flag("config", &layout.config("containerd.toml"))
}

pub(super) fn api_server(layout: &Layout, programs: &Programs) -> Result<Spec, programs::Error> {
    let pki = layout.pki();
    Ok(core(layout, programs, Program::ApiServer)?
        .arguments([
            format!("--etcd-servers=http://127.0.0.1:{ETCD_PORT}"),
            format!("--secure-port={API_PORT}"),
            "--bind-address=0.0.0.0".to_owned(),
            format!("--advertise-address={NODE_ADDRESS}"),
            format!("--service-cluster-ip-range={SERVICE_NETWORK}"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            // The node's name is in no name server; logs and exec need its address.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ])
        .path_flag("client-ca-file", &pki.join("ca.crt"))
        .path_flag("tls-cert-file", &pki.join("apiserver.crt"))
        .path_flag("tls-private-key-file", &pki.join("apiserver.key"))
        .path_flag("kubelet-client-certificate", &pki.join("kubelet-client.crt"))
        .path_flag("kubelet-client-key", &pki.join("kubelet-client.key"))
        .path_flag("service-account-key-file", &pki.join("service-account.pub"))
        .path_flag("service-account-signing-key-file", &pki.join("service-account.key")))
}

pub(super) fn controller_manager(layout: &Layout, programs: &Programs) -> Result<Spec, programs::Error> {
    let pki = layout.pki();
    Ok(core(layout, programs, Program::ControllerManager)?
        .path_flag("kubeconfig", &layout.inner_kubeconfig("controller-manager"))
        .path_flag("root-ca-file", &pki.join("ca.crt"))
        .path_flag("service-account-private-key-file", &pki.join("service-account.key"))
        .arguments([
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            // At its start it asks for a token for each of its controllers. With the usual limit of 20 requests per
            // second that alone takes four seconds, in which no pod can be created.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]))
}

pub(super) fn scheduler(layout: &Layout, programs: &Programs) -> Result<Spec, programs::Error> {
    let kubeconfig = layout.inner_kubeconfig("scheduler");
    Ok(core(layout, programs, Program::Scheduler)?
        .path_flag("kubeconfig", &kubeconfig)
        .path_flag("authentication-kubeconfig", &kubeconfig)
        .path_flag("authorization-kubeconfig", &kubeconfig)
        .arguments([
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={SCHEDULER_PORT}"),
            "--leader-elect=false".to_owned(),
        ]))
}

pub(super) fn name_server(layout: &Layout, programs: &Programs) -> Result<Spec, programs::Error> {
    Ok(core(layout, programs, Program::CoreDns)?
        .argument("-conf")
        .argument(text(&layout.config("Corefile"))))
}

pub(super) fn kubelet(layout: &Layout, programs: &Programs) -> Result<Spec, programs::Error> {
    Ok(core(layout, programs, Program::Kubelet)?
        .path_flag("kubeconfig", &layout.inner_kubeconfig("node"))
        .path_flag("config", &layout.config("kubelet.json"))
        .path_flag("root-dir", &layout.kubelet())
        .path_flag("cert-dir", &layout.kubelet().join("pki"))
        .arguments([
            format!("--hostname-override={NODE}"),
            format!("--node-ip={NODE_ADDRESS}"),
        ]))
}

pub(super) fn proxy(layout: &Layout, programs: &Programs) -> Result<Spec, programs::Error> {
    Ok(core(layout, programs, Program::Proxy)?.path_flag("config", &layout.config("kube-proxy.json")))
}

/// Everything by which the API server may be called.
pub(super) fn api_server_addresses() -> [String; 3] {
    [
        "127.0.0.1".to_owned(),
        API_SERVICE_ADDRESS.to_string(),
        NODE_ADDRESS.to_string(),
    ]
}

fn core(layout: &Layout, programs: &Programs, program: Program) -> Result<Spec, programs::Error> {
    Ok(spec(layout, program.file_name(), programs.path(program)?))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
