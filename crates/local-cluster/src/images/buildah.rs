//! Building with `buildah`: its own storage inside the cache, no daemon, no registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use tokio::process::Command;

use super::files::{self, File};
use super::{Archive, Error, io, tool};
use crate::progress::{Progress, Step};

/// The name by which Dockerfiles know the base, so that they are ordinary ones.
const BASE_REFERENCE: &str = "docker.io/library/debian:bookworm-slim";
/// Longest step: packages are downloaded.
const BUILD_LIMIT: Duration = Duration::from_mins(20);
const QUICK_LIMIT: Duration = Duration::from_mins(1);

/// The images under construction.
pub(super) struct Builder {
    folder: PathBuf,
    /// What buildah keeps in layers; overlay unless the cache itself lies on one, which the kernel does not nest.
    driver: &'static str,
}

/// The files of one build.
pub(super) struct Context {
    path: PathBuf,
}

impl Builder {
    /// A builder whose storage lies in `folder`. The caller holds the lock of the images.
    pub(super) fn new(folder: &Path) -> Result<Self, Error> {
        let kind = statfs(folder)
            .map_err(|errno| io(folder)(errno.into()))?
            .filesystem_type();
        let driver = if kind == OVERLAYFS_SUPER_MAGIC {
            "vfs"
        } else {
            "overlay"
        };
        Ok(Self {
            folder: folder.to_owned(),
            driver,
        })
    }

    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(self.folder.join("storage"))
            .arg("--runroot")
            .arg(self.folder.join("run"))
            .args(["--storage-driver", self.driver]);
        command
    }

    /// Removes what builds that were killed have left in the storage.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        let mut command = self.buildah();
        command.args(["rm", "--all"]);
        super::tool::quietly(command, QUICK_LIMIT)
            .await
            .map_err(tool("room in the storage of images"))?;
        Ok(())
    }

    /// Makes the base image unless the storage has it.
    pub(super) async fn base(&self, inputs: &str, progress: &Progress) -> Result<(), Error> {
        let exact = format!("localhost/kompass/base:{inputs}");
        if self.has(&exact).await {
            // Another version of this program may have given the name to its own base meanwhile.
            return self.tag(&exact, BASE_REFERENCE).await;
        }
        let step = progress.step(
            "Making a Debian base image (debootstrap)",
            Some(Duration::from_secs(75)),
        );
        let context = self.context("base")?;
        context.add(files::BASE, "base")?;
        let mut command = Command::new("sh");
        command
            .arg(context.path.join("rootfs.sh"))
            .arg(context.path.join("rootfs.tar"));
        super::tool::run(command, BUILD_LIMIT, |line| step.note(line))
            .await
            .map_err(tool("the Debian base"))?;
        self.build(&context, BASE_REFERENCE, None, &[], &step).await?;
        self.tag(BASE_REFERENCE, &exact).await?;
        step.done();
        Ok(())
    }

    async fn tag(&self, reference: &str, other: &str) -> Result<(), Error> {
        let mut command = self.buildah();
        command.args(["tag", reference, other]);
        super::tool::quietly(command, QUICK_LIMIT)
            .await
            .map_err(tool("the Debian base"))?;
        Ok(())
    }

    async fn has(&self, reference: &str) -> bool {
        let mut command = self.buildah();
        command.args(["inspect", "--type", "image", reference]);
        super::tool::quietly(command, QUICK_LIMIT).await.is_ok()
    }

    /// An empty build context.
    pub(super) fn context(&self, name: &str) -> Result<Context, Error> {
        let path = self.folder.join(format!("context-{name}"));
        // A killed build may have left one.
        remove(&path)?;
        fs::create_dir_all(&path).map_err(io(&path))?;
        Ok(Context { path })
    }

    /// Builds the context's `Dockerfile`, or the `target` in it.
    pub(super) async fn build(
        &self,
        context: &Context,
        reference: &str,
        target: Option<&str>,
        build_arguments: &[String],
        step: &Step,
    ) -> Result<(), Error> {
        let mut command = self.buildah();
        // With its layers kept, what two images have in common is made once and is the same bytes in both.
        command.args(["build", "--layers", "--isolation", "chroot", "--pull-never"]);
        for argument in build_arguments {
            command.args(["--build-arg", argument]);
        }
        if let Some(target) = target {
            command.args(["--target", target]);
        }
        // The same files make the same image, whenever it is built.
        command.args(["--timestamp", "0"]);
        command.args(["--tag", reference]).arg(&context.path);
        super::tool::run(command, BUILD_LIMIT, |line| step.note(line))
            .await
            .map_err(tool(reference))?;
        Ok(())
    }

    /// Writes an image as an archive; the file appears only when it is whole.
    pub(super) async fn write(&self, archive: &Archive, step: &Step) -> Result<(), Error> {
        let unfinished = archive.path.with_added_extension("unfinished");
        remove(&unfinished)?;
        let reference = &archive.reference;
        let mut command = self.buildah();
        // The archive is read once, on this machine: compressing it would take longer than writing it.
        command
            .args(["push", "--disable-compression", reference])
            .arg(format!("oci-archive:{}:{reference}", unfinished.display()));
        super::tool::run(command, BUILD_LIMIT, |line| step.note(line))
            .await
            .map_err(tool(reference))?;
        fs::rename(&unfinished, &archive.path).map_err(io(&archive.path))
    }
}

impl Context {
    /// Adds files as they lie below `docker/`, under `folder`.
    pub(super) fn add_below(&self, folder: &str, files: &[File]) -> Result<(), Error> {
        let path = self.path.join(folder);
        files::write(files, &path).map_err(io(&path))
    }

    /// Takes a file of the context for its Dockerfile.
    pub(super) fn dockerfile(&self, name: &str) -> Result<(), Error> {
        let path = self.path.join(name);
        fs::copy(&path, self.path.join("Dockerfile")).map_err(io(&path))?;
        Ok(())
    }

    /// Adds files; those below `folder` of `docker/` come to the top of the context.
    pub(super) fn add(&self, files: &[File], folder: &str) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt as _;

        for file in files {
            let name = file
                .path
                .strip_prefix(folder)
                .map_or(file.path, |name| name.trim_start_matches('/'));
            let path = self.path.join(name);
            fs::write(&path, file.content).map_err(io(&path))?;
            let mode = if file.content.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(io(&path))?;
        }
        Ok(())
    }

    /// Adds a program under `name`, without what only a debugger needs.
    pub(super) async fn program(&self, name: &str, program: &Path) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt as _;

        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(parent).map_err(io(parent))?;
        fs::copy(program, &path).map_err(io(program))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(io(&path))?;
        let mut command = Command::new("strip");
        command.arg("--strip-debug").arg(&path);
        super::tool::quietly(command, QUICK_LIMIT)
            .await
            .map_err(tool("a program smaller"))?;
        Ok(())
    }

    /// Adds a whole folder by hard links: no bytes are copied.
    pub(super) async fn link(&self, name: &str, folder: &Path) -> Result<(), Error> {
        let mut command = Command::new("cp");
        command.arg("-al").arg(folder).arg(self.path.join(name));
        super::tool::quietly(command, QUICK_LIMIT)
            .await
            .map_err(tool("a build context"))?;
        Ok(())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, "a build context stays behind");
        }
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io(path)(source)),
        _ => Ok(()),
    }
}
