//! Which programs there are, and of which Go module each is built.

use std::time::Duration;

/// A Go module of this crate: what is built together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Module {
    /// The store below the API server.
    Etcd,
    /// API server, controller manager, scheduler, kubelet, kube-proxy, kubectl.
    Kubernetes,
    /// Nodes and pods that only exist in the API.
    Kwok,
    /// The name server of the full cluster.
    CoreDns,
    /// Karpenter with its KWOK provider, for tests of demand only.
    Karpenter,
    /// Renders, tests and installs the chart.
    Helm,
    /// Reads and keeps metrics, found by Kubernetes.
    Prometheus,
    /// The Prometheus Operator.
    PrometheusOperator,
    /// Pods and nodes as metrics.
    KubeStateMetrics,
    /// Checks the workflows of the repository.
    Actionlint,
}

/// One program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// `etcd`.
    Etcd,
    /// `kube-apiserver`.
    ApiServer,
    /// `kube-controller-manager`.
    ControllerManager,
    /// `kube-scheduler`.
    Scheduler,
    /// `kubelet`.
    Kubelet,
    /// `kube-proxy`.
    Proxy,
    /// `kubectl`.
    Kubectl,
    /// `kwok`.
    Kwok,
    /// `coredns`.
    CoreDns,
    /// `karpenter`, the KWOK provider's build.
    Karpenter,
    /// `helm`.
    Helm,
    /// `helm-unittest`, which runs a chart's unit tests.
    HelmUnittest,
    /// `prometheus`.
    Prometheus,
    /// The Prometheus Operator itself.
    PrometheusOperator,
    /// `prometheus-config-reloader`, which the operator puts beside each Prometheus.
    PrometheusConfigReloader,
    /// `kube-state-metrics`.
    KubeStateMetrics,
    /// `actionlint`.
    Actionlint,
}

impl Program {
    const ALL: [Self; 17] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::Proxy,
        Self::Kubectl,
        Self::Kwok,
        Self::CoreDns,
        Self::Karpenter,
        Self::Helm,
        Self::HelmUnittest,
        Self::Prometheus,
        Self::PrometheusOperator,
        Self::PrometheusConfigReloader,
        Self::KubeStateMetrics,
        Self::Actionlint,
    ];

    /// The module that it is built from.
    pub const fn module(self) -> Module {
        match self {
            Self::Etcd => Module::Etcd,
            Self::ApiServer
            | Self::ControllerManager
            | Self::Scheduler
            | Self::Kubelet
            | Self::Proxy
            | Self::Kubectl => Module::Kubernetes,
            Self::Kwok => Module::Kwok,
            Self::CoreDns => Module::CoreDns,
            Self::Karpenter => Module::Karpenter,
            Self::Helm | Self::HelmUnittest => Module::Helm,
            Self::Prometheus => Module::Prometheus,
            Self::PrometheusOperator | Self::PrometheusConfigReloader => Module::PrometheusOperator,
            Self::KubeStateMetrics => Module::KubeStateMetrics,
            Self::Actionlint => Module::Actionlint,
        }
    }

    /// Its file name in the cache.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
            Self::CoreDns => "coredns",
            Self::Karpenter => "karpenter",
            Self::Helm => "helm",
            Self::HelmUnittest => "helm-unittest",
            Self::Prometheus => "prometheus",
            Self::PrometheusOperator => "prometheus-operator",
            Self::PrometheusConfigReloader => "prometheus-config-reloader",
            Self::KubeStateMetrics => "kube-state-metrics",
            Self::Actionlint => "actionlint",
        }
    }

    /// The file name that Go gives it: the last part of its package path.
    pub(super) const fn built_name(self) -> &'static str {
        match self {
            Self::Etcd => "server",
            Self::Karpenter => "kwok",
            Self::PrometheusOperator => "operator",
            other => other.file_name(),
        }
    }
}

