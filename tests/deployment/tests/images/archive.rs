//! What is in an image, read from its OCI archive.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kompass_deployment_tests::succeed;
use serde_json::Value;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_mins(2);

/// An image.
pub(crate) struct Contents {
    /// Its configuration, as the OCI image specification says.
    pub(crate) config: Value,
    /// The files of all its layers.
    pub(crate) files: Vec<File>,
}

/// A file of a layer.
pub(crate) struct File {
    /// Its path, without a slash before it.
    pub(crate) name: String,
    /// As `ls -l` shows it.
    pub(crate) mode: String,
    pub(crate) is_folder: bool,
}

/// Reads an archive.
pub(crate) async fn read(archive: &Path) -> anyhow::Result<Contents> {
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
    let name = words.nth(4)?.trim_start_matches("./").trim_end_matches('/').to_owned();
    Some(File {
        is_folder: mode.starts_with('d'),
        name,
        mode,
    })
}
