//! What is written down about a running process, so that another process can find and stop it and no other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{Error, KILL_LIMIT, POLL_INTERVAL, io};

/// A process, named so that a later one with the same pid is not taken for it: by pid, start time and boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Name of the daemon.
    pub name: String,
    /// Process id.
    pub pid: i32,
    /// When the kernel started it, in clock ticks after boot.
    pub start_ticks: u64,
    /// Which boot that was.
    pub boot_id: String,
    /// Where it logs to.
    pub log: PathBuf,
}

impl Record {
    /// Writes down a process that runs now; none when it does not.
    pub fn of(name: impl Into<String>, pid: i32, log: impl Into<PathBuf>) -> Option<Self> {
        Some(Self {
            name: name.into(),
            pid,
            start_ticks: stat(pid)?.start_ticks,
            boot_id: boot_id(),
            log: log.into(),
        })
    }

    /// Whether this very process still runs. One that has ended but was not waited for by its parent does not.
    pub fn is_running(&self) -> bool {
        self.is_present().is_some_and(|stat| stat.state != 'Z')
    }

    fn is_present(&self) -> Option<Stat> {
        stat(self.pid).filter(|stat| stat.start_ticks == self.start_ticks && boot_id() == self.boot_id)
    }

    /// Sends a signal, unless the process has ended: then nothing is sent, to nobody.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        if !self.is_running() {
            return Ok(());
        }
        match signal::kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(source) => Err(Error::Signal {
                name: self.name.clone(),
                pid: self.pid,
                source,
            }),
        }
    }

    /// SIGTERM, up to `limit` of patience, then SIGKILL. Good when the process had ended before.
    pub async fn stop(&self, limit: Duration) -> Result<(), Error> {
        self.signal(Signal::SIGTERM)?;
        // A stopped process cannot act on SIGTERM.
        self.signal(Signal::SIGCONT)?;
        if self.ends_within(limit).await {
            return Ok(());
        }
        self.kill().await
    }

    /// SIGKILL, and waits until the process is gone.
    pub async fn kill(&self) -> Result<(), Error> {
        self.signal(Signal::SIGKILL)?;
        if self.ends_within(KILL_LIMIT).await {
            return Ok(());
        }
        Err(Error::Unkillable {
            name: self.name.clone(),
            pid: self.pid,
        })
    }

    async fn ends_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_running() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        true
    }

    /// Writes the record to `<folder>/<name>.json` in one step.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let path = Self::path(folder, &self.name);
        let text = serde_json::to_vec_pretty(self).map_err(|source| Error::Record {
            path: path.clone(),
            source,
        })?;
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, text).map_err(io(&unfinished))?;
        std::fs::rename(&unfinished, &path).map_err(io(&path))
    }

    /// Reads one record file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(io(path))?;
        serde_json::from_slice(&text).map_err(|source| Error::Record {
            path: path.to_owned(),
            source,
        })
    }

    /// All records of a folder, by name; none when there is no such folder.
    pub fn load_all(folder: &Path) -> Result<Vec<Self>, Error> {
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io(folder))?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.map_err(io(folder))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                records.push(Self::load(&path)?);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// Where the record of `name` is kept.
    pub fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.json"))
    }
}

struct Stat {
    state: char,
    start_ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/<pid>/stat` (`proc_pid_stat(5)`): the state is field 3, the start time field 22. The name, field 2, is in
/// brackets and may hold anything, brackets and spaces too.
fn parse_stat(text: &str) -> Option<Stat> {
    let after_name = text.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_ticks = fields.nth(22 - 4)?.parse().ok()?;
    Some(Stat { state, start_ticks })
}

/// Start times begin again with each boot, so a record of an earlier one must not match.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Record {
        let pid = i32::try_from(std::process::id()).unwrap();
        Record::of("self", pid, "/dev/null").unwrap()
    }

    #[test]
    fn the_name_in_stat_may_hold_brackets_and_spaces() {
        let fields: Vec<String> = (4..=30).map(|field| field.to_string()).collect();
        let stat = parse_stat(&format!("17 (a) b (c) S {}", fields.join(" "))).unwrap();
        assert_eq!((stat.state, stat.start_ticks), ('S', 22));
        assert!(parse_stat("17 (a) S 1 2").is_none());
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_taken_for_it() {
        assert!(own().is_running());
        let earlier = Record {
            start_ticks: own().start_ticks.wrapping_sub(1),
            ..own()
        };
        assert!(!earlier.is_running());
        let other_boot = Record {
            boot_id: "another".to_owned(),
            ..own()
        };
        assert!(!other_boot.is_running());
        // Were the guard broken, these would end the test itself.
        earlier.signal(Signal::SIGKILL).unwrap();
        other_boot.signal(Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn stopping_what_has_ended_is_good() {
        let gone = Record {
            start_ticks: 1,
            ..own()
        };
        gone.stop(Duration::from_secs(5)).await.unwrap();
    }

    #[test]
    fn records_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("processes");
        assert_eq!(Record::load_all(&folder).unwrap(), []);
        let (b, a) = (
            own(),
            Record {
                name: "a".to_owned(),
                ..own()
            },
        );
        b.save(&folder).unwrap();
        a.save(&folder).unwrap();
        assert_eq!(Record::load_all(&folder).unwrap(), [a, b]);
        std::fs::write(Record::path(&folder, "bad"), "{}").unwrap();
        assert!(matches!(Record::load_all(&folder), Err(Error::Record { .. })));
    }
}
