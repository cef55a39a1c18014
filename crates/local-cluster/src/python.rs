//! Python programs that tests speak to or are asked by, each with pinned packages in a virtual environment of its own.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::directories;
use crate::progress::Progress;

/// Packages over a slow network.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);
const INSTALL_EXPECTED: Duration = Duration::from_secs(40);
/// Another process makes the same; and a little more, so that its failure is seen first.
const LOCK_LIMIT: Duration = Duration::from_mins(11);
const LOCK_INTERVAL: Duration = Duration::from_millis(200);
/// Says that an environment is whole.
const WHOLE: &str = "kompass-whole";

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No folder for it.
    #[error("failed to find the cache")]
    Directory(#[from] directories::Error),
    /// The disk is full, or the like.
    #[error("failed to write {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A command failed.
    #[error("failed to run `{command}` (`cargo xtask prepare` installs Python): {message}")]
    Command {
        /// It.
        command: String,
        /// What it said.
        message: String,
    },
    /// Somebody makes the same and doesn't end.
    #[error("failed to get {path}: another process has held it for {LOCK_LIMIT:?}")]
    Locked {
        /// The lock.
        path: PathBuf,
    },
}

/// The Python of an environment that has these packages (`name==version`), which is made unless it is there.
pub async fn ensure(name: &str, packages: &[&str], progress: &Progress) -> Result<PathBuf, Error> {
    let digest = Sha256::digest(packages.join("\n"));
    let id = digest.iter().take(6).map(|byte| format!("{byte:02x}"));
    let all = directories::cache()?.join("python");
    let folder = all.join(format!("{name}-{}", id.collect::<String>()));
    let (python, whole) = (folder.join("bin/python"), folder.join(WHOLE));
    std::fs::create_dir_all(&all).map_err(io(&all))?;
    let _lock = lock(&folder.with_extension("lock")).await?;
    if whole.is_file() {
        return Ok(python);
    }
    let step = progress.step(format!("Installing {}", packages.join(" ")), Some(INSTALL_EXPECTED));
    // `--clear`: what an earlier one left unfinished.
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).await?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(&python).args(pip).args(packages)).await?;
    std::fs::write(&whole, "").map_err(io(&whole))?;
    step.done();
    Ok(python)
}

async fn run(command: &mut Command) -> Result<(), Error> {
    let text = format!("{:?}", command.as_std());
    let failed = |message| Error::Command {
        command: text.clone(),
        message,
    };
    let output = timeout(INSTALL_LIMIT, command.kill_on_drop(true).output()).await;
    let output = output.map_err(|_| failed(format!("it did not end within {INSTALL_LIMIT:?}")))?;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// It is free again when the file is dropped, also by a `kill -9`.
async fn lock(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(io(path))?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io(path)(source)),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(Error::Locked { path: path.to_owned() });
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_INTERVAL).await,
        }
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}
