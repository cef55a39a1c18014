//! `kompass queues check`: whether a queue file is right, and what it says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use kompass_queues::view::{self, QueueView};
use kompass_queues::{MAX_BYTES, QueueTable};

use crate::table;

/// Options of `kompass queues check`.
#[derive(Debug, clap::Args)]
#[command(after_help = check_help())]
pub(crate) struct Args {
    /// The queue file: YAML, or JSON.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let table = read(&self.file).with_context(|| format!("failed to use {}", self.file.display()))?;
        print!("{}", render(&table));
        Ok(ExitCode::SUCCESS)
    }
}

fn check_help() -> String {
    format!(
        "\
Examples:
  kompass queues check queues.yaml
  kompass queues check queues.yaml && kubectl create configmap queues --from-file queues.yaml

A queue file:
{}
Exit codes: 0 it is right, 1 it is wrong or can't be read.",
        kompass_queues::EXAMPLE
    )
}

pub(crate) fn read(path: &Path) -> anyhow::Result<QueueTable> {
    let mut content = Vec::new();
    let file = File::open(path).context("failed to open the queue file")?;
    // One byte more than is allowed is enough to be told.
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut content)
        .context("failed to read the queue file")?;
    Ok(kompass_queues::parse(&content)?)
}

fn render(table: &QueueTable) -> String {
    let queues = view::queues(table);
    if queues.is_empty() {
        return "no queues: all that are named share alike, without limits\n".to_owned();
    }
    let rows: Vec<Vec<String>> = queues.iter().map(row).collect();
    table::render(
        &["NAME", "WEIGHT", "GUARANTEED", "LIMIT", "PACKING", "NAMESPACES"],
        &rows,
    )
}

fn row(queue: &QueueView) -> Vec<String> {
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let amounts = |amounts: &BTreeMap<String, String>| {
        let amounts = amounts.iter().map(|(resource, amount)| format!("{resource} {amount}"));
        or_none(amounts.collect::<Vec<_>>().join(", "))
    };
    vec![
        queue.name.clone(),
        queue.weight.to_string(),
        amounts(&queue.guaranteed),
        amounts(&queue.limit),
        or_none(queue.packing.unwrap_or_default().to_owned()),
        or_none(queue.namespaces.join(", ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> anyhow::Result<QueueTable> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("queues.yaml");
        std::fs::write(&file, text)?;
        Args { file: file.clone() }.run()?;
        read(&file)
    }

    #[test]
    fn a_right_file_is_shown_as_a_table() {
        let table = check(
            "{version: 1, queues: [{name: etl, weight: 2, guaranteed: {memory: 400Gi, cpu: 1.5}, limit: {pods: 9, \
             nvidia.com/gpu: 4}, packing: tight, namespaces: [b, a]}, {name: ml}]}",
        );
        assert_eq!(
            render(&table.unwrap()),
            "NAME  WEIGHT  GUARANTEED               LIMIT                     PACKING  NAMESPACES\n\
             etl   2       cpu 1500m, memory 400Gi  nvidia.com/gpu 4, pods 9  tight    a, b\n\
             ml    1       -                        -                         -        -\n"
        );
        assert!(render(&check("version: 1").unwrap()).starts_with("no queues"));
    }

    #[test]
    fn a_wrong_file_is_named_with_its_mistake() {
        let said = format!("{:#}", check("version: 1\nqueues: [{name: a, weight: 0}]").unwrap_err());
        assert!(
            said.contains("queues.yaml: ") && said.contains("weight 0") && said.contains("line 2"),
            "{said}"
        );
        let missing = read(Path::new("/does/not/exist")).unwrap_err();
        assert!(format!("{missing:#}").contains("No such file"));
    }
}
