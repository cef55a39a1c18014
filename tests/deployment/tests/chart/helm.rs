//! Running Helm, and what it renders.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::Context as _;
use kompass_deployment_tests::{project, run, succeed};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use serde_json::Value;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_mins(2);

/// The folder of the chart.
pub(crate) fn chart() -> PathBuf {
    project().join("charts/kompass")
}

/// Values with every switch on.
pub(crate) fn everything() -> PathBuf {
    chart().join("tests/values/everything.yaml")
}

/// One of the programs of the module.
pub(crate) async fn program(program: Program) -> anyhow::Result<Command> {
    let programs = programs::ensure(&[Module::Helm], &Progress::lines()).await?;
    Ok(Command::new(programs.path(program)?))
}

/// Helm, with nothing of the machine's own settings.
pub(crate) async fn helm(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = program(Program::Helm).await?;
    let nowhere = std::env::temp_dir().join("kompass-helm-tests");
    command
        .args(arguments)
        .env("HELM_CONFIG_HOME", nowhere.join("config"))
        .env("HELM_CACHE_HOME", nowhere.join("cache"))
        .env("HELM_DATA_HOME", nowhere.join("data"))
        .env_remove("KUBECONFIG");
    Ok(command)
}

/// Helm that is to end well; its output.
pub(crate) async fn succeeds(arguments: &[&str]) -> anyhow::Result<String> {
    succeed(&mut helm(arguments).await?, LIMIT).await
}

/// Helm however it ends.
pub(crate) async fn ends(arguments: &[&str]) -> anyhow::Result<Output> {
    run(&mut helm(arguments).await?, LIMIT).await
}

/// What Helm says when it fails.
pub(crate) async fn fails(arguments: &[&str]) -> anyhow::Result<String> {
    let output = ends(arguments).await?;
    anyhow::ensure!(!output.status.success(), "helm {arguments:?} went well");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// All objects that the chart renders.
pub(crate) async fn render(arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
    let folder = chart();
    let mut all = vec!["template", "kompass", text(&folder)?, "--namespace", "kompass"];
    all.extend(arguments);
    objects(&succeeds(&all).await?)
}

/// The objects of a text with several YAML documents.
pub(crate) fn objects(text: &str) -> anyhow::Result<Vec<Value>> {
    let documents = text.split("\n---").map(|document| document.trim_start_matches("---"));
    let objects = documents.map(|document| {
        serde_saphyr::from_str::<Value>(document).with_context(|| format!("failed to read as YAML:\n{document}"))
    });
    objects.filter(|object| !matches!(object, Ok(Value::Null))).collect()
}

/// The one object of a kind and name.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// The arguments of a container.
pub(crate) fn arguments(objects: &[Value], deployment: &str, container: &str) -> Vec<String> {
    let deployment = find(objects, "Deployment", deployment);
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
    let container = containers
        .into_iter()
        .flatten()
        .find(|one| one["name"] == container)
        .unwrap_or_else(|| panic!("there is no container {container}"));
    let arguments = container["args"].as_array().into_iter().flatten();
    arguments.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path is no UTF-8")
}
