//! What is in an image, read from its OCI archive, and what must not be.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kompass_local_cluster::images::Part;
use serde_json::Value;
use tokio::process::Command;

use crate::succeed;

const LIMIT: Duration = Duration::from_mins(2);

/// An image.
#[derive(Debug)]
pub struct Contents {
    /// Its configuration, as the OCI image specification says.
    pub config: Value,
    /// The files of all its layers.
    pub files: Vec<File>,
}

/// A file of a layer.
#[derive(Debug)]
pub struct File {
    /// Its path, without a slash before it.
    pub name: String,
    /// As `ls -l` shows it.
    pub mode: String,
    /// It is a folder.
    pub is_folder: bool,
    /// What it takes on a node.
    pub bytes: u64,
}

impl Contents {
    /// What all of it takes on a node, unpacked.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Reads an archive.
///
/// # Errors
/// It can't be read, or is no OCI archive.
pub async fn read(archive: &Path) -> anyhow::Result<Contents> {
    let folder = tempfile::tempdir()?;
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(archive).arg("-C").arg(folder.path());
    succeed(&mut unpack, LIMIT).await?;
    let blob = |digest: &Value| {
        let digest = digest.as_str().context("a digest is missing")?;
        anyhow::Ok(folder.path().join("blobs").join(digest.replace(':', "/")))
    };
    let json = |path: &Path| anyhow::Ok(serde_json::from_slice::<Value>(&std::fs::read(path)?)?);
    let index = json(&folder.path().join("index.json"))?;
    let manifest = json(&blob(&index["manifests"][0]["digest"])?)?;
    let config = json(&blob(&manifest["config"]["digest"])?)?;
    let mut files = Vec::new();
    for layer in manifest["layers"].as_array().context("the image has no layers")? {
        let mut list = Command::new("tar");
        list.arg("-tvf").arg(blob(&layer["digest"])?);
        files.extend(succeed(&mut list, LIMIT).await?.lines().filter_map(file));
    }
    Ok(Contents { config, files })
}

/// A line of `tar -tv`: mode, owner, size, date, time, name.
fn file(line: &str) -> Option<File> {
    let mut words = line.split_whitespace();
    let mode = words.next()?.to_owned();
    let bytes = words.nth(1)?.parse().ok()?;
    let name = words.nth(2)?.trim_start_matches("./").trim_end_matches('/').to_owned();
    Some(File {
        is_folder: mode.starts_with('d'),
        bytes,
        name,
        mode,
    })
}

/// Looks whether an image of KOMPASS is non-root by number, says what it is, and has no program but its own.
///
/// # Errors
/// What is not so.
pub fn bare(image: &Contents, part: Part) -> anyhow::Result<()> {
    let config = &image.config["config"];
    anyhow::ensure!(config["User"] == "65532:65532", "it runs as {}", config["User"]);
    let program = format!("/usr/bin/{}", part.program());
    anyhow::ensure!(
        config["Entrypoint"] == serde_json::json!([program]),
        "it starts {}",
        config["Entrypoint"]
    );
    let labels = &config["Labels"];
    for label in ["title", "description", "licenses", "version", "revision", "vendor"] {
        let label = format!("org.opencontainers.image.{label}");
        anyhow::ensure!(labels[&label].is_string(), "it has no label {label}");
    }
    anyhow::ensure!(
        labels["org.opencontainers.image.title"] == part.name(),
        "its title is another one's"
    );
    if part == Part::Predictor {
        // Without it what reading the past has taken is kept: 224 MiB instead of 159.
        let environment = config["Env"].to_string();
        anyhow::ensure!(environment.contains("MIMALLOC_PURGE_DELAY=0"), "{environment}");
    }
    for file in &image.files {
        let name = Path::new(&file.name);
        let folder = name.parent().unwrap_or_else(|| Path::new(""));
        let known = file.name == program.trim_start_matches('/')
            || file.is_folder
            || folder.ends_with("x86_64-linux-gnu")
            || folder.ends_with("aarch64-linux-gnu")
            || name.starts_with("lib64")
            || [
                "etc/passwd",
                "etc/group",
                "etc/nsswitch.conf",
                "etc/ssl/certs/ca-certificates.crt",
            ]
            .contains(&file.name.as_str());
        anyhow::ensure!(known, "{} is in it", file.name);
        anyhow::ensure!(!file.mode.contains('s'), "{} has the mode {}", file.name, file.mode);
    }
    anyhow::ensure!(
        image.files.iter().any(|file| format!("/{}", file.name) == program),
        "its program is not in it"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_tar_is_a_file() {
        let one = file("-rwxr-xr-x 0/0        27472008 1970-01-01 00:00 ./usr/bin/kompass-predictor").unwrap();
        assert_eq!(
            (one.name.as_str(), one.bytes, one.is_folder),
            ("usr/bin/kompass-predictor", 27_472_008, false)
        );
        let folder = file("drwxrwxrwt 0/0               0 1970-01-01 00:00 tmp/").unwrap();
        assert_eq!((folder.name.as_str(), folder.is_folder), ("tmp", true));
        assert!(file("tar: nothing").is_none());
    }
}
