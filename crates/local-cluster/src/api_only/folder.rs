//! The folder of one control plane. Its owner holds a lock in it, so that folders whose owner was killed are known.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Error;
use crate::directories;
use crate::process::Record;

const OWNER: &str = "owner.lock";
/// Making or sweeping takes milliseconds; more only when processes of a killed owner resist.
const LOCK_LIMIT: Duration = Duration::from_mins(1);

/// Counts the folders of this process. No name is used twice: a dropped folder may still be on its way out when the next
/// one is made, and would take one of the same name with it.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The folder; dropping it kills what is recorded in it and removes it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held as long as the owner lives; the kernel gives it back, also after a `kill -9`.
    _owner: File,
}

impl Folder {
    /// A new folder. Removes those of owners that are gone, with their processes.
    pub(super) async fn create() -> Result<Self, Error> {
        Self::create_in(&directories::state()?.join("api-only")).await
    }

    async fn create_in(parent: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(parent).map_err(io(parent))?;
        // One at a time: between a folder and the lock in it nobody may look.
        let _turn = lock(&parent.join("turn.lock")).await?;
        sweep(parent).await?;
        let pid = std::process::id();
        let path = loop {
            let path = parent.join(format!("{pid}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
            match std::fs::create_dir(&path) {
                // Left by an owner of the same process id whose processes resist.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => break other.map(|()| path.clone()).map_err(io(&path))?,
            }
        };
        let owner = path.join(OWNER);
        let file = File::create(&owner).map_err(io(&owner))?;
        file.try_lock().map_err(|error| io(&owner)(error.into()))?;
        Ok(Self { path, _owner: file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    pub(super) fn records(&self) -> PathBuf {
        self.path.join("processes")
    }

    /// Where the kubeconfig of a user lies; users have colons and slashes in their names.
    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        let safe: String = user
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
            .collect();
        self.path.join("kubeconfig").join(format!("{safe}.yaml"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The owner's own daemons are dropped before; these are others that it still holds. They end as its children,
        // so there is nothing to wait for.
        for record in Record::load_all(&self.records()).unwrap_or_default() {
            drop(record.signal(Signal::SIGKILL));
        }
        // What a killed process still writes can make this fail once; the next sweep takes the rest.
        if remove(&self.path).is_err() {
            drop(remove(&self.path));
        }
    }
}

/// Stops and removes what belongs to owners that are gone.
async fn sweep(parent: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(parent).map_err(io(parent))? {
        let path = entry.map_err(io(parent))?.path();
        if !path.is_dir() {
            continue;
        }
        if let Ok(owner) = File::open(path.join(OWNER))
            && matches!(owner.try_lock(), Err(TryLockError::WouldBlock))
        {
            continue;
        }
        for record in Record::load_all(&path.join("processes"))? {
            record.kill().await?;
        }
        remove(&path).map_err(io(&path))?;
    }
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

async fn lock(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(io(path))?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(io(path)(error.into())),
        }
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Daemon, Spec};

    #[tokio::test]
    async fn what_a_killed_owner_left_is_swept_and_what_lives_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let living = Folder::create_in(parent.path()).await.unwrap();
        // A folder as a killed owner leaves it: nobody holds its lock, its process runs.
        let dead = parent.path().join("1-0");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(OWNER), "").unwrap();
        let spec = Spec::new("left", "/bin/sleep", &dead).argument("1000");
        let left = Daemon::start(spec.recorded_in(dead.join("processes")))
            .unwrap()
            .detach();
        assert!(left.is_running());

        let second = Folder::create_in(parent.path()).await.unwrap();
        assert!(!left.is_running());
        assert!(!dead.exists());
        assert!(living.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn users_become_file_names() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::create_in(parent.path()).await.unwrap();
        let path = folder.kubeconfig("system:serviceaccount:a/../b");
        assert_eq!(path.file_name().unwrap(), "system_serviceaccount_a____b.yaml");
    }
}
