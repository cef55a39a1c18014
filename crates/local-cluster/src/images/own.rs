//! Images of what this machine has built itself: KOMPASS's services, the kube-scheduler beside its extender, and what its chart
//! can bring to watch it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::buildah::Context;
use super::{Error, files, io};
use crate::programs::{Module, Program};

/// Where the Dockerfiles look for what makes the programs.
const SCRIPTS: &str = "docker";
/// The C library of the images is Debian 12's: a program that was linked with a newer one does not start with it.
const BUILDER: &str = "BUILDER=debian:bookworm-slim";

/// What runs in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Planner and extender.
    SchedulerExtender,
    /// Webhook and profiler.
    AdmissionWebhook,
    /// Learns, and holds nodes.
    Predictor,
    /// The command line program.
    Cli,
    /// Kubernetes's own scheduler.
    KubeScheduler,
    /// Reads and keeps metrics.
    Prometheus,
    /// Makes Prometheus's configuration of the chart's monitors and rules.
    PrometheusOperator,
    /// Tells Prometheus of a new configuration.
    PrometheusConfigReloader,
    /// Tells of pods and nodes as metrics.
    KubeStateMetrics,
}

impl Part {
    /// The parts that are KOMPASS itself.
    pub const KOMPASS: [Self; 4] = [
        Self::SchedulerExtender,
        Self::AdmissionWebhook,
        Self::Predictor,
        Self::Cli,
    ];
    /// What the chart brings beside KOMPASS when it is to watch it, too.
    pub const MONITORING: [Self; 4] = [
        Self::Prometheus,
        Self::PrometheusOperator,
        Self::PrometheusConfigReloader,
        Self::KubeStateMetrics,
    ];

    /// The image's last name, for example `kompass-predictor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SchedulerExtender => "kompass-scheduler-extender",
            Self::AdmissionWebhook => "kompass-admission-webhook",
            Self::Predictor => "kompass-predictor",
            Self::Cli => "kompass-cli",
            Self::KubeScheduler => "kube-scheduler",
            Self::Prometheus => "prometheus",
            Self::PrometheusOperator => "prometheus-operator",
            Self::PrometheusConfigReloader => "prometheus-config-reloader",
            Self::KubeStateMetrics => "kube-state-metrics",
        }
    }

    /// The program's file name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Cli => "kompass",
            other => other.name(),
        }
    }

    /// The program of somebody else that it is; none if it is KOMPASS.
    pub const fn module_program(self) -> Option<Program> {
        match self {
            Self::SchedulerExtender | Self::AdmissionWebhook | Self::Predictor | Self::Cli => None,
            Self::KubeScheduler => Some(Program::Scheduler),
            Self::Prometheus => Some(Program::Prometheus),
            Self::PrometheusOperator => Some(Program::PrometheusOperator),
            Self::PrometheusConfigReloader => Some(Program::PrometheusConfigReloader),
            Self::KubeStateMetrics => Some(Program::KubeStateMetrics),
        }
    }

    /// The stage of its Dockerfile.
    pub(super) const fn target(self) -> &'static str {
        match self {
            Self::SchedulerExtender => "scheduler-extender",
            Self::AdmissionWebhook => "admission-webhook",
            Self::Predictor => "predictor",
            Self::Cli => "cli",
            other => other.name(),
        }
    }

    /// What its makers call the image of this version, by which the chart asks for it.
    fn makers_reference(self, program: Program) -> String {
        let repository = match self {
            Self::Prometheus => "quay.io/prometheus",
            Self::PrometheusOperator | Self::PrometheusConfigReloader => "quay.io/prometheus-operator",
            Self::KubeStateMetrics => "registry.k8s.io/kube-state-metrics",
            _ => "registry.k8s.io",
        };
        let version = program.module().version();
        let version = match program.module() {
            Module::Prometheus => prometheus_release(version),
            _ => version.to_owned(),
        };
        format!("{repository}/{}:{version}", self.name())
    }
}

/// The release of Prometheus that a version of its module is: v0.305.1 is v3.5.1.
fn prometheus_release(module_version: &str) -> String {
    let mut numbers = module_version.trim_start_matches("v0.").splitn(2, '.');
    let release: Option<u32> = numbers.next().and_then(|number| number.parse().ok());
    match (release, numbers.next()) {
        (Some(release), Some(patch)) => format!("v{}.{}.{patch}", release / 100, release % 100),
        _ => module_version.to_owned(),
    }
}

