//! Where everything of one cluster lies.

use std::path::{Path, PathBuf};

use super::network::Namespace;

/// Mounts, sockets and namespaces: what a reboot takes away by itself. Short, because a socket's path may have at most
/// 107 bytes.
pub(super) const RUN: &str = "/run/kompass";

/// The folders and names of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) name: String,
    /// Data, configuration, logs and records of processes.
    pub(super) state: PathBuf,
    pub(super) run: PathBuf,
    /// The node's store of images and containers. In the cache, so that images need not be imported again.
    pub(super) containerd: PathBuf,
}

impl Layout {
    pub(super) fn new(name: &str, state: &Path, cache: &Path) -> Self {
        Self {
            name: name.to_owned(),
            state: state.join("full").join(name),
            run: Path::new(RUN).join(name),
            containerd: cache.join("containerd").join(name),
        }
    }

    pub(super) fn namespace(&self) -> Namespace {
        Namespace::at(self.run.join("network"))
    }

    /// The name of the control group, and of the pods' network.
    pub(super) fn unique_name(&self) -> String {
        format!("kompass-{}", self.name)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    pub(super) fn records(&self) -> PathBuf {
        self.state.join("processes")
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }

    pub(super) fn state_file(&self) -> PathBuf {
        self.state.join("cluster.json")
    }

    pub(super) fn config(&self, file: &str) -> PathBuf {
        self.state.join("config").join(file)
    }

    /// For users of this machine, through the forwarded port.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// For programs inside the cluster's network.
    pub(super) fn inner_kubeconfig(&self, user: &str) -> PathBuf {
        self.config(&format!("{user}.kubeconfig"))
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    pub(super) fn containerd_state(&self) -> PathBuf {
        self.run.join("containerd")
    }

    pub(super) fn etcd(&self) -> PathBuf {
        self.state.join("etcd")
    }

    pub(super) fn kubelet(&self) -> PathBuf {
        self.state.join("kubelet")
    }

    pub(super) fn pod_logs(&self) -> PathBuf {
        self.state.join("pod-logs")
    }

    /// What `down` removes; logs stay, so that a failure can be read about afterwards.
    pub(super) fn removable(&self) -> [PathBuf; 10] {
        [
            self.state.join("kwok"),
            self.state.join("kwok.stages.yaml"),
            self.etcd(),
            self.kubelet(),
            self.pod_logs(),
            self.pki(),
            self.records(),
            self.state.join("config"),
            self.kubeconfig(),
            self.state_file(),
        ]
    }
}
