//! A whole `SPARK_HOME` of each version, with the example applications: for the image and for `spark-submit`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::{Error, SparkVersion, files, io, lock, tool};
use crate::directories;
use crate::progress::Progress;

/// The package has 300 to 460 MB.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(30);
const COMPILE_LIMIT: Duration = Duration::from_mins(3);

/// The `SPARK_HOME` of a version, made when it is missing.
pub async fn spark_home(version: &SparkVersion, progress: &Progress) -> Result<PathBuf, Error> {
    let cache = directories::cache()?;
    let home = home(&cache, version);
    if is_whole(&home, version) {
        return Ok(home);
    }
    let _lock = lock(&cache.join("images"), progress).await?;
    ensure(&cache, version, progress).await
}

/// What decides the content of the distribution.
pub(super) fn inputs(version: &SparkVersion) -> String {
    let checksum = files::checksums()
        .lines()
        .find(|line| line.ends_with(&format!(" pyspark-{version}.tar.gz")))
        .unwrap_or_default();
    files::hash(files::EXAMPLES, &[checksum])
}

/// Like [`spark_home`], for a caller that holds the lock.
pub(super) async fn ensure(cache: &Path, version: &SparkVersion, progress: &Progress) -> Result<PathBuf, Error> {
    let home = home(cache, version);
    if is_whole(&home, version) {
        return Ok(home);
    }
    let folder = cache.join("spark");
    let scripts = folder.join("scripts");
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    files::write(files::DISTRIBUTION, &scripts).map_err(io(&scripts))?;
    files::write(files::EXAMPLES, &scripts).map_err(io(&scripts))?;

    if !home.join("RELEASE").is_file() {
        remove_unfinished(&folder, version)?;
        let label = format!("Fetching Spark {version} (pyspark from PyPI)");
        let step = progress.step(label, Some(Duration::from_secs(90)));
        let mut command = Command::new("sh");
        command
            .arg(scripts.join("spark/distribution.sh"))
            .arg(version.to_string())
            .arg(&home);
        super::tool::run(command, DOWNLOAD_LIMIT, |line| step.note(line))
            .await
            .map_err(tool(format!("Spark {version}")))?;
        step.done();
    }

    let step = progress.step(
        format!("Compiling the examples for Spark {version}"),
        Some(Duration::from_secs(6)),
    );
    let mut command = Command::new("sh");
    command.arg(scripts.join("spark-examples/build.sh")).arg(&home);
    super::tool::run(command, COMPILE_LIMIT, |line| step.note(line))
        .await
        .map_err(tool(format!("the examples for Spark {version}")))?;
    let marker = marker(&home);
    fs::write(&marker, inputs(version)).map_err(io(&marker))?;
    step.done();
    Ok(home)
}

fn home(cache: &Path, version: &SparkVersion) -> PathBuf {
    cache.join("spark").join(version.to_string())
}

/// Says from which sources the examples were made. Beside the distribution, not in it: it is no part of the image.
fn marker(home: &Path) -> PathBuf {
    home.with_added_extension("examples")
}

fn is_whole(home: &Path, version: &SparkVersion) -> bool {
    home.join("RELEASE").is_file()
        && home.join("examples/jars/spark-examples.jar").is_file()
        && fs::read_to_string(marker(home)).is_ok_and(|made_from| made_from == inputs(version))
}

/// What a killed download left.
fn remove_unfinished(folder: &Path, version: &SparkVersion) -> Result<(), Error> {
    let prefix = format!("{version}.");
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let entry = entry.map_err(io(folder))?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(entry.path()).map_err(io(&entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_counts_only_with_examples_of_these_sources() {
        let cache = tempfile::tempdir().unwrap();
        let version = SparkVersion::default();
        let home = home(cache.path(), &version);
        fs::create_dir_all(home.join("examples/jars")).unwrap();
        fs::write(home.join("RELEASE"), "").unwrap();
        fs::write(home.join("examples/jars/spark-examples.jar"), "").unwrap();
        assert!(!is_whole(&home, &version));
        fs::write(marker(&home), "of older sources").unwrap();
        assert!(!is_whole(&home, &version));
        fs::write(marker(&home), inputs(&version)).unwrap();
        assert!(is_whole(&home, &version));
    }

    #[test]
    fn what_a_killed_download_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let version = SparkVersion::default();
        for name in ["4.1.4", "4.1.4.a1b2c3", "3.5.9.a1b2c3"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("4.1.4.examples"), "").unwrap();
        remove_unfinished(folder.path(), &version).unwrap();
        let left = |name: &str| folder.path().join(name).exists();
        assert_eq!(
            ["4.1.4", "4.1.4.a1b2c3", "3.5.9.a1b2c3", "4.1.4.examples"].map(left),
            [true, false, true, true]
        );
    }
}