impl Module {
    /// The name in the cache and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Kubernetes => "kubernetes",
            Self::Kwok => "kwok",
            Self::CoreDns => "coredns",
            Self::Karpenter => "karpenter",
            Self::Helm => "helm",
            Self::Prometheus => "prometheus",
            Self::PrometheusOperator => "prometheus-operator",
            Self::KubeStateMetrics => "kube-state-metrics",
            Self::Actionlint => "actionlint",
        }
    }

    /// How long the first build takes on two cores, downloads included.
    pub const fn expected_build(self) -> Duration {
        match self {
            Self::Etcd => Duration::from_secs(90),
            Self::Kubernetes => Duration::from_mins(8),
            Self::Kwok => Duration::from_mins(2),
            Self::CoreDns | Self::Prometheus => Duration::from_mins(4),
            Self::Karpenter | Self::Helm => Duration::from_mins(3),
            Self::PrometheusOperator | Self::KubeStateMetrics => Duration::from_secs(100),
            Self::Actionlint => Duration::from_secs(20),
        }
    }

    pub(super) const fn go_mod(self) -> &'static str {
        match self {
            Self::Etcd => include_str!("../../programs/etcd/go.mod"),
            Self::Kubernetes => include_str!("../../programs/kubernetes/go.mod"),
            Self::Kwok => include_str!("../../programs/kwok/go.mod"),
            Self::CoreDns => include_str!("../../programs/coredns/go.mod"),
            Self::Karpenter => include_str!("../../programs/karpenter/go.mod"),
            Self::Helm => include_str!("../../programs/helm/go.mod"),
            Self::Prometheus => include_str!("../../programs/prometheus/go.mod"),
            Self::PrometheusOperator => include_str!("../../programs/prometheus-operator/go.mod"),
            Self::KubeStateMetrics => include_str!("../../programs/kube-state-metrics/go.mod"),
            Self::Actionlint => include_str!("../../programs/actionlint/go.mod"),
        }
    }

    pub(super) const fn go_sum(self) -> &'static str {
        match self {
            Self::Etcd => include_str!("../../programs/etcd/go.sum"),
            Self::Kubernetes => include_str!("../../programs/kubernetes/go.sum"),
            Self::Kwok => include_str!("../../programs/kwok/go.sum"),
            Self::CoreDns => include_str!("../../programs/coredns/go.sum"),
            Self::Karpenter => include_str!("../../programs/karpenter/go.sum"),
            Self::Helm => include_str!("../../programs/helm/go.sum"),
            Self::Prometheus => include_str!("../../programs/prometheus/go.sum"),
            Self::PrometheusOperator => include_str!("../../programs/prometheus-operator/go.sum"),
            Self::KubeStateMetrics => include_str!("../../programs/kube-state-metrics/go.sum"),
            Self::Actionlint => include_str!("../../programs/actionlint/go.sum"),
        }
    }

    pub(super) fn programs(self) -> impl Iterator<Item = Program> {
        Program::ALL.into_iter().filter(move |program| program.module() == self)
    }

    /// Symbols are left out of the programs. Those of Kubernetes are told their version, which their own build does too;
    /// without it they call themselves v0.0.0.
    pub(super) fn linker_flags(self) -> String {
        let mut flags = vec!["-s -w".to_owned()];
        if self == Self::Kubernetes {
            let version = self.version();
            let (components, client) = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version");
            flags.push(format!(
                "-X {components}.gitVersion={version} -X {client}.gitVersion={version}"
            ));
            let mut numbers = version.trim_start_matches('v').split('.');
            if let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) {
                flags.push(format!(
                    "-X {components}.gitMajor={major} -X {components}.gitMinor={minor}"
                ));
            }
        }
        flags.join(" ")
    }

    /// The Go module that the programs are of, which has a version of its own.
    const fn path(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Kubernetes => "k8s.io/kubernetes",
            Self::Kwok => "sigs.k8s.io/kwok",
            Self::CoreDns => "github.com/coredns/coredns",
            Self::Karpenter => "sigs.k8s.io/karpenter",
            Self::Helm => "helm.sh/helm/v4",
            Self::Prometheus => "github.com/prometheus/prometheus",
            Self::PrometheusOperator => "github.com/prometheus-operator/prometheus-operator",
            Self::KubeStateMetrics => "k8s.io/kube-state-metrics/v2",
            Self::Actionlint => "github.com/rhysd/actionlint",
        }
    }

    /// Its version, for example `v1.36.3`.
    pub fn version(self) -> &'static str {
        self.required_version(self.path()).unwrap_or("unknown")
    }

    /// The version of `path` that the `go.mod` requires.
    fn required_version(self, path: &str) -> Option<&'static str> {
        self.go_mod().lines().find_map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| *word == "require");
            (words.next() == Some(path)).then(|| words.next()).flatten()
        })
    }

    /// The oldest Go that builds it, for example `1.26.0`.
    pub fn needed_go(self) -> &'static str {
        self.go_mod()
            .lines()
            .find_map(|line| line.strip_prefix("go "))
            .map_or("1.26", str::trim)
    }
}

/// The version of Kubernetes that the programs have, for example `v1.36.3`.
pub fn kubernetes_version() -> &'static str {
    Module::Kubernetes.version()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: [Module; 10] = [
        Module::Etcd,
        Module::Kubernetes,
        Module::Kwok,
        Module::CoreDns,
        Module::Karpenter,
        Module::Helm,
        Module::Prometheus,
        Module::PrometheusOperator,
        Module::KubeStateMetrics,
        Module::Actionlint,
    ];

    #[test]
    fn every_program_is_a_tool_of_its_module() {
        for program in Program::ALL {
            let go_mod = program.module().go_mod();
            let name = program.built_name();
            assert!(
                go_mod.lines().any(|line| {
                    let path = line.trim().trim_start_matches("tool ");
                    let path = path.trim_end_matches("/v3").trim_end_matches("/v2");
                    // The path of a module is its own program when it has no package in it.
                    path.rsplit('/').next() == Some(name)
                }),
                "{name} is not in the go.mod of {:?}",
                program.module()
            );
        }
    }

    #[test]
    fn every_module_pins_its_compiler_and_has_sums() {
        for module in MODULES {
            assert!(module.needed_go().starts_with("1."), "{module:?}");
            assert!(module.go_sum().lines().count() > 10, "{module:?}");
            assert!(module.programs().count() > 0, "{module:?}");
            assert!(module.version().starts_with('v'), "{module:?} {}", module.version());
        }
    }

    #[test]
    fn kubernetes_is_told_the_version_of_its_module() {
        let version = kubernetes_version();
        assert!(version.starts_with("v1."), "{version}");
        let flags = Module::Kubernetes.linker_flags();
        assert!(flags.contains(&format!("version.gitVersion={version} ")), "{flags}");
        assert!(flags.contains("gitMajor=1 "), "{flags}");
        assert_eq!(Module::Etcd.linker_flags(), "-s -w");
    }
}
