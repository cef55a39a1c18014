//! The Kubernetes programs of a local cluster, built once from their pinned Go modules and kept in the cache.
//!
//! The Go modules (`programs/*/go.mod` and `go.sum` of this crate) are part of the compiled library, so that an
//! installed `kompass` needs no checkout. What is built is named by the hash of everything that decides it.

mod build;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::directories;
use crate::progress::Progress;
pub use build::Error as BuildError;

/// How long to wait for another process that builds the same module.
const LOCK_LIMIT: Duration = Duration::from_hours(1);
const LOCK_INTERVAL: Duration = Duration::from_millis(500);

/// Why the programs cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no place for the cache.
    #[error("failed to find the cache of programs")]
    Directory(#[from] directories::Error),
    /// Go is missing, too old, or the build failed.
    #[error("failed to build {module}")]
    Build {
        /// The Go module.
        module: &'static str,
        /// What went wrong.
        #[source]
        source: BuildError,
    },
    /// A file of the cache cannot be read or written.
    #[error("failed to use {path} in the cache of programs")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// Another process has held the lock of the module for too long.
    #[error(
        "failed to lock {path}: another process has been building for {}",
        crate::progress::human(LOCK_LIMIT)
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A program was asked for whose module was not named to [`ensure`].
    #[error("failed to find {program:?}: module {} was not asked for", .program.module().name())]
    NotEnsured {
        /// The program.
        program: Program,
    },
}

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
    const fn built_name(self) -> &'static str {
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

    const fn go_mod(self) -> &'static str {
        match self {
            Self::Etcd => include_str!("../programs/etcd/go.mod"),
            Self::Kubernetes => include_str!("../programs/kubernetes/go.mod"),
            Self::Kwok => include_str!("../programs/kwok/go.mod"),
            Self::CoreDns => include_str!("../programs/coredns/go.mod"),
            Self::Karpenter => include_str!("../programs/karpenter/go.mod"),
            Self::Helm => include_str!("../programs/helm/go.mod"),
            Self::Prometheus => include_str!("../programs/prometheus/go.mod"),
            Self::PrometheusOperator => include_str!("../programs/prometheus-operator/go.mod"),
            Self::KubeStateMetrics => include_str!("../programs/kube-state-metrics/go.mod"),
            Self::Actionlint => include_str!("../programs/actionlint/go.mod"),
        }
    }

    const fn go_sum(self) -> &'static str {
        match self {
            Self::Etcd => include_str!("../programs/etcd/go.sum"),
            Self::Kubernetes => include_str!("../programs/kubernetes/go.sum"),
            Self::Kwok => include_str!("../programs/kwok/go.sum"),
            Self::CoreDns => include_str!("../programs/coredns/go.sum"),
            Self::Karpenter => include_str!("../programs/karpenter/go.sum"),
            Self::Helm => include_str!("../programs/helm/go.sum"),
            Self::Prometheus => include_str!("../programs/prometheus/go.sum"),
            Self::PrometheusOperator => include_str!("../programs/prometheus-operator/go.sum"),
            Self::KubeStateMetrics => include_str!("../programs/kube-state-metrics/go.sum"),
            Self::Actionlint => include_str!("../programs/actionlint/go.sum"),
        }
    }

    fn programs(self) -> impl Iterator<Item = Program> {
        Program::ALL.into_iter().filter(move |program| program.module() == self)
    }

    /// Symbols are left out of the programs. Those of Kubernetes are told their version, which their own build does too;
    /// without it they call themselves v0.0.0.
    fn linker_flags(self) -> String {
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

/// What decides the bytes of a build: the module's files, how it is built, and the compiler.
fn cache_key(go_mod: &str, go_sum: &str, flags: &[String], go_version: &str) -> String {
    let mut hash = Sha256::new();
    let flags = flags.join("\0");
    for part in [go_mod, go_sum, &flags, go_version] {
        // With its length before it, no part can run into the next one.
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let key = hash
        .finalize()
        .iter()
        .take(8)
        .fold(0_u64, |key, byte| key << 8 | u64::from(*byte));
    format!("{key:016x}")
}

/// The programs that were asked for, ready to run.
#[derive(Clone, Debug)]
pub struct Programs {
    folders: BTreeMap<Module, PathBuf>,
}

impl Programs {
    /// The path of a program.
    pub fn path(&self, program: Program) -> Result<PathBuf, Error> {
        self.folders
            .get(&program.module())
            .map(|folder| folder.join(program.file_name()))
            .ok_or(Error::NotEnsured { program })
    }
}

/// Builds what is missing and returns where the programs are. Fast when all are there.
///
/// One process at a time builds a module; the others wait and then find it done. A build that is killed half way leaves
/// nothing that is mistaken for a whole one.
pub async fn ensure(modules: &[Module], progress: &Progress) -> Result<Programs, Error> {
    let cache = directories::cache()?.join("programs");
    let mut folders = BTreeMap::new();
    for &module in modules {
        folders.insert(module, ensure_one(module, &cache, progress).await?);
    }
    Ok(Programs { folders })
}

/// Whether there is a Go that builds the programs of Kubernetes.
pub async fn check_go() -> Result<(), Error> {
    let module = Module::Kubernetes;
    let cache = directories::cache()?.join("programs");
    match build::Go::find(module, &cache).await {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Build {
            module: module.name(),
            source,
        }),
    }
}

async fn ensure_one(module: Module, cache: &Path, progress: &Progress) -> Result<PathBuf, Error> {
    let failed = |source| Error::Build {
        module: module.name(),
        source,
    };
    let go = build::Go::find(module, cache).await.map_err(failed)?;
    let flags = build::flags(&module.linker_flags());
    let key = cache_key(module.go_mod(), module.go_sum(), &flags, go.version());
    let name = format!("{}-{key}", module.name());
    let folder = cache.join(&name);
    let bin = folder.join("bin");
    if is_whole(module, &bin) {
        return Ok(bin);
    }

    let _lock = lock(&cache.join(format!("{name}.lock")), module, progress).await?;
    if is_whole(module, &bin) {
        return Ok(bin);
    }
    let unfinished = cache.join(format!(".{name}.unfinished"));
    // Only the holder of the lock writes here: what lies there is of a build that was killed.
    remove_folder(&unfinished)?;
    remove_folder(&folder)?;
    let unfinished_bin = unfinished.join("bin");
    std::fs::create_dir_all(&unfinished_bin).map_err(io(&unfinished_bin))?;

    let step = progress.step(format!("Building {}", module.name()), Some(module.expected_build()));
    go.build(&flags, &unfinished_bin, &step).await.map_err(failed)?;
    for program in module.programs() {
        let (built, wanted) = (program.built_name(), program.file_name());
        let built = unfinished_bin.join(built);
        std::fs::rename(&built, unfinished_bin.join(wanted)).map_err(io(&built))?;
    }
    std::fs::rename(&unfinished, &folder).map_err(io(&folder))?;
    step.done();
    Ok(bin)
}

fn is_whole(module: Module, bin: &Path) -> bool {
    module.programs().all(|program| bin.join(program.file_name()).is_file())
}

/// Takes the lock of a module; it is free again when the file is dropped, also by a `kill -9`.
async fn lock(path: &Path, module: Module, progress: &Progress) -> Result<File, Error> {
    let file = File::create(path).map_err(io(path))?;
    let mut waiting = None;
    let deadline = tokio::time::Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io(path)(source)),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() > deadline => {
                return Err(Error::Locked { path: path.to_owned() });
            }
            Err(TryLockError::WouldBlock) => {
                waiting.get_or_insert_with(|| {
                    progress.step(
                        format!("Waiting for another process that builds {}", module.name()),
                        None,
                    )
                });
                tokio::time::sleep(LOCK_INTERVAL).await;
            }
        }
    }
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io(path)(source)),
        _ => Ok(()),
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
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
    fn every_part_of_the_key_changes_it() {
        let flags = ["-trimpath".to_owned()];
        let key = cache_key("mod", "sum", &flags, "go1.26.8");
        assert_eq!(key.len(), 16);
        assert_eq!(key, cache_key("mod", "sum", &flags, "go1.26.8"));
        let others = [
            cache_key("mod2", "sum", &flags, "go1.26.8"),
            cache_key("mod", "sum2", &flags, "go1.26.8"),
            cache_key("mod", "sum", &["-race".to_owned()], "go1.26.8"),
            cache_key("mod", "sum", &flags, "go1.26.9"),
            cache_key("mods", "um", &flags, "go1.26.8"),
        ];
        for other in others {
            assert_ne!(key, other);
        }
    }

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

    #[test]
    fn a_half_build_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubectl"), "").unwrap();
        assert!(!is_whole(Module::Kubernetes, folder.path()));
        std::fs::write(folder.path().join("etcd"), "").unwrap();
        assert!(is_whole(Module::Etcd, folder.path()));
    }

    #[test]
    fn a_program_of_another_module_is_refused() {
        let programs = Programs {
            folders: BTreeMap::from([(Module::Etcd, PathBuf::from("/bin"))]),
        };
        assert_eq!(programs.path(Program::Etcd).unwrap(), Path::new("/bin/etcd"));
        let error = programs.path(Program::Kwok).unwrap_err();
        assert!(error.to_string().contains("module kwok"), "{error}");
    }

    #[tokio::test]
    async fn a_lock_is_waited_for_and_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.lock");
        let first = lock(&path, Module::Etcd, &Progress::silent()).await.unwrap();
        let other = path.clone();
        let second = tokio::spawn(async move { lock(&other, Module::Etcd, &Progress::silent()).await });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        tokio::time::timeout(Duration::from_secs(10), second)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
