//! The configuration files of a cluster's programs, as text.

use std::path::Path;

use serde_json::{Value, json};

use super::Reserved;
use super::daemons::NODE;
use super::layout::Layout;
use super::network::{BRIDGE, FIRST_POD_ADDRESS, NODE_ADDRESS, POD_NETWORK};
use crate::images::Image;

/// Where Debian's package puts the network plug-ins.
const PLUGINS: &str = "/usr/lib/cni";

/// containerd's configuration. `nested` is true when its store lies on an overlay, which the kernel does not nest.
pub(super) fn containerd(layout: &Layout, nested: bool) -> String {
    let quoted = |path: &Path| Value::from(path.display().to_string()).to_string();
    let snapshotter = if nested { "native" } else { "overlayfs" };
    format!(
        r#"version = 2
root = {root}
state = {state}
# The first would make a folder in /opt; the others look for file systems that are not there.
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = {socket}

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Without CAP_SYS_RESOURCE no process may lower its score, and containers would not start.
restrict_oom_score_adj = true
# Pods' network namespaces are mounted below `state`, so that they are found when the cluster is taken away.
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = {networks}

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = {runc}
"#,
        root = quoted(&layout.containerd),
        state = quoted(&layout.containerd_state()),
        socket = quoted(&layout.containerd_socket()),
        networks = quoted(&layout.config("cni")),
        runc = quoted(&layout.run.join("runc")),
        pause = Image::Pause.reference(),
    )
}

/// The pods' network: a bridge that is there already, addresses from a file, no packet filter.
pub(super) fn pod_network(layout: &Layout) -> Value {
    json!({
        "cniVersion": "1.0.0",
        // Also the prefix of the plug-ins' own files, by which they are found again.
        "name": layout.unique_name(),
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isDefaultGateway": true,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": layout.run.join("addresses"),
                "ranges": [[{"subnet": POD_NETWORK, "rangeStart": FIRST_POD_ADDRESS}]],
            },
        }],
    })
}

/// The kubelet's configuration.
pub(super) fn kubelet(layout: &Layout, is_cgroup_v1: bool, reserved: Option<Reserved>) -> Value {
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki().join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", layout.unique_name()),
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "enforceNodeAllocatable": [],
        // The machine's disk and memory are shared with everything else on it; only a full one counts.
        "evictionHard": {
            "memory.available": "1%", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
        },
        "failSwapOn": false,
        // Images come from the cache, not from a registry: one that was collected could not be fetched again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        // The default would change how the machine treats the kubelet itself.
        "oomScoreAdj": 0,
        "podLogsDir": layout.pod_logs(),
        "readOnlyPort": 0,
        "resolvConf": layout.config("resolv.conf"),
        "serializeImagePulls": true,
    });
    if is_cgroup_v1 {
        config["failCgroupV1"] = json!(false);
    }
    if let Some(Reserved {
        cpu_millis,
        memory_bytes,
    }) = reserved
    {
        // With nothing enforced this only makes the node's allocatable smaller.
        config["systemReserved"] = json!({"cpu": format!("{cpu_millis}m"), "memory": memory_bytes.to_string()});
    }
    config
}

/// kube-proxy's configuration: Services with more than one address behind them, the webhook's above all.
pub(super) fn proxy(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": "127.0.0.1",
        "clientConnection": {"kubeconfig": layout.inner_kubeconfig("proxy")},
        "clusterCIDR": POD_NETWORK,
        // The kernel's own limits are the machine's, not the cluster's.
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
        },
        "healthzBindAddress": "127.0.0.1:10256",
        "hostnameOverride": NODE,
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": "nftables",
        // Pods of one bridge would answer each other directly, under an address that nobody has asked.
        "nftables": {"masqueradeAll": true},
    })
}

/// CoreDNS's configuration: the cluster's names, and nothing of the world outside.
pub(super) fn corefile(layout: &Layout) -> String {
    format!(
        ".:53 {{\n    bind {NODE_ADDRESS}\n    errors\n    kubernetes cluster.local in-addr.arpa {{\n        \
         kubeconfig {} kompass\n        pods insecure\n        ttl 5\n    }}\n}}\n",
        layout.inner_kubeconfig("admin").display()
    )
}

/// The resolver of pods that do not use the cluster's names.
pub(super) fn resolver() -> String {
    format!("nameserver {NODE_ADDRESS}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new("test", Path::new("/state"), Path::new("/cache"))
    }

    #[test]
    fn a_reservation_makes_the_node_smaller_and_enforces_nothing() {
        let reserved = Reserved {
            cpu_millis: 500,
            memory_bytes: 1 << 30,
        };
        let config = kubelet(&layout(), true, Some(reserved));
        assert_eq!(config["systemReserved"], json!({"cpu": "500m", "memory": "1073741824"}));
        assert_eq!(config["enforceNodeAllocatable"], json!([]));
        assert!(kubelet(&layout(), true, None).get("systemReserved").is_none());
    }

    #[test]
    fn the_first_version_of_control_groups_is_named_only_where_it_is() {
        assert_eq!(kubelet(&layout(), true, None)["failCgroupV1"], json!(false));
        assert!(kubelet(&layout(), false, None).get("failCgroupV1").is_none());
    }

    #[test]
    fn sockets_have_short_paths() {
        assert!(layout().containerd_socket().as_os_str().len() < 80);
    }

    #[test]
    fn a_path_with_a_quote_stays_one_string() {
        let odd = Layout::new("test", Path::new("/state"), Path::new("/ca\"che"));
        assert!(containerd(&odd, false).contains(r#"root = "/ca\"che/containerd/test""#));
    }
}
