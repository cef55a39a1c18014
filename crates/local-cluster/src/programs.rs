//! The Kubernetes programs of a local cluster, built once from their pinned Go modules and kept in the cache.
//!
//! The Go modules (`programs/*/go.mod` and `go.sum` of this crate) are part of the compiled library, so that an
//! installed `kompass` needs no checkout. What is built is named by the hash of everything that decides it.

mod build;
mod catalogue;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::directories;
use crate::progress::Progress;
pub use build::Error as BuildError;
pub use catalogue::{Module, Program, kubernetes_version};

/// How long to wait for another process that builds the same module.
const LOCK_LIMIT: Duration = Duration::from_hours(1);
const LOCK_INTERVAL: Duration = Duration::from_millis(500);

/// Why the programs cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no place for the cache.
    #[error("failed to find the cache of programs")]
    Directory(#[from] directories::Error),
    /// Go is missing, too old, or the build failed.
    #[error("failed to build {module}")]
    Build {
        /// The Go module.
        module: &'static str,
        /// What went wrong.
        #[source]
        source: BuildError,
    },
    /// A file of the cache cannot be read or written.
    #[error("failed to use {path} in the cache of programs")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// Another process has held the lock of the module for too long.
    #[error(
        "failed to lock {path}: another process has been building for {}",
        crate::progress::human(LOCK_LIMIT)
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A program was asked for whose module was not named to [`ensure`].
    #[error("failed to find {program:?}: module {} was not asked for", .program.module().name())]
    NotEnsured {
        /// The program.
        program: Program,
    },
}

/// What decides the bytes of a build: the module's files, how it is built, and the compiler.
fn cache_key(go_mod: &str, go_sum: &str, flags: &[String], go_version: &str) -> String {
    let mut hash = Sha256::new();
    let flags = flags.join("\0");
    for part in [go_mod, go_sum, &flags, go_version] {
        // With its length before it, no part can run into the next one.
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let key = hash
        .finalize()
        .iter()
        .take(8)
        .fold(0_u64, |key, byte| key << 8 | u64::from(*byte));
    format!("{key:016x}")
}

/// The programs that were asked for, ready to run.
#[derive(Clone, Debug)]
pub struct Programs {
    folders: BTreeMap<Module, PathBuf>,
}

impl Programs {
    /// The path of a program.
    pub fn path(&self, program: Program) -> Result<PathBuf, Error> {
        self.folders
            .get(&program.module())
            .map(|folder| folder.join(program.file_name()))
            .ok_or(Error::NotEnsured { program })
    }
}

/// Builds what is missing and returns where the programs are. Fast when all are there.
///
/// One process at a time builds a module; the others wait and then find it done. A build that is killed half way leaves
/// nothing that is mistaken for a whole one.
pub async fn ensure(modules: &[Module], progress: &Progress) -> Result<Programs, Error> {
    let cache = directories::cache()?.join("programs");
    let mut folders = BTreeMap::new();
    for &module in modules {
        folders.insert(module, ensure_one(module, &cache, progress).await?);
    }
    Ok(Programs { folders })
}

/// Whether there is a Go that builds the programs of Kubernetes.
pub async fn check_go() -> Result<(), Error> {
    let module = Module::Kubernetes;
    let cache = directories::cache()?.join("programs");
    match build::Go::find(module, &cache).await {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Build {
            module: module.name(),
            source,
        }),
    }
}

