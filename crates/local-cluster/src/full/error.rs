//! What can go wrong with a full cluster.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::forward;
use crate::images::{self, ToolError};
use crate::{client, directories, kwok, pki, prerequisites, process, programs};

/// Files of the cluster carry its name, and a socket's path may have 107 bytes at most.
pub(super) const NAME_LIMIT: usize = 20;

/// Why a cluster could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name would not do as the name of files and control groups.
    #[error("failed to use cluster name {name:?}: at most {NAME_LIMIT} of a-z, 0-9 and -, a letter first")]
    Name {
        /// The name.
        name: String,
    },
    /// Namespaces, mounts and control groups need root.
    #[error("failed to use the local cluster: it needs root, try again with sudo")]
    NotRoot,
    /// There is no such cluster.
    #[error("failed to find cluster {name}: it is not up")]
    NotUp {
        /// The cluster.
        name: String,
    },
    /// There is no place for the state or the caches.
    #[error("failed to find the folder of clusters")]
    Directory(#[from] directories::Error),
    /// Something of the machine is missing.
    #[error("failed to prepare the machine")]
    Prerequisites(#[from] prerequisites::Error),
    /// The programs cannot be had.
    #[error("failed to get the programs of the cluster")]
    Programs(#[from] programs::Error),
    /// The images cannot be had.
    #[error("failed to get the images of the cluster")]
    Images(#[from] images::Error),
    /// No key, certificate or kubeconfig.
    #[error("failed to make the keys of the cluster")]
    Pki(#[from] pki::Error),
    /// A daemon does not start or stop.
    #[error("failed to run a part of the cluster")]
    Process(#[from] process::Error),
    /// The API server refuses or does not answer.
    #[error("failed to use the API server")]
    Client(#[from] client::Error),
    /// KWOK cannot be started.
    #[error("failed to set up nodes that only exist in the API")]
    Kwok(#[from] kwok::Error),
    /// A port of the machine cannot be forwarded.
    #[error("failed to forward a port into the cluster")]
    Forward(#[from] forward::Error),
    /// All ports are taken.
    #[error("failed to find a free loopback port")]
    NoPort,
    /// A program that was run for the cluster failed.
    #[error("failed to {action}")]
    Tool {
        /// What it was run for.
        action: &'static str,
        /// What it said.
        #[source]
        source: ToolError,
    },
    /// Something of the operating system cannot be used.
    #[error("failed to {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The file that describes the cluster does not hold what this program writes there.
    #[error("failed to read the description of the cluster in {path}")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A wait has come to its end.
    #[error("failed to see {what} within {}", crate::progress::human(*.limit))]
    TooSlow {
        /// What was waited for.
        what: String,
        /// The time it had.
        limit: Duration,
    },
    /// Something is still there after everything was stopped.
    #[error("failed to take the cluster away: {} left", .left.join(", "))]
    Left {
        /// What is there.
        left: Vec<String>,
    },
}

/// Turns what the operating system says about an action into an error.
pub(super) fn io_error(action: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let action = action.into();
    move |source| Error::Io { action, source }
}

/// Turns what a program says into an error.
pub(super) fn tool_error(action: &'static str) -> impl FnOnce(ToolError) -> Error {
    move |source| Error::Tool { action, source }
}
