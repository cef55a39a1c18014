//! A stand-in for AWS: moto's server (of `PyPI`, in an environment of its own), and in front of it a strict layer that
//! refuses what AWS refuses, runs scheduled actions as AWS does, remembers every request, and fails when it is told to.

mod actions;
mod faults;
mod inner;
mod layer;
mod policy;
mod request;
mod rules;
mod serve;
mod xml;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

pub use actions::{LATE_MAX_MS, Ran};
pub use faults::{Fault, Moment, Next};
pub use layer::{GroupSpec, Layer};
pub use policy::{Ask, Policy, Unread};
pub use request::Request;

use crate::process::{self, Daemon, Spec};
use crate::progress::Progress;
use crate::python;

const REQUIREMENTS: &str = include_str!("../programs/moto/requirements.txt");
/// Python reads hundreds of files.
const READY: Duration = Duration::from_mins(2);
/// What it says before its address.
const LISTENS: &str = "Running on http://";

/// Why there is no moto, or why it does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full, or the like.
    #[error("failed to use {path}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// Python or pip failed.
    #[error("failed to install moto; it needs the packages python3 and python3-venv, and PyPI")]
    Install(#[from] python::Error),
    /// It does not come up.
    #[error("failed to run moto_server")]
    Process(#[from] process::Error),
    /// Another release, perhaps.
    #[error("failed to find the address in the log of moto_server")]
    Address,
    /// The layer has no port.
    #[error("failed to listen on a port of this machine")]
    Listen(#[source] std::io::Error),
    /// moto does not answer.
    #[error("failed to ask moto")]
    Ask(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It, or the layer, does not do it.
    #[error("failed to {operation}: {status}: {body}")]
    Refused {
        /// What was asked for.
        operation: String,
        /// The answer's status.
        status: u16,
        /// The answer.
        body: String,
    },
}

/// moto's server. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: String,
    _daemon: Daemon,
    _folder: TempDir,
}

impl Server {
    /// Starts one that knows nothing yet.
    pub async fn start(progress: &Progress) -> Result<Self, Error> {
        Self::start_with(progress, &[]).await
    }

    /// Starts one that has the policies which AWS manages (`AmazonEKSClusterPolicy` and a thousand others); it needs
    /// seconds more.
    pub async fn start_with_managed_policies(progress: &Progress) -> Result<Self, Error> {
        Self::start_with(progress, &[("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")]).await
    }

    async fn start_with(progress: &Progress, environment: &[(&str, &str)]) -> Result<Self, Error> {
        let program = ensure(progress).await?;
        let folder = TempDir::new().map_err(file(Path::new("a temporary folder")))?;
        let mut spec = Spec::new("moto", program, folder.path())
            // The kernel chooses the port; it is told in the log.
            .arguments(["-H", "127.0.0.1", "-p", "0"])
            .environment("PYTHONUNBUFFERED", "1")
            // Thousands of images, which nobody asks for.
            .environment("MOTO_EC2_LOAD_DEFAULT_AMIS", "false");
        for (name, value) in environment {
            spec = spec.environment(*name, *value);
        }
        let mut daemon = Daemon::start(spec)?;
        let log = daemon.log().to_owned();
        let ready = || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            async move { address(&log).is_some() }
        };
        daemon.ready(READY, ready).await?;
        let text = std::fs::read_to_string(&log).map_err(file(&log))?;
        Ok(Self {
            address: address(&text).ok_or(Error::Address)?,
            _daemon: daemon,
            _folder: folder,
        })
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// The address in a log, once its line is whole.
fn address(log: &str) -> Option<String> {
    let (_, told) = log.split_once(LISTENS)?;
    let (line, _) = told.split_once('\n')?;
    let end = line.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    Some(line[..end.unwrap_or(line.len())].to_owned())
}

/// Installs it where it is missing, and returns its program. Fast when it is there.
pub async fn ensure(progress: &Progress) -> Result<PathBuf, Error> {
    let packages: Vec<&str> = packages().collect();
    let python = python::ensure("moto", &packages, progress).await?;
    Ok(python.with_file_name("moto_server"))
}

fn packages() -> impl Iterator<Item = &'static str> {
    REQUIREMENTS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_among_colours() {
        let log = "\x1b[31mWARNING\x1b[0m\n * Running on http://127.0.0.1:33139\n\x1b[33mPress CTRL+C";
        assert_eq!(address(log).as_deref(), Some("127.0.0.1:33139"));
        assert_eq!(address(" * Running on http://127.0.0.1:331"), None);
    }

    #[test]
    fn every_requirement_is_of_one_version() {
        assert!(packages().any(|package| package.starts_with("moto[server]==5.")));
        assert!(packages().count() > 20);
        for package in packages() {
            assert!(package.contains("=="), "{package}");
        }
    }
}
