//! What the machine must have before a cluster can start, and how it is put there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::programs;
use crate::progress::Progress;

/// For the control plane alone.
pub const API_ONLY: &[Need] = &[Need::Go];

/// For real pods, their images and Spark.
pub const FULL: &[Need] = &[
    Need::Root,
    Need::Go,
    Need::Program("containerd", &["containerd"]),
    Need::Program("ctr", &["containerd"]),
    Need::Program("containerd-shim-runc-v2", &["containerd"]),
    Need::Program("runc", &["runc"]),
    Need::File("/usr/lib/cni/bridge", &["containernetworking-plugins"]),
    Need::File("/usr/lib/cni/host-local", &["containernetworking-plugins"]),
    Need::Program("buildah", &["buildah"]),
    Need::Program("debootstrap", &["debootstrap"]),
    Need::Program("ip", &["iproute2"]),
    Need::Program("nsenter", &["util-linux"]),
    Need::Program("nft", &["nftables"]),
    Need::Program("strip", &["binutils"]),
    Need::Java,
    Need::PythonVenv,
];

/// For tests on a real Prometheus; no cluster needs them.
pub const PROMETHEUS: &[Need] = &[
    Need::Program("prometheus", &["prometheus"]),
    Need::Program("promtool", &["prometheus"]),
];

/// For tests on a stand-in for AWS; no cluster needs them.
pub const MOTO: &[Need] = &[Need::PythonVenv];

/// For tests of what KOMPASS is deployed by; no cluster needs them.
pub const DEPLOYMENT: &[Need] = &[
    Need::Program("shellcheck", &["shellcheck"]),
    Need::Program("bats", &["bats"]),
    Need::PythonVenv,
];

/// The oldest Java that the example applications are compiled for.
const JAVA: u32 = 17;
/// A probe only starts a program that prints a line; Java on a cold disk is the slowest.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// A few hundred megabytes over a slow network.
const INSTALL_LIMIT: Duration = Duration::from_mins(30);
const INSTALL_EXPECTED: Duration = Duration::from_mins(2);

/// Something that the machine must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The rights of root: for namespaces, mounts and control groups.
    Root,
    /// A Go that builds the programs.
    Go,
    /// A Java compiler.
    Java,
    /// Python with its virtual environments.
    PythonVenv,
    /// A program on the PATH, and the Debian packages that have it, of which one will do.
    Program(&'static str, &'static [&'static str]),
    /// A file, and the Debian packages that have it, of which one will do.
    File(&'static str, &'static [&'static str]),
}

/// Something that the machine does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What it is, for people.
    pub what: String,
    /// How to get it.
    pub remedy: Remedy,
}

/// How to get what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Install a Debian package: any of these, the first that there is.
    Package(&'static [&'static str]),
    /// Something that only people can do.
    Advice(String),
}

/// Why the machine is not ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is missing and was not installed.
    #[error("failed to find all that is needed:\n{}", list(.missing))]
    Missing {
        /// What is missing.
        missing: Vec<Missing>,
    },
    /// The packages could not be installed.
    #[error("failed to install packages by `{command}`: {message}")]
    Install {
        /// The exact command.
        command: String,
        /// What it said.
        message: String,
    },
}

/// What of the needs is missing.
pub async fn missing(needs: &[Need]) -> Vec<Missing> {
    let mut missing = Vec::new();
    for need in needs {
        missing.extend(check(*need).await);
    }
    missing
}

/// Makes sure that nothing is missing. As root on a Debian machine it installs the missing packages; otherwise the error
/// says what to do. Who must ask first calls [`missing`] and [`install`].
pub async fn ensure(needs: &[Need], progress: &Progress) -> Result<(), Error> {
    let found = missing(needs).await;
    install(&found, progress).await?;
    if found.is_empty() {
        return Ok(());
    }
    match missing(needs).await {
        missing if missing.is_empty() => Ok(()),
        missing => Err(Error::Missing { missing }),
    }
}

/// Installs the packages among what is missing. Without root or `apt-get` the error says what to do.
pub async fn install(missing: &[Missing], progress: &Progress) -> Result<(), Error> {
    if missing.is_empty() {
        return Ok(());
    }
    let only_packages = missing
        .iter()
        .all(|missing| matches!(missing.remedy, Remedy::Package(_)));
    if !only_packages || !is_root() || find_program("apt-get").is_none() {
        // All at once, also the packages: nobody wants to be told one thing after another.
        return Err(Error::Missing {
            missing: missing.to_vec(),
        });
    }
    let step = progress.step("Installing packages", Some(INSTALL_EXPECTED));
    // On a fresh machine the lists are empty and no package is known.
    apt_get(&["update"]).await?;
    let mut packages = BTreeSet::new();
    for missing in missing {
        if let Remedy::Package(choices) = missing.remedy {
            packages.extend(first_known(choices).await);
        }
    }
    let packages: Vec<&str> = packages.into_iter().collect();
    step.note(packages.join(" "));
    apt_get(&[&["install", "-y", "--no-install-recommends"], packages.as_slice()].concat()).await?;
    step.done();
    Ok(())
}

/// The command that installs all packages among what is missing; none when there are none.
pub fn install_command(missing: &[Missing]) -> Option<String> {
    let packages: BTreeSet<&str> = missing
        .iter()
        .filter_map(|missing| match missing.remedy {
            Remedy::Package(choices) => choices.first().copied(),
            Remedy::Advice(_) => None,
        })
        .collect();
    if packages.is_empty() {
        return None;
    }
    let packages: Vec<&str> = packages.into_iter().collect();
    let sudo = if is_root() { "" } else { "sudo " };
    let packages = packages.join(" ");
    Some(format!(
        "{sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends {packages}"
    ))
}

