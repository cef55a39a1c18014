//! The node's containerd from outside, through its own command `ctr`: images in, containers out.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use crate::images::{Archive, ToolError, tool};

/// Kubernetes keeps its images and containers under this name.
const NAMESPACE: &str = "k8s.io";
/// A large image on a cold disk takes 25 s on two cores.
const IMPORT_LIMIT: Duration = Duration::from_mins(10);
const QUICK_LIMIT: Duration = Duration::from_secs(30);

/// A containerd, running or not.
#[derive(Debug, Clone)]
pub(super) struct Runtime {
    socket: PathBuf,
    snapshotter: &'static str,
}

impl Runtime {
    pub(super) const fn at(socket: PathBuf, nested: bool) -> Self {
        Self {
            socket,
            snapshotter: if nested { "native" } else { "overlayfs" },
        }
    }

    /// Whether it answers.
    pub(super) async fn answers(&self) -> bool {
        self.ctr(&["containers", "list", "--quiet"]).await.is_ok()
    }

    /// Ends and removes all containers, with their file systems. Returns how many there were.
    pub(super) async fn remove_containers(&self) -> Result<usize, ToolError> {
        let tasks = self.ctr(&["tasks", "list", "--quiet"]).await?;
        for task in tasks.lines() {
            // It may end by itself at this moment.
            drop(self.ctr(&["tasks", "delete", "--force", task]).await);
        }
        let containers = self.ctr(&["containers", "list", "--quiet"]).await?;
        let containers: Vec<_> = containers.lines().collect();
        if !containers.is_empty() {
            self.ctr(&[&["containers", "delete"], containers.as_slice()].concat())
                .await?;
        }
        Ok(containers.len())
    }

    /// Whether exactly this image is there.
    pub(super) async fn has(&self, archive: &Archive) -> Result<bool, ToolError> {
        let images = self.ctr(&["images", "list"]).await?;
        Ok(contains(&images, archive))
    }

    /// Takes an image in.
    pub(super) async fn import(&self, archive: &Archive) -> Result<(), ToolError> {
        let mut command = self.command(&["images", "import", "--snapshotter", self.snapshotter]);
        command.arg(&archive.path);
        tool::quietly(command, IMPORT_LIMIT).await?;
        // An older image of the same name loses its mark, and with it the last reference to its bytes.
        let images = self.ctr(&["images", "list", "--quiet"]).await?;
        for old in images.lines().filter(|image| image.starts_with(&mark_prefix(archive))) {
            self.ctr(&["images", "delete", old]).await?;
        }
        self.ctr(&["images", "tag", &archive.reference, &mark(archive)]).await?;
        Ok(())
    }

    /// Gives an image one more name.
    pub(super) async fn tag(&self, name: &str, other: &str) -> Result<(), ToolError> {
        self.ctr(&["images", "tag", "--force", name, other]).await.map(drop)
    }

    async fn ctr(&self, arguments: &[&str]) -> Result<String, ToolError> {
        tool::quietly(self.command(arguments), QUICK_LIMIT).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", NAMESPACE])
            .args(arguments);
        command
    }
}

/// A second name of the image, which says from which inputs it was made.
fn mark(archive: &Archive) -> String {
    format!("{}{}", mark_prefix(archive), archive.inputs)
}

fn mark_prefix(archive: &Archive) -> String {
    format!("{}-inputs-", archive.reference)
}

/// Whether the table of images (name, type, digest, ...) has the image and its mark, both of the same digest.
fn contains(table: &str, archive: &Archive) -> bool {
    let digest = |name: &str| {
        table.lines().find_map(|line| {
            let mut columns = line.split_whitespace();
            (columns.next() == Some(name)).then(|| columns.nth(1)).flatten()
        })
    };
    let marked = digest(&mark(archive));
    marked.is_some() && marked == digest(&archive.reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_counts_only_with_the_mark_of_its_inputs() {
        let archive = Archive {
            path: PathBuf::new(),
            reference: "docker.io/local/x:1".to_owned(),
            inputs: "ab".to_owned(),
        };
        let table = |mark: &str, digest: &str| {
            format!(
                "REF TYPE DIGEST SIZE\n\
                 docker.io/local/x:1 application/oci sha256:1 2.0 MiB\n\
                 docker.io/local/x:1-inputs-{mark} application/oci sha256:{digest} 2.0 MiB\n"
            )
        };
        assert!(contains(&table("ab", "1"), &archive));
        assert!(!contains(&table("ab", "2"), &archive));
        assert!(!contains(&table("cd", "1"), &archive));
        assert!(!contains("REF TYPE DIGEST SIZE\n", &archive));
    }
}
