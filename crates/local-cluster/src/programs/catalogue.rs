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
    /// Looks for weak settings in Terraform.
    Trivy,
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
    /// `trivy`.
    Trivy,
}

/// What is known of a program.
struct ProgramFacts {
    module: Module,
    file_name: &'static str,
    built_name: &'static str,
}

const fn program(module: Module, file_name: &'static str) -> ProgramFacts {
    ProgramFacts {
        module,
        file_name,
        built_name: file_name,
    }
}

impl ProgramFacts {
    const fn built_as(mut self, name: &'static str) -> Self {
        self.built_name = name;
        self
    }
}

impl Program {
    const ALL: [Self; 18] = [
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
        Self::Trivy,
    ];

    const fn facts(self) -> ProgramFacts {
        match self {
            Self::Etcd => program(Module::Etcd, "etcd").built_as("server"),
            Self::ApiServer => program(Module::Kubernetes, "kube-apiserver"),
            Self::ControllerManager => program(Module::Kubernetes, "kube-controller-manager"),
            Self::Scheduler => program(Module::Kubernetes, "kube-scheduler"),
            Self::Kubelet => program(Module::Kubernetes, "kubelet"),
            Self::Proxy => program(Module::Kubernetes, "kube-proxy"),
            Self::Kubectl => program(Module::Kubernetes, "kubectl"),
            Self::Kwok => program(Module::Kwok, "kwok"),
            Self::CoreDns => program(Module::CoreDns, "coredns"),
            Self::Karpenter => program(Module::Karpenter, "karpenter").built_as("kwok"),
            Self::Helm => program(Module::Helm, "helm"),
            Self::HelmUnittest => program(Module::Helm, "helm-unittest"),
            Self::Prometheus => program(Module::Prometheus, "prometheus"),
            Self::PrometheusOperator => program(Module::PrometheusOperator, "prometheus-operator").built_as("operator"),
            Self::PrometheusConfigReloader => program(Module::PrometheusOperator, "prometheus-config-reloader"),
            Self::KubeStateMetrics => program(Module::KubeStateMetrics, "kube-state-metrics"),
            Self::Actionlint => program(Module::Actionlint, "actionlint"),
            Self::Trivy => program(Module::Trivy, "trivy"),
        }
    }

    /// The module that it is built from.
    pub const fn module(self) -> Module {
        self.facts().module
    }

    /// Its file name in the cache.
    pub const fn file_name(self) -> &'static str {
        self.facts().file_name
    }

    /// The file name that Go gives it: the last part of its package path.
    pub(super) const fn built_name(self) -> &'static str {
        self.facts().built_name
    }
}

/// What is known of a module.
struct ModuleFacts {
    name: &'static str,
    path: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    expected_build: Duration,
}

/// The folder below `programs/`, the Go module that the programs are of, and about how long the first build takes on two cores.
macro_rules! module {
    ($name:literal, $path:literal, $expected_build:expr) => {
        ModuleFacts {
            name: $name,
            path: $path,
            go_mod: include_str!(concat!("../../programs/", $name, "/go.mod")),
            go_sum: include_str!(concat!("../../programs/", $name, "/go.sum")),
            expected_build: $expected_build,
        }
    };
}

impl Module {
    const fn facts(self) -> ModuleFacts {
        match self {
            Self::Etcd => module!("etcd", "go.etcd.io/etcd/server/v3", Duration::from_secs(90)),
            Self::Kubernetes => module!("kubernetes", "k8s.io/kubernetes", Duration::from_mins(8)),
            Self::Kwok => module!("kwok", "sigs.k8s.io/kwok", Duration::from_mins(2)),
            Self::CoreDns => module!("coredns", "github.com/coredns/coredns", Duration::from_mins(4)),
            Self::Karpenter => module!("karpenter", "sigs.k8s.io/karpenter", Duration::from_mins(3)),
            Self::Helm => module!("helm", "helm.sh/helm/v4", Duration::from_mins(3)),
            Self::Prometheus => module!("prometheus", "github.com/prometheus/prometheus", Duration::from_mins(4)),
            Self::PrometheusOperator => module!(
                "prometheus-operator",
                "github.com/prometheus-operator/prometheus-operator",
                Duration::from_secs(100)
            ),
            Self::KubeStateMetrics => module!(
                "kube-state-metrics",
                "k8s.io/kube-state-metrics/v2",
                Duration::from_secs(100)
            ),
            Self::Actionlint => module!("actionlint", "github.com/rhysd/actionlint", Duration::from_secs(20)),
            Self::Trivy => module!("trivy", "github.com/aquasecurity/trivy", Duration::from_mins(12)),
        }
    }

    /// The name in the cache and in messages.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// How long the first build takes on two cores, downloads included.
    pub const fn expected_build(self) -> Duration {
        self.facts().expected_build
    }

    pub(super) const fn go_mod(self) -> &'static str {
        self.facts().go_mod
    }

    pub(super) const fn go_sum(self) -> &'static str {
        self.facts().go_sum
    }

    /// What Go is to switch on that is not so by itself yet (`GOEXPERIMENT`).
    pub(super) const fn experiment(self) -> Option<&'static str> {
        match self {
            // It reads and writes JSON by `encoding/json/v2`.
            Self::Trivy => Some("jsonv2"),
            _ => None,
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

    /// Its version, for example `v1.36.3`.
    pub fn version(self) -> &'static str {
        self.required_version(self.facts().path).unwrap_or("unknown")
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

    const MODULES: [Module; 11] = [
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
        Module::Trivy,
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
