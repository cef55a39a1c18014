//! The images of the local cluster: real Dockerfiles, built without a container engine and without a registry.
//!
//! `docker/` of the project is part of the compiled library, so that an installed `kompass` needs no checkout. Each
//! image is kept as an OCI archive whose name holds the hash of everything that decides it; nothing is built twice.

mod buildah;
mod distribution;
mod files;
mod own;
pub(crate) mod tool;

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::directories;
use crate::progress::Progress;
pub use distribution::spark_home;
pub use own::{Own, Part};
pub use tool::Error as ToolError;

/// How long to wait for another process that builds images.
const LOCK_LIMIT: Duration = Duration::from_mins(30);
const LOCK_INTERVAL: Duration = Duration::from_millis(500);

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no place for the cache.
    #[error("failed to find the cache of images")]
    Directory(#[from] directories::Error),
    /// A Spark version that this program does not know.
    #[error("failed to recognise Spark version {version:?}: known are {}", SparkVersion::all().map(|version| version.to_string()).collect::<Vec<_>>().join(", "))]
    UnknownSpark {
        /// What was asked for.
        version: String,
    },
    /// A file of the cache cannot be read or written.
    #[error("failed to use {path} in the cache of images")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Another process has held the lock for too long.
    #[error(
        "failed to lock {path}: another process has been building images for {}",
        crate::progress::human(LOCK_LIMIT)
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A program that takes part in the build failed.
    #[error("failed to make {what}")]
    Tool {
        /// What was being made.
        what: String,
        /// What the program said.
        #[source]
        source: ToolError,
    },
}

/// A Spark version that can be built here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SparkVersion(String);

impl SparkVersion {
    /// The versions that are known, in the order of the list of checksums.
    pub fn all() -> impl Iterator<Item = Self> {
        files::checksums().lines().filter_map(|line| {
            let package = line.split_whitespace().nth(1)?;
            let version = package.strip_prefix("pyspark-")?.strip_suffix(".tar.gz")?;
            Some(Self(version.to_owned()))
        })
    }
}

impl Default for SparkVersion {
    /// The newest one that the project is tested with.
    fn default() -> Self {
        Self("4.1.4".to_owned())
    }
}

impl FromStr for SparkVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownSpark {
            version: text.to_owned(),
        };
        Self::all().find(|version| version.0 == text).ok_or_else(unknown)
    }
}

impl fmt::Display for SparkVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// An image that pods of the local cluster use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Image {
    /// Holds a pod's namespaces; also what a test runs when any container will do.
    Pause,
    /// Spark with Java, Python and the example applications, for drivers and executors.
    Spark(SparkVersion),
    /// KOMPASS itself, or what its chart runs beside it, from a program of this machine.
    Own(Own),
}

impl Image {
    /// The whole name by which pods ask for it, for example `docker.io/local/spark:4.1.4`.
    pub fn reference(&self) -> String {
        match self {
            Self::Pause => "docker.io/local/pause:1".to_owned(),
            Self::Spark(version) => format!("docker.io/local/spark:{version}"),
            Self::Own(own) => own.reference(),
        }
    }

    /// Short name for files and messages.
    fn name(&self) -> String {
        match self {
            Self::Pause => "pause".to_owned(),
            Self::Spark(version) => format!("spark-{version}"),
            Self::Own(own) => own.part().name().to_owned(),
        }
    }

    /// The hash of everything that decides the image.
    fn inputs(&self) -> String {
        let base = base_inputs();
        match self {
            Self::Pause => files::hash(files::PAUSE, &[&base]),
            Self::Spark(version) => files::hash(files::SPARK, &[&base, &version.0, &distribution::inputs(version)]),
            Self::Own(own) => own.inputs(&base),
        }
    }

    fn archive(&self, folder: &Path) -> Archive {
        let inputs = self.inputs();
        Archive {
            path: folder.join(format!("{}-{inputs}.tar", self.name())),
            reference: self.reference(),
            inputs,
        }
    }
}

fn base_inputs() -> String {
    files::hash(files::BASE, &[])
}

/// An image as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// An OCI archive (tar); it names the image as [`Image::reference`] does.
    pub path: PathBuf,
    /// See [`Image::reference`].
    pub reference: String,
    /// The hash of everything that decides the image: two archives with the same are interchangeable.
    pub inputs: String,
}

