//! One daemon that this process has started.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Error, KILL_LIMIT, POLL_INTERVAL, Record, Spec, io, log_tail};

/// A running daemon. Dropping it kills it; [`Daemon::detach`] lets it live on.
#[derive(Debug)]
pub struct Daemon {
    spec: Spec,
    record: Record,
    /// None once it has been waited for.
    child: Option<Child>,
    ended: Option<ExitStatus>,
    detached: bool,
}

impl Daemon {
    /// Starts it. It has its own process group, so that Ctrl-C of the terminal does not reach it, and it outlives this
    /// process unless it is stopped.
    pub fn start(spec: Spec) -> Result<Self, Error> {
        if let Some(folder) = spec.log.parent() {
            std::fs::create_dir_all(folder).map_err(io(folder))?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spec.log)
            .map_err(io(&spec.log))?;
        let log_of_errors = log.try_clone().map_err(io(&spec.log))?;
        let mut command = match &spec.network_namespace {
            // nsenter replaces itself by the program, so its pid is the daemon's.
            Some(file) => {
                let mut command = Command::new("nsenter");
                command
                    .arg(format!("--net={}", file.display()))
                    .arg("--")
                    .arg(&spec.program);
                command
            }
            None => Command::new(&spec.program),
        };
        let start_error = |source| Error::Start {
            name: spec.name.clone(),
            program: spec.program.clone(),
            source,
        };
        let mut child = command
            .args(&spec.arguments)
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_of_errors)
            .process_group(0)
            .spawn()
            .map_err(start_error)?;
        // Not waited for yet, so it is in /proc even if it has ended already.
        let record = i32::try_from(child.id())
            .ok()
            .and_then(|pid| Record::of(&spec.name, pid, &spec.log));
        let Some(record) = record else {
            // Nothing else can be done with a process that cannot be named.
            drop(child.kill());
            return Err(start_error(std::io::Error::other(
                "its start time cannot be read in /proc",
            )));
        };
        let daemon = Self {
            spec,
            record,
            child: Some(child),
            ended: None,
            detached: false,
        };
        if let Some(folder) = &daemon.spec.records {
            daemon.record.save(folder)?;
        }
        Ok(daemon)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its process id.
    pub const fn pid(&self) -> i32 {
        self.record.pid
    }

