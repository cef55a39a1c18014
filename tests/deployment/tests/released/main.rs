//! The images as they are released: compiled by the Dockerfile itself. It takes minutes, so this target is run by
//! `cargo xtask test --full` alone.

#![cfg(test)]
#![allow(clippy::print_stdout, reason = "a long test tells what it has seen")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kompass_deployment_tests::image::{bare, read};
use kompass_deployment_tests::{project, succeed};
use kompass_local_cluster::directories;
use kompass_local_cluster::images::{self, Image, Part};
use kompass_local_cluster::progress::Progress;
use tokio::process::Command;

/// Half an hour on two cores that have nothing else to do; beside a whole run of the tests more than an hour.
const COMPILE: Duration = Duration::from_hours(2);
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
    // Compiled twice from nothing: what is kept between builds lies in the folder of temporary files.
    let mut first = BTreeMap::new();
    for pass in ["once", "again"] {
        let temporary = folder.path().join(pass);
        std::fs::create_dir(&temporary)?;
        for part in Part::KOMPASS {
            let built = build(part, sysroot.trim(), &temporary).await?;
            let (packed, bytes) = (built.packed as f64 / 1e6, built.bytes as f64 / 1e6);
            println!(
                "{} {pass}: {bytes:.1} MB, {packed:.1} MB packed, {}",
                part.name(),
                built.digest
            );
            anyhow::ensure!(built.bytes < MAX_BYTES, "{part:?} has {} bytes", built.bytes);
            let digest = first.entry(part).or_insert_with(|| built.digest.clone());
            anyhow::ensure!(*digest == built.digest, "{part:?} is another image each time");
        }
    }
    for part in Part::KOMPASS {
        starts(part).await?;
    }
    Ok(())
}

struct Built {
    digest: String,
    /// As it is pulled.
    packed: u64,
    /// As it lies on a node.
    bytes: u64,
}

/// Builds a target from the checkout; compiled files are kept between builds with the same folder of temporary files.
async fn build(part: Part, sysroot: &str, temporary: &Path) -> anyhow::Result<Built> {
    let tag = tag(part);
    let target = part.name().trim_start_matches("kompass-");
    let mut command = buildah()?;
    command
        .env("TMPDIR", temporary)
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
    let archive = temporary.join("image.tar");
    succeed(
        buildah()?
            .args(["push", "--disable-compression", &tag])
            .arg(format!("oci-archive:{}", archive.display())),
        QUICK,
    )
    .await?;
    let image = read(&archive).await?;
    bare(&image, part)?;
    let packed = std::fs::metadata(&archive)?.len();
    std::fs::remove_file(&archive)?;
    Ok(Built {
        digest,
        packed,
        bytes: image.bytes(),
    })
}

fn tag(part: Part) -> String {
    format!("localhost/kompass/{}:test", part.name())
}

/// The program finds all that it is linked with in its image.
async fn starts(part: Part) -> anyhow::Result<()> {
    let container = succeed(buildah()?.args(["from", "--pull-never", &tag(part)]), QUICK).await?;
    let program = format!("/usr/bin/{}", part.program());
    let mut run = buildah()?;
    run.args([
        "run",
        "--isolation=chroot",
        container.trim(),
        "--",
        &program,
        "--version",
    ]);
    let said = succeed(&mut run, QUICK).await?;
    succeed(buildah()?.args(["rm", container.trim()]), QUICK).await?;
    anyhow::ensure!(said.contains(env!("CARGO_PKG_VERSION")), "{part:?} says {said:?}");
    Ok(())
}

/// Copies the base from the storage that the local cluster's images are built in. They are built in there meanwhile, by others,
/// who clear away what killed builds have left: a build as long as this test's has a storage of its own.
async fn take_base(archive: &Path) -> anyhow::Result<()> {
    // The base is there afterwards.
    images::ensure(&[Image::Pause], &Progress::lines()).await?;
    // Whatever earlier builds have left.
    for all in [&["rm", "--all"][..], &["rmi", "--all", "--force"]] {
        succeed(buildah()?.args(all), QUICK).await?;
    }
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