/// Makes the archives that are missing and returns all that were asked for, in the same order. Fast when all are there.
///
/// One process at a time builds images; the others wait and then find them done.
pub async fn ensure(images: &[Image], progress: &Progress) -> Result<Vec<Archive>, Error> {
    let cache = directories::cache()?;
    let folder = cache.join("images");
    let archives: Vec<_> = images.iter().map(|image| image.archive(&folder)).collect();
    if archives.iter().all(|archive| archive.path.is_file()) {
        return Ok(archives);
    }

    for (image, archive) in images.iter().zip(&archives) {
        if archive.path.is_file() {
            continue;
        }
        // For each image alone: who needs only the first does not wait for the last.
        let _lock = lock(&folder, progress).await?;
        if archive.path.is_file() {
            continue;
        }
        let builder = buildah::Builder::new(&folder)?;
        builder.clear().await?;
        builder.base(&base_inputs(), progress).await?;
        let context = builder.context(&image.name())?;
        let (build_arguments, expected) = match image {
            Image::Pause => {
                context.add(files::PAUSE, "pause")?;
                (Vec::new(), Duration::from_secs(30))
            }
            Image::Spark(version) => {
                let home = distribution::ensure(&cache, version, progress).await?;
                context.add(files::SPARK, "spark")?;
                context.link("spark", &home).await?;
                (vec![format!("SPARK_VERSION={version}")], Duration::from_secs(45))
            }
            Image::Own(own) => {
                own.fill(&context).await?;
                (own.build_arguments(), Duration::from_secs(10))
            }
        };
        let step = progress.step(format!("Building image {}", archive.reference), Some(expected));
        let target = match image {
            Image::Own(own) => Some(own.part().target()),
            _ => None,
        };
        builder
            .build(&context, &archive.reference, target, &build_arguments, &step)
            .await?;
        step.done();

        let step = progress.step(
            format!("Writing image {}", archive.reference),
            Some(Duration::from_secs(20)),
        );
        builder.write(archive, &step).await?;
        step.done();
        remove_older(&folder, &image.name(), &archive.path)?;
    }
    Ok(archives)
}

/// Removes archives of the same image with other inputs; nothing asks for them any more.
fn remove_older(folder: &Path, name: &str, current: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        let inputs = path.file_name().and_then(|file| {
            file.to_str()?
                .strip_prefix(name)?
                .strip_prefix('-')?
                .strip_suffix(".tar")
        });
        // Sixteen hexadecimal digits: `spark-3.5.9-…` is no archive of `spark`.
        let is_archive = inputs.is_some_and(|inputs| inputs.len() == 16 && !inputs.contains(['.', '-']));
        if is_archive && path != current {
            fs::remove_file(&path).map_err(io(&path))?;
        }
    }
    Ok(())
}

/// Takes the lock of the images; it is free again when the file is dropped, also by a `kill -9`.
async fn lock(folder: &Path, progress: &Progress) -> Result<File, Error> {
    fs::create_dir_all(folder).map_err(io(folder))?;
    let path = folder.join("lock");
    let file = File::create(&path).map_err(io(&path))?;
    let deadline = Instant::now() + LOCK_LIMIT;
    let mut waiting = None;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io(&path)(source)),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => return Err(Error::Locked { path }),
            Err(TryLockError::WouldBlock) => {
                waiting.get_or_insert_with(|| progress.step("Waiting for another process that builds images", None));
                tokio::time::sleep(LOCK_INTERVAL).await;
            }
        }
    }
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

fn tool(what: impl Into<String>) -> impl FnOnce(ToolError) -> Error {
    let what = what.into();
    move |source| Error::Tool { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_spark_is_a_known_one() {
        assert!(SparkVersion::all().any(|version| version == SparkVersion::default()));
        assert_eq!("3.5.9".parse::<SparkVersion>().unwrap().to_string(), "3.5.9");
        let error = "3.5".parse::<SparkVersion>().unwrap_err().to_string();
        assert!(error.contains("\"3.5\"") && error.contains("4.1.4"), "{error}");
    }

    #[test]
    fn every_image_has_its_own_archive() {
        let folder = Path::new("/cache");
        let mut paths: Vec<_> = SparkVersion::all()
            .map(Image::Spark)
            .chain([Image::Pause])
            .map(|image| image.archive(folder).path)
            .collect();
        let count = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), count);
    }

    #[test]
    fn only_older_archives_of_the_same_image_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            "spark-3.5.9-0123456789abcdef.tar",
            "spark-3.5.9-fedcba9876543210.tar",
            "spark-4.1.4-0123456789abcdef.tar",
            "pause-0123456789abcdef.tar",
            "lock",
        ];
        for file in files {
            fs::write(folder.path().join(file), "").unwrap();
        }
        remove_older(folder.path(), "spark-3.5.9", &folder.path().join(files[0])).unwrap();
        let left = |file: &str| folder.path().join(file).exists();
        assert_eq!(files.map(left), [true, false, true, true, true]);
    }
}
