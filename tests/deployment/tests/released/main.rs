//! The images as they are released: compiled by the Dockerfile itself. It takes minutes, so this target is run by
//! `cargo xtask test --full` alone.

#![cfg(test)]
#![allow(clippy::print_stdout, reason = "a long test tells what it has seen")]

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kompass_deployment_tests::{project, succeed};
use kompass_local_cluster::directories;
use kompass_local_cluster::images::{self, Image, Part};
use kompass_local_cluster::progress::Progress;
use tokio::process::Command;

const COMPILE: Duration = Duration::from_hours(1);
const QUICK: Duration = Duration::from_mins(3);
/// What an image may have, as it lies on a node.
const MAX_BYTES: u64 = 40_000_000;
/// The authorities of this machine: it may sit behind a proxy that has its own.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What both builders' Dockerfiles begin with.
const BASE: &str = "docker.io/library/debian:bookworm-slim";
/// A Debian with gcc that finds Rust where this test mounts it: what `rust:slim-bookworm` is where there is a registry.
const BUILDER: &str = "localhost/kompass/rust:test";
const BUILDER_FILE: &str = "FROM debian:bookworm-slim\n\
    RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev ca-certificates\n\
    ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";

#[tokio::test]
async fn released_images_are_compiled_by_their_dockerfile_small_and_the_same_each_time() {
    compiled().await.unwrap();
}

async fn compiled() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    take_base(&folder.path().join("base.tar")).await?;
    std::fs::write(folder.path().join("Dockerfile"), BUILDER_FILE)?;
    succeed(
        buildah()?
            .args([
                "build",
                "--layers",
                "--isolation=chroot",
                "--pull-never",
                "--tag",
                BUILDER,
            ])
            .arg(folder.path()),
        COMPILE,
    )
    .await?;
    let sysroot = succeed(
        Command::new("rustc")
            .current_dir(project())
            .args(["--print", "sysroot"]),
        QUICK,
    )
    .await?;
    for part in Part::KOMPASS {
        let once = build(part, sysroot.trim()).await?;
        let again = build(part, sysroot.trim()).await?;
        anyhow::ensure!(once.digest == again.digest, "{part:?} is another image each time");
        println!("{}: {:.1} MB", part.name(), once.bytes as f64 / 1e6);
        anyhow::ensure!(once.bytes < MAX_BYTES, "{part:?} has {} bytes", once.bytes);
    }
    Ok(())
}

struct Built {
    digest: String,
    bytes: u64,
}

/// Builds a target from the checkout, each time anew; compiled files are kept between builds by the cache mount.
async fn build(part: Part, sysroot: &str) -> anyhow::Result<Built> {
    let tag = format!("localhost/kompass/{}:test", part.name());
    let target = part.name().trim_start_matches("kompass-");
    let mut command = buildah()?;
    command
        .args([
            "build",
            "--no-cache",
            "--timestamp=0",
            "--isolation=chroot",
            "--pull-never",
        ])
        .args([
            "--build-arg",
            &format!("BUILDER={BUILDER}"),
            "--target",
            target,
            "--tag",
            &tag,
        ])
        .args([
            "--volume",
            &format!("{sysroot}:/usr/local/rust:ro"),
            "--volume",
            &format!("{AUTHORITIES}:{AUTHORITIES}:ro"),
            "--file",
        ])
        .arg(project().join("docker/kompass/Dockerfile"))
        .arg(project());
    succeed(&mut command, COMPILE).await?;
    let words = succeed(buildah()?.args(["images", "--json", &tag]), QUICK).await?;
    let images: serde_json::Value = serde_json::from_str(&words)?;
    let digest = images[0]["digest"]
        .as_str()
        .context("the image has no digest")?
        .to_owned();
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("image.tar");
    succeed(
        buildah()?
            .args(["push", "--disable-compression", &tag])
            .arg(format!("oci-archive:{}", archive.display())),
        QUICK,
    )
    .await?;
    Ok(Built {
        digest,
        bytes: std::fs::metadata(&archive)?.len(),
    })
}

/// Copies the base from the storage that the local cluster's images are built in. They are built in there meanwhile, by others,
/// who clear away what killed builds have left: a build as long as this test's has a storage of its own.
async fn take_base(archive: &Path) -> anyhow::Result<()> {
    // The base is there afterwards.
    images::ensure(&[Image::Pause], &Progress::lines()).await?;
    let archive = format!("oci-archive:{}:{BASE}", archive.display());
    succeed(
        storage("")?.args(["push", "--disable-compression", BASE, &archive]),
        QUICK,
    )
    .await?;
    succeed(buildah()?.args(["pull", &archive]), QUICK).await?;
    Ok(())
}

fn buildah() -> anyhow::Result<Command> {
    storage("released")
}

fn storage(folder: &str) -> anyhow::Result<Command> {
    let folder = directories::cache()?.join("images").join(folder);
    let mut command = Command::new("buildah");
    command
        .arg("--root")
        .arg(folder.join("storage"))
        .arg("--runroot")
        .arg(folder.join("run"));
    Ok(command)
}
