//! The files of `docker/`, carried inside the program so that an installed one needs no checkout.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Enough that two different images never share a name.
const HASH_BYTES: usize = 8;

/// One file of `docker/`.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    /// Path below `docker/`.
    pub(super) path: &'static str,
    pub(super) content: &'static str,
}

macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        &[$(File { path: $path, content: include_str!(concat!("../../../../docker/", $path)) }),+]
    };
}

/// The Debian system below every other image.
pub(super) const BASE: &[File] = files!["base/Dockerfile", "base/rootfs.sh"];
/// The container that holds a pod's namespaces.
pub(super) const PAUSE: &[File] = files!["pause/Dockerfile", "pause/pause.c"];
/// Spark's image, without Spark.
pub(super) const SPARK: &[File] = files!["spark/Dockerfile", "spark/entrypoint.sh"];
/// KOMPASS's own images.
pub(super) const KOMPASS: &[File] = files!["kompass/Dockerfile", "kompass/build.sh"];
/// Programs of others: the kube-scheduler that asks KOMPASS's extender, and what watches them.
pub(super) const PROGRAMS: &[File] = files!["programs/Dockerfile"];
/// What makes a `SPARK_HOME`.
pub(super) const DISTRIBUTION: &[File] = files!["spark/distribution.sh", "spark/checksums"];
/// The example applications and what compiles them.
pub(super) const EXAMPLES: &[File] = files![
    "spark-examples/build.sh",
    "spark-examples/src/dev/kompass/examples/Cache.java",
    "spark-examples/src/dev/kompass/examples/Fail.java",
    "spark-examples/src/dev/kompass/examples/Shuffle.java",
    "spark-examples/src/dev/kompass/examples/Sleep.java",
    "spark-examples/src/org/apache/spark/examples/SparkPi.java",
];

/// The checksums of the Spark packages, one `SHA256  FILE` on a line.
pub(super) fn checksums() -> &'static str {
    include_str!("../../../../docker/spark/checksums")
}

/// Writes the files below `directory` as they lie below `docker/`.
pub(super) fn write(files: &[File], directory: &Path) -> io::Result<()> {
    files.iter().try_for_each(|file| {
        let path = directory.join(file.path);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        fs::write(path, file.content)
    })
}

/// A short name for exactly these files and these further inputs.
pub(super) fn hash(files: &[File], inputs: &[&str]) -> String {
    let mut hasher = Sha256::new();
    let mut field = |text: &str| {
        // The length keeps two neighbouring fields from sliding into one another.
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for file in files {
        field(file.path);
        field(file.content);
    }
    for input in inputs {
        field(input);
    }
    let mut name = String::with_capacity(2 * HASH_BYTES);
    for byte in hasher.finalize().iter().take(HASH_BYTES) {
        // Writing into a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_sees_every_input_and_where_it_ends() {
        let one = hash(PAUSE, &["a", "bc"]);
        assert_eq!(one, hash(PAUSE, &["a", "bc"]));
        assert_ne!(one, hash(PAUSE, &["ab", "c"]));
        assert_ne!(one, hash(PAUSE, &["a", "bc", ""]));
        assert_ne!(one, hash(BASE, &["a", "bc"]));
        assert_eq!(one.len(), 16);
    }

    #[test]
    fn every_example_on_disk_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker");
        for folder in ["org/apache/spark/examples", "dev/kompass/examples"] {
            for entry in fs::read_dir(root.join("spark-examples/src").join(folder)).unwrap() {
                let name = format!("spark-examples/src/{folder}/{}", entry.unwrap().file_name().display());
                assert!(EXAMPLES.iter().any(|file| file.path == name), "{name} is not embedded");
            }
        }
    }
}