/// A program that becomes an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Own {
    part: Part,
    program: PathBuf,
    /// What tells this build of the program from others.
    build: String,
}

impl Own {
    /// The image of `part`, from its program.
    ///
    /// # Errors
    /// The program is not there.
    pub fn new(part: Part, program: &Path) -> Result<Self, Error> {
        let found = fs::metadata(program).map_err(io(program))?;
        let changed = found.modified().map_err(io(program))?;
        let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            part,
            program: program.to_owned(),
            // Reading hundreds of megabytes at every start would tell no more.
            build: format!("{} {}", found.len(), changed.as_nanos()),
        })
    }

    /// What runs in it.
    pub const fn part(&self) -> Part {
        self.part
    }

    /// What tells this build of the program from others.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// The whole name by which the chart asks for it.
    pub(super) fn reference(&self) -> String {
        match self.part.module_program() {
            Some(program) => self.part.makers_reference(program),
            None => format!("docker.io/local/{}:{}", self.part.name(), env!("CARGO_PKG_VERSION")),
        }
    }

    pub(super) fn inputs(&self, base: &str) -> String {
        files::hash(self.files(), &[base, self.part.name(), &self.build])
    }

    pub(super) fn build_arguments(&self) -> Vec<String> {
        if self.part.module_program().is_some() {
            return Vec::new();
        }
        vec![BUILDER.to_owned(), format!("VERSION={}", env!("CARGO_PKG_VERSION"))]
    }

    /// Puts the program and what the build needs beside it into a context.
    pub(super) async fn fill(&self, context: &Context) -> Result<(), Error> {
        let program = self.part.program();
        if self.part.module_program().is_some() {
            context.add(self.files(), "programs")?;
            return context.program(program, &self.program).await;
        }
        context.add_below(SCRIPTS, self.files())?;
        context.dockerfile(&format!("{SCRIPTS}/kompass/Dockerfile"))?;
        context.program(&format!("programs/{program}"), &self.program).await
    }

    const fn files(&self) -> &'static [files::File] {
        if self.part.module_program().is_some() {
            files::PROGRAMS
        } else {
            files::KOMPASS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_build_is_another_image() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "one").unwrap();
        let one = Own::new(Part::Cli, &program).unwrap();
        assert_eq!(one, Own::new(Part::Cli, &program).unwrap());
        fs::write(&program, "two!").unwrap();
        let two = Own::new(Part::Cli, &program).unwrap();
        assert_ne!(one.inputs("base"), two.inputs("base"));
        assert_ne!(
            one.inputs("base"),
            Own {
                part: Part::Predictor,
                ..one.clone()
            }
            .inputs("base")
        );
        assert_eq!(one.reference(), two.reference());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Own::new(Part::Predictor, Path::new("/no/such/program")).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }

    #[test]
    fn every_part_of_kompass_is_a_stage_of_the_dockerfile() {
        let dockerfile = files::KOMPASS[0].content;
        for part in Part::KOMPASS {
            let target = part.target();
            assert!(dockerfile.contains(&format!("\nFROM base AS {target}\n")), "{target}");
            assert!(
                dockerfile.contains(&format!(" /programs/{} /usr/bin/\n", part.program())),
                "{part:?}"
            );
        }
    }
    #[test]
    fn every_program_of_others_is_a_stage_and_is_called_as_its_makers_do() {
        let dockerfile = files::PROGRAMS[0].content;
        for part in Part::MONITORING.into_iter().chain([Part::KubeScheduler]) {
            let target = part.target();
            assert!(
                dockerfile.contains(&format!("FROM scratch AS {target}\nCOPY {target} /")),
                "{part:?}"
            );
            let program = part.module_program().unwrap();
            assert_eq!(program.file_name(), part.program());
            let reference = part.makers_reference(program);
            let (repository, tag) = reference.rsplit_once(':').unwrap();
            assert!(repository.ends_with(part.name()) && tag.starts_with('v'), "{reference}");
        }
    }

    #[test]
    fn a_release_of_prometheus_is_known_by_its_module() {
        assert_eq!(prometheus_release("v0.305.1"), "v3.5.1");
        assert_eq!(prometheus_release("v0.313.0"), "v3.13.0");
    }
}
