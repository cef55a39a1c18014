//! Images of what this machine has built itself: KOMPASS's services, and the kube-scheduler beside its extender.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::buildah::Context;
use super::{Error, files, io};
use crate::programs;

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
}

impl Part {
    /// The parts that are KOMPASS itself.
    pub const KOMPASS: [Self; 4] = [
        Self::SchedulerExtender,
        Self::AdmissionWebhook,
        Self::Predictor,
        Self::Cli,
    ];

    /// The image's last name, for example `kompass-predictor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SchedulerExtender => "kompass-scheduler-extender",
            Self::AdmissionWebhook => "kompass-admission-webhook",
            Self::Predictor => "kompass-predictor",
            Self::Cli => "kompass-cli",
            Self::KubeScheduler => "kube-scheduler",
        }
    }

    /// The program's file name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Cli => "kompass",
            other => other.name(),
        }
    }

    /// The stage of the Dockerfile, where it has several images.
    pub(super) const fn target(self) -> Option<&'static str> {
        match self {
            Self::SchedulerExtender => Some("scheduler-extender"),
            Self::AdmissionWebhook => Some("admission-webhook"),
            Self::Predictor => Some("predictor"),
            Self::Cli => Some("cli"),
            Self::KubeScheduler => None,
        }
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
        let name = self.part.name();
        match self.part {
            Part::KubeScheduler => format!("registry.k8s.io/{name}:{}", programs::kubernetes_version()),
            _ => format!("docker.io/local/{name}:{}", env!("CARGO_PKG_VERSION")),
        }
    }

    pub(super) fn inputs(&self, base: &str) -> String {
        files::hash(self.files(), &[base, self.part.name(), &self.build])
    }

    pub(super) fn build_arguments(&self) -> Vec<String> {
        match self.part {
            Part::KubeScheduler => Vec::new(),
            _ => vec![BUILDER.to_owned(), format!("VERSION={}", env!("CARGO_PKG_VERSION"))],
        }
    }

    /// Puts the program and what the build needs beside it into a context.
    pub(super) async fn fill(&self, context: &Context) -> Result<(), Error> {
        let program = self.part.program();
        if self.part == Part::KubeScheduler {
            context.add(self.files(), "kube-scheduler")?;
            return context.program(program, &self.program).await;
        }
        context.add_below(SCRIPTS, self.files())?;
        context.dockerfile(&format!("{SCRIPTS}/kompass/Dockerfile"))?;
        context.program(&format!("programs/{program}"), &self.program).await
    }

    const fn files(&self) -> &'static [files::File] {
        match self.part {
            Part::KubeScheduler => files::KUBE_SCHEDULER,
            _ => files::KOMPASS,
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
            let target = part.target().unwrap();
            assert!(dockerfile.contains(&format!("\nFROM base AS {target}\n")), "{target}");
            assert!(
                dockerfile.contains(&format!(" /programs/{} /usr/bin/\n", part.program())),
                "{part:?}"
            );
        }
    }
}
