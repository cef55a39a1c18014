//! Daemons: started with a log file and a process group of their own, watched, and stopped by pid, also by a later
//! process than the one that started them.

mod daemon;
mod record;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use daemon::Daemon;
pub use record::Record;

/// How long a daemon has to end after SIGTERM before it is killed.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long the kernel has to take a killed process away; longer means that it hangs in a system call.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How much of a log an error shows.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 16 * 1024;

/// Why a daemon could not be started, watched or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there or may not be run.
    #[error("failed to start {name} ({program})")]
    Start {
        /// Name of the daemon.
        name: String,
        /// Its program.
        program: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// It ended although it should run.
    #[error("failed to keep {name} running: it ended with {status}; last lines of {log}:\n{tail}")]
    Ended {
        /// Name of the daemon.
        name: String,
        /// How it ended.
        status: String,
        /// Where it logs to.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// It runs, but does not answer as it should.
    #[error("failed to see {name} ready within {}; last lines of {log}:\n{tail}", crate::progress::human(*.limit))]
    NotReady {
        /// Name of the daemon.
        name: String,
        /// The time it had.
        limit: Duration,
        /// Where it logs to.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// It is still there after SIGKILL.
    #[error("failed to stop {name} (process {pid}): still there after SIGKILL")]
    Unkillable {
        /// Name of the daemon.
        name: String,
        /// Its process id.
        pid: i32,
    },
    /// A signal could not be sent.
    #[error("failed to signal {name} (process {pid})")]
    Signal {
        /// Name of the daemon.
        name: String,
        /// Its process id.
        pid: i32,
        /// What the operating system says.
        #[source]
        source: nix::Error,
    },
    /// A log or state file cannot be used.
    #[error("failed to use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// A state file does not hold what this program writes there.
    #[error("failed to read the process recorded in {path}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// Whether the daemon ended because its port was taken by another process in the meantime.
    pub fn is_address_in_use(&self) -> bool {
        matches!(self, Self::Ended { tail, .. } if tail.contains("address already in use"))
    }
}

/// What to start: a program, its arguments, where it logs.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    records: Option<PathBuf>,
    network_namespace: Option<PathBuf>,
    address: Option<SocketAddr>,
}

impl Spec {
    /// A daemon called `name` that logs to `<logs>/<name>.log`; the folder is made when it is missing.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, logs: &Path) -> Self {
        let name = name.into();
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            log: logs.join(format!("{name}.log")),
            records: None,
            network_namespace: None,
            address: None,
            name,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds `--name=path`.
    #[must_use]
    pub fn path_flag(self, name: &str, path: &Path) -> Self {
        self.argument(format!("--{name}={}", path.display()))
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Records the running process as `<folder>/<name>.json`, so that a later process can stop it.
    #[must_use]
    pub fn recorded_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.records = Some(folder.into());
        self
    }

    /// Runs it in a network namespace, given by its file (as in `/run/netns`). Only the network changes: `ip netns exec`
    /// would also hide the cgroup mounts.
    #[must_use]
    pub fn in_network_namespace(mut self, file: impl Into<PathBuf>) -> Self {
        self.network_namespace = Some(file.into());
        self
    }

    /// Notes where it serves; the arguments must say the same.
    #[must_use]
    pub const fn serving(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The name of the daemon.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it logs to.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

/// The last lines of a log; empty when there is none.
pub fn log_tail(path: &Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_lines_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let lines: Vec<String> = (0..10_000).map(|line| format!("line {line}")).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        let tail = log_tail(&path);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 9999"), "{tail}");
        assert_eq!(log_tail(&folder.path().join("missing")), "");
    }
}
