//! Runs the Go compiler on one module.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::Module;
use crate::progress::Step;

/// Ten times what two cores need: a build that takes longer hangs.
const BUILD_LIMIT: Duration = Duration::from_mins(80);
/// Long, because Go may fetch the compiler that the module asks for.
const VERSION_LIMIT: Duration = Duration::from_mins(10);
/// How much of the compiler's output an error shows.
const TAIL_LINES: usize = 20;

/// Why a module was not built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no Go on this machine.
    #[error("failed to run go: install Go {needed} or newer (https://go.dev/dl) and put its bin folder on the PATH")]
    GoMissing {
        /// The oldest version that will do.
        needed: &'static str,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The Go on this machine cannot build the module.
    #[error("failed to use {found}: install Go {needed} or newer (https://go.dev/dl)")]
    GoTooOld {
        /// The oldest version that will do.
        needed: &'static str,
        /// The version found, or what Go said instead.
        found: String,
    },
    /// The compiler ended with an error.
    #[error("failed to compile: {status}; last lines:\n{tail}")]
    Compile {
        /// How it ended.
        status: String,
        /// Its last lines.
        tail: String,
    },
    /// The compiler did not end.
    #[error("failed to compile within {}", crate::progress::human(*.limit))]
    Slow {
        /// The time it had.
        limit: Duration,
    },
    /// A file cannot be written, or the compiler cannot be read from.
    #[error("failed to use {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
}

/// The compiler, together with the folder where it finds the module.
#[derive(Debug)]
pub(super) struct Go {
    program: PathBuf,
    source: PathBuf,
    version: String,
    experiment: Option<&'static str>,
}

/// The arguments that decide what is built.
pub(super) fn flags(linker_flags: &str) -> Vec<String> {
    vec!["-trimpath".to_owned(), "-ldflags".to_owned(), linker_flags.to_owned()]
}

impl Go {
    /// Finds a Go that can build the module, and writes the module's files below `cache`.
    pub(super) async fn find(module: Module, cache: &Path) -> Result<Self, Error> {
        // Named by its content: another release of KOMPASS may be building another version of it right now.
        let key = super::cache_key(module.go_mod(), module.go_sum(), &[], "");
        let source = cache.join("source").join(format!("{}-{key}", module.name()));
        write_if_other(&source.join("go.mod"), module.go_mod())?;
        write_if_other(&source.join("go.sum"), module.go_sum())?;
        let needed = module.needed_go();
        let mut go = Self {
            program: program(),
            source,
            version: String::new(),
            experiment: module.experiment(),
        };
        // Run where the go.mod is: a Go from 1.21 on fetches the version that the module asks for, when it may.
        let output = tokio::time::timeout(VERSION_LIMIT, go.command().args(["env", "GOVERSION"]).output())
            .await
            .map_err(|_| Error::Slow { limit: VERSION_LIMIT })?
            .map_err(|source| Error::GoMissing { needed, source })?;
        let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || !is_at_least(&found, needed) {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let found = if said.is_empty() { found } else { format!("go ({said})") };
            return Err(Error::GoTooOld { needed, found });
        }
        go.version = found;
        Ok(go)
    }

    /// The full version, for example `go1.26.8`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.source)
            // Static programs, and nothing of the caller's own Go settings that would change them.
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOFLAGS", "-mod=readonly")
            .env("GOEXPERIMENT", self.experiment.unwrap_or_default())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Builds all tools of the module into `target`.
    pub(super) async fn build(&self, flags: &[String], target: &Path, step: &Step) -> Result<(), Error> {
        let mut folder = target.as_os_str().to_owned();
        // The slash at its end tells Go that it is a folder.
        folder.push("/");
        let io = |source| Error::Io {
            path: self.program.clone(),
            source,
        };
        let mut child = self
            .command()
            .args(["build", "-v"])
            .args(flags)
            .arg("-o")
            .arg(folder)
            .arg("tool")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(io)?;
        let mut tail = VecDeque::new();
        let run = async {
            if let Some(stderr) = child.stderr.take() {
                let mut lines = BufReader::new(stderr).lines();
                let mut packages = 0_u32;
                while let Some(line) = lines.next_line().await.map_err(io)? {
                    if let Some(download) = line.strip_prefix("go: downloading ") {
                        step.note(format!("fetching {download}"));
                    } else if is_package(&line) {
                        packages += 1;
                        step.note(format!("{packages} packages, now {line}"));
                    } else {
                        if tail.len() == TAIL_LINES {
                            tail.pop_front();
                        }
                        tail.push_back(line);
                    }
                }
            }
            child.wait().await.map_err(io)
        };
        let status = tokio::time::timeout(BUILD_LIMIT, run)
            .await
            .map_err(|_| Error::Slow { limit: BUILD_LIMIT })??;
        if status.success() {
            return Ok(());
        }
        Err(Error::Compile {
            status: status.to_string(),
            tail: Vec::from(tail).join("\n"),
        })
    }
}

/// `go` of the PATH, else where the official archive puts it.
fn program() -> PathBuf {
    let usual = Path::new("/usr/local/go/bin/go");
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("go").is_file()));
    if on_path || !usual.is_file() {
        PathBuf::from("go")
    } else {
        usual.to_owned()
    }
}

/// Whether a line of `go build -v` is the path of a package and nothing else.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.contains([' ', ':', '\t'])
}

/// Whether `found` (like `go1.26.8`) is not older than `needed` (like `1.26.0`).
fn is_at_least(found: &str, needed: &str) -> bool {
    let numbers = |version: &str| -> Vec<u32> {
        // A pre-release such as `1.27rc1` counts as 1.27.
        version
            .trim_start_matches("go")
            .split('.')
            .map(|part| part.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
            .map_while(|digits| digits.parse().ok())
            .collect()
    };
    let found = numbers(found);
    !found.is_empty() && found >= numbers(needed)
}

/// Writes a file in one step, and only when it differs: others may be reading it.
fn write_if_other(path: &Path, text: &str) -> Result<(), Error> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    if std::fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
    std::fs::write(&unfinished, text).map_err(io)?;
    std::fs::rename(&unfinished, path).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (found, needed, expected) in [
            ("go1.26.8", "1.26.0", true),
            ("go1.26.0", "1.26.0", true),
            ("go1.26", "1.26", true),
            ("go1.26.8", "1.26.10", false),
            ("go1.9.7", "1.26.0", false),
            ("go1.27rc1", "1.26.6", true),
            ("go2.0.0", "1.26.6", true),
            ("", "1.26.0", false),
            ("devel", "1.26.0", false),
        ] {
            assert_eq!(is_at_least(found, needed), expected, "{found} for {needed}");
        }
    }

    #[test]
    fn only_a_bare_path_is_a_package() {
        assert!(is_package("k8s.io/kubernetes/pkg/apis/core"));
        assert!(!is_package("# k8s.io/kubernetes/pkg/apis/core"));
        assert!(!is_package("./a.go:3:1: undefined: x"));
        assert!(!is_package(""));
    }

    #[test]
    fn a_file_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("go.mod");
        write_if_other(&path, "one").unwrap();
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        write_if_other(&path, "one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written);
        write_if_other(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    }
}