    /// What identifies the process.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Where it serves, when it does and the one who started it has said so.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.spec.address
    }

    /// Where it logs to.
    pub fn log(&self) -> &std::path::Path {
        &self.spec.log
    }

    /// Good while it runs; otherwise an error with the end of its log.
    pub fn check(&mut self) -> Result<(), Error> {
        let status = match (&mut self.child, self.ended) {
            (_, Some(status)) => Some(status),
            (Some(child), None) => child.try_wait().map_err(io(&self.spec.log))?,
            (None, None) => None,
        };
        let Some(status) = status else { return Ok(()) };
        self.child = None;
        self.ended = Some(status);
        Err(Error::Ended {
            name: self.spec.name.clone(),
            status: describe(status),
            log: self.spec.log.clone(),
            tail: log_tail(&self.spec.log),
        })
    }

    /// Waits until `probe` says yes. Fails at once when the daemon ends, and after `limit`.
    /// Returns how long it took. A probe has two seconds for one answer.
    pub async fn ready<F, P>(&mut self, limit: Duration, mut probe: F) -> Result<Duration, Error>
    where
        F: FnMut() -> P,
        P: Future<Output = bool>,
    {
        let started = Instant::now();
        loop {
            self.check()?;
            if matches!(tokio::time::timeout(Duration::from_secs(2), probe()).await, Ok(true)) {
                // The answer may have come from another process on the same port.
                self.check()?;
                return Ok(started.elapsed());
            }
            if started.elapsed() > limit {
                return Err(Error::NotReady {
                    name: self.spec.name.clone(),
                    limit,
                    log: self.spec.log.clone(),
                    tail: log_tail(&self.spec.log),
                });
            }
            tokio::time::sleep(POLL_INTERVAL * 3).await;
        }
    }

    /// SIGTERM, up to `limit` of patience, then SIGKILL; good when it had ended before.
    pub async fn stop(&mut self, limit: Duration) -> Result<(), Error> {
        self.signal(Signal::SIGTERM)?;
        // A stopped process cannot act on SIGTERM.
        self.signal(Signal::SIGCONT)?;
        if !self.ends_within(limit).await {
            self.signal(Signal::SIGKILL)?;
            if !self.ends_within(KILL_LIMIT).await {
                return Err(Error::Unkillable {
                    name: self.spec.name.clone(),
                    pid: self.record.pid,
                });
            }
        }
        self.forget_record();
        Ok(())
    }

    /// SIGKILL, as a crash would be. Returns once the process is gone.
    pub async fn kill_9(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGKILL)?;
        if self.ends_within(KILL_LIMIT).await {
            return Ok(());
        }
        Err(Error::Unkillable {
            name: self.spec.name.clone(),
            pid: self.record.pid,
        })
    }

    /// Freezes it: it keeps its connections and answers nothing.
    pub fn sigstop(&self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on after [`Daemon::sigstop`].
    pub fn sigcont(&self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends any signal; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        if self.ended.is_some() {
            return Ok(());
        }
        self.record.signal(signal)
    }

    /// Starts it again with the same arguments, after it was stopped or killed; what still runs is killed first.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.kill_9().await?;
        *self = Self::start(self.spec.clone())?;
        Ok(())
    }

    /// Lets the process live on without this handle. It can be stopped by the record.
    pub fn detach(mut self) -> Record {
        self.detached = true;
        self.record.clone()
    }

    async fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.check().is_ok() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        true
    }

    fn forget_record(&self) {
        if let Some(folder) = &self.spec.records {
            // A record of an ended process does no harm.
            drop(std::fs::remove_file(Record::path(folder, &self.spec.name)));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.detached || self.check().is_err() {
            return;
        }
        // Nobody is left to tell about an error.
        drop(self.signal(Signal::SIGKILL));
        let deadline = Instant::now() + KILL_LIMIT;
        while self.check().is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.ended.is_some() {
            self.forget_record();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => {
            Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string())
        }
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &std::path::Path, script: &str) -> Spec {
        Spec::new("shell", "/bin/sh", folder)
            .arguments(["-c", script])
            .recorded_in(folder)
    }

    #[tokio::test]
    async fn a_daemon_that_ends_says_how_and_what_it_said_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(shell(folder.path(), "echo bad flag >&2; exit 3")).unwrap();
        let error = daemon.ready(Duration::from_secs(20), async || false).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("status 3") && text.contains("bad flag"), "{text}");
    }

    #[tokio::test]
    async fn a_taken_port_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo 'listen tcp 127.0.0.1:1: bind: address already in use'; exit 1";
        let mut daemon = Daemon::start(shell(folder.path(), script)).unwrap();
        let error = daemon.ready(Duration::from_secs(20), async || false).await.unwrap_err();
        assert!(error.is_address_in_use());
    }

    #[tokio::test]
    async fn a_later_process_can_stop_it_by_its_record() {
        let folder = tempfile::tempdir().unwrap();
        let pid = Daemon::start(shell(folder.path(), "exec sleep 1000"))
            .unwrap()
            .detach()
            .pid;
        let records = Record::load_all(folder.path()).unwrap();
        assert_eq!(records.iter().map(|record| record.pid).collect::<Vec<_>>(), [pid]);
        assert!(records[0].is_running());
        records[0].stop(Duration::from_secs(20)).await.unwrap();
        assert!(!records[0].is_running());
    }

    #[tokio::test]
    async fn one_that_ignores_sigterm_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo trapped; while :; do sleep 1000; done";
        let mut daemon = Daemon::start(shell(folder.path(), script)).unwrap();
        let log = daemon.log().to_owned();
        daemon
            .ready(Duration::from_secs(20), || {
                std::future::ready(log_tail(&log) == "trapped")
            })
            .await
            .unwrap();
        daemon.stop(Duration::from_millis(50)).await.unwrap();
        assert!(daemon.check().unwrap_err().to_string().contains("SIGKILL"));
        assert_eq!(Record::load_all(folder.path()).unwrap(), []);
    }

    #[tokio::test]
    async fn a_frozen_one_can_be_stopped_and_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(shell(folder.path(), "exec sleep 1000")).unwrap();
        let first = daemon.record().clone();
        daemon.sigstop().unwrap();
        daemon.restart().await.unwrap();
        assert!(!first.is_running());
        assert!(daemon.record().is_running());
        daemon.sigstop().unwrap();
        daemon.stop(Duration::from_secs(20)).await.unwrap();
    }

    #[test]
    fn dropping_it_leaves_no_process_and_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(shell(folder.path(), "exec sleep 1000")).unwrap();
        let record = daemon.record().clone();
        drop(daemon);
        assert!(!record.is_running());
        assert_eq!(Record::load_all(folder.path()).unwrap(), []);
    }
}