async fn ensure_one(module: Module, cache: &Path, progress: &Progress) -> Result<PathBuf, Error> {
    let failed = |source| Error::Build {
        module: module.name(),
        source,
    };
    let go = build::Go::find(module, cache).await.map_err(failed)?;
    let flags = build::flags(&module.linker_flags());
    let decides: Vec<String> = flags
        .iter()
        .cloned()
        .chain(module.experiment().map(str::to_owned))
        .collect();
    let key = cache_key(module.go_mod(), module.go_sum(), &decides, go.version());
    let name = format!("{}-{key}", module.name());
    let folder = cache.join(&name);
    let bin = folder.join("bin");
    if is_whole(module, &bin) {
        return Ok(bin);
    }

    let _lock = lock(&cache.join(format!("{name}.lock")), module, progress).await?;
    if is_whole(module, &bin) {
        return Ok(bin);
    }
    let unfinished = cache.join(format!(".{name}.unfinished"));
    // Only the holder of the lock writes here: what lies there is of a build that was killed.
    remove_folder(&unfinished)?;
    remove_folder(&folder)?;
    let unfinished_bin = unfinished.join("bin");
    std::fs::create_dir_all(&unfinished_bin).map_err(io(&unfinished_bin))?;

    let step = progress.step(format!("Building {}", module.name()), Some(module.expected_build()));
    go.build(&flags, &unfinished_bin, &step).await.map_err(failed)?;
    for program in module.programs() {
        let (built, wanted) = (program.built_name(), program.file_name());
        let built = unfinished_bin.join(built);
        std::fs::rename(&built, unfinished_bin.join(wanted)).map_err(io(&built))?;
    }
    std::fs::rename(&unfinished, &folder).map_err(io(&folder))?;
    step.done();
    Ok(bin)
}

fn is_whole(module: Module, bin: &Path) -> bool {
    module.programs().all(|program| bin.join(program.file_name()).is_file())
}

/// Takes the lock of a module; it is free again when the file is dropped, also by a `kill -9`.
async fn lock(path: &Path, module: Module, progress: &Progress) -> Result<File, Error> {
    let file = File::create(path).map_err(io(path))?;
    let mut waiting = None;
    let deadline = tokio::time::Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io(path)(source)),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() > deadline => {
                return Err(Error::Locked { path: path.to_owned() });
            }
            Err(TryLockError::WouldBlock) => {
                waiting.get_or_insert_with(|| {
                    progress.step(
                        format!("Waiting for another process that builds {}", module.name()),
                        None,
                    )
                });
                tokio::time::sleep(LOCK_INTERVAL).await;
            }
        }
    }
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io(path)(source)),
        _ => Ok(()),
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_changes_it() {
        let flags = ["-trimpath".to_owned()];
        let key = cache_key("mod", "sum", &flags, "go1.26.8");
        assert_eq!(key.len(), 16);
        assert_eq!(key, cache_key("mod", "sum", &flags, "go1.26.8"));
        let others = [
            cache_key("mod2", "sum", &flags, "go1.26.8"),
            cache_key("mod", "sum2", &flags, "go1.26.8"),
            cache_key("mod", "sum", &["-race".to_owned()], "go1.26.8"),
            cache_key("mod", "sum", &flags, "go1.26.9"),
            cache_key("mods", "um", &flags, "go1.26.8"),
        ];
        for other in others {
            assert_ne!(key, other);
        }
    }

    #[test]
    fn a_half_build_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubectl"), "").unwrap();
        assert!(!is_whole(Module::Kubernetes, folder.path()));
        std::fs::write(folder.path().join("etcd"), "").unwrap();
        assert!(is_whole(Module::Etcd, folder.path()));
    }

    #[test]
    fn a_program_of_another_module_is_refused() {
        let programs = Programs {
            folders: BTreeMap::from([(Module::Etcd, PathBuf::from("/bin"))]),
        };
        assert_eq!(programs.path(Program::Etcd).unwrap(), Path::new("/bin/etcd"));
        let error = programs.path(Program::Kwok).unwrap_err();
        assert!(error.to_string().contains("module kwok"), "{error}");
    }

    #[tokio::test]
    async fn a_lock_is_waited_for_and_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.lock");
        let first = lock(&path, Module::Etcd, &Progress::silent()).await.unwrap();
        let other = path.clone();
        let second = tokio::spawn(async move { lock(&other, Module::Etcd, &Progress::silent()).await });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        tokio::time::timeout(Duration::from_secs(10), second)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