async fn check(need: Need) -> Option<Missing> {
    let package = |what: &str, choices| {
        Some(Missing {
            what: what.to_owned(),
            remedy: Remedy::Package(choices),
        })
    };
    match need {
        Need::Root if is_root() => None,
        Need::Root => Some(Missing {
            what: "the rights of root".to_owned(),
            remedy: Remedy::Advice("run it again with sudo".to_owned()),
        }),
        Need::Go => programs::check_go().await.err().map(|error| Missing {
            what: "Go".to_owned(),
            remedy: Remedy::Advice(with_causes(&error)),
        }),
        Need::Java => {
            // `javac -version` says "javac 17.0.15".
            let version = probe("javac", &["-version"]).await.as_deref().and_then(java_version);
            if find_program("jar").is_some() && version.is_some_and(|version| version >= JAVA) {
                return None;
            }
            package(
                "a Java compiler, 17 or newer",
                &["openjdk-17-jdk-headless", "default-jdk-headless"],
            )
        }
        Need::PythonVenv => match probe("python3", &["-c", "import ensurepip, venv"]).await {
            Some(_) => None,
            None => package("Python with virtual environments", &["python3-venv"]),
        },
        Need::Program(program, _) if find_program(program).is_some() => None,
        Need::File(path, _) if Path::new(path).exists() => None,
        Need::Program(what, choices) | Need::File(what, choices) => package(what, choices),
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// What a program prints, on either output; none when it is missing, fails or hangs.
async fn probe(program: &str, arguments: &[&str]) -> Option<String> {
    let run = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PROBE_LIMIT, run).await.ok()?.ok()?;
    let text = [output.stdout, output.stderr].concat();
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&text).into_owned())
}

/// The first number of a version: `17` of `javac 17.0.15`. Java 8 and older call themselves 1.8 and so on.
fn java_version(text: &str) -> Option<u32> {
    let version = text.lines().find_map(|line| line.strip_prefix("javac "))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

async fn first_known(choices: &'static [&'static str]) -> Option<&'static str> {
    for package in choices {
        // `show` alone also knows packages that are only mentioned by others.
        if probe("apt-cache", &["show", "--no-all-versions", package])
            .await
            .is_some_and(|text| !text.trim().is_empty())
        {
            return Some(package);
        }
    }
    choices.first().copied()
}

async fn apt_get(arguments: &[&str]) -> Result<(), Error> {
    let failed = |message: String| Error::Install {
        command: format!("apt-get {}", arguments.join(" ")),
        message,
    };
    let run = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(INSTALL_LIMIT, run)
        .await
        .map_err(|_| failed(format!("no end within {}", crate::progress::human(INSTALL_LIMIT))))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn list(missing: &[Missing]) -> String {
    let mut lines: Vec<String> = missing
        .iter()
        .map(|missing| match &missing.remedy {
            Remedy::Package(choices) => format!("  {} (package {})", missing.what, choices.join(" or ")),
            Remedy::Advice(advice) => format!("  {}: {advice}", missing.what),
        })
        .collect();
    if let Some(command) = install_command(missing) {
        lines.push(format!("install the packages by: {command}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing_package(what: &str, choices: &'static [&'static str]) -> Missing {
        Missing {
            what: what.to_owned(),
            remedy: Remedy::Package(choices),
        }
    }

    #[test]
    fn java_is_known_by_its_first_number() {
        for (text, expected) in [
            ("javac 17.0.15\n", Some(17)),
            ("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\njavac 21\n", Some(21)),
            ("javac 1.8.0_402\n", Some(1)),
            ("javac 25-ea\n", Some(25)),
            ("openjdk 17", None),
            ("", None),
        ] {
            assert_eq!(java_version(text), expected, "{text:?}");
        }
    }

    #[test]
    fn one_command_installs_each_package_once() {
        let missing = [
            missing_package("ctr", &["containerd"]),
            missing_package("containerd", &["containerd"]),
            missing_package("javac", &["openjdk-17-jdk-headless", "default-jdk-headless"]),
            Missing {
                what: "Go".to_owned(),
                remedy: Remedy::Advice("get it".to_owned()),
            },
        ];
        let command = install_command(&missing).unwrap();
        assert!(
            command.ends_with("apt-get install -y --no-install-recommends containerd openjdk-17-jdk-headless"),
            "{command}"
        );
        assert_eq!(install_command(&missing[3..]), None);
        let text = Error::Missing {
            missing: missing.to_vec(),
        }
        .to_string();
        assert!(text.contains("Go: get it") && text.contains(&command), "{text}");
    }

    #[tokio::test]
    async fn what_is_missing_is_named_and_what_is_there_is_not() {
        let needs = [
            Need::Program("sh", &["dash"]),
            Need::Program("no-such-program", &["runc"]),
            Need::File("/no/such/file", &["buildah"]),
        ];
        assert_eq!(
            missing(&needs).await,
            [
                missing_package("no-such-program", &["runc"]),
                missing_package("/no/such/file", &["buildah"]),
            ]
        );
    }

    #[tokio::test]
    async fn what_only_people_can_do_is_not_tried() {
        let missing = [Missing {
            what: "Go".to_owned(),
            remedy: Remedy::Advice("get it".to_owned()),
        }];
        let error = install(&missing, &Progress::silent()).await.unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
        install(&[], &Progress::silent()).await.unwrap();
    }
}
