//! The tables of inputs and outputs in `terraform/README.md`, made from the files and compared with them.
//!
//! `KOMPASS_WRITE=1 cargo test -p kompass-deployment-tests --test terraform readme` writes them anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kompass_deployment_tests::project;
use serde_json::Value;

/// What says that files are to be written, not compared.
const WRITE: &str = "KOMPASS_WRITE";

/// A variable or an output, as `terraform fmt` has left it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    name: String,
    description: String,
    kind: String,
    /// None if it must be given.
    default: Option<String>,
}

/// Reads the blocks of a kind. Only lines of the first depth count; a value ends where its brackets are closed.
fn blocks(text: &str, kind: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix(&format!("{kind} \"")) {
            blocks.push(Block {
                name: name.trim_end_matches("\" {").to_owned(),
                ..Block::default()
            });
            continue;
        }
        let Some((field, value)) = line.strip_prefix("  ").and_then(|line| line.split_once('=')) else {
            continue;
        };
        let mut value = value.trim().to_owned();
        if field.starts_with(' ') {
            continue;
        }
        while depth(&value) > 0 {
            let Some(more) = lines.next() else { break };
            value = format!("{value} {}", more.trim());
        }
        let Some(block) = blocks.last_mut() else { continue };
        match field.trim() {
            "description" => block.description = value.trim_matches('"').replace("\\\"", "\""),
            "type" => block.kind = squeezed(&value),
            "default" => block.default = Some(squeezed(&value)),
            _ => {}
        }
    }
    blocks
}

fn depth(value: &str) -> i32 {
    value.chars().fold(0, |depth, sign| match sign {
        '(' | '[' | '{' => depth + 1,
        ')' | ']' | '}' => depth - 1,
        _ => depth,
    })
}

fn squeezed(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn tables(variables: &str, outputs: &str) -> String {
    let mut text = "## Inputs\n| name | what | type | default |\n| --- | --- | --- | --- |\n".to_owned();
    for block in blocks(variables, "variable") {
        let default = block
            .default
            .map_or_else(|| "required".to_owned(), |default| format!("`{}`", cell(&default)));
        let _ = writeln!(
            text,
            "| `{}` | {} | `{}` | {default} |",
            block.name,
            cell(&block.description),
            cell(&block.kind)
        );
    }
    text += "\n## Outputs\n| name | what |\n| --- | --- |\n";
    for block in blocks(outputs, "output") {
        let _ = writeln!(text, "| `{}` | {} |", block.name, cell(&block.description));
    }
    text
}

#[test]
fn the_tables_of_the_readme_are_those_of_the_files() {
    const START: &str = "<!-- tables: made from variables.tf and outputs.tf -->\n";
    const END: &str = "<!-- end of tables -->\n";
    let folder = project().join("terraform");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let made = tables(&read("variables.tf"), &read("outputs.tf"));
    let readme = read("README.md");
    let (before, rest) = readme.split_once(START).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(folder.join("README.md"), format!("{before}{START}{made}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(there, made, "set {WRITE}=1 and run this test to write them anew");
    for line in made.lines().filter(|line| line.starts_with("| `")) {
        assert!(!line.contains("|  |"), "no description: {line}");
    }
}

/// Ports of the chart's pods that nobody reaches through the API server: kube-scheduler's, which Prometheus reads, and
/// the expander, which cluster-autoscaler asks.
const OF_OTHERS: [&str; 2] = ["kube-scheduler", "expander"];

/// Name and number of each port of a template's containers.
fn container_ports(template: &str) -> Vec<(&str, &str)> {
    let lines: Vec<&str> = template.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter_map(|pair| {
            let name = pair.first()?.strip_prefix("- name: ")?;
            Some((name, pair.last()?.strip_prefix("containerPort: ")?))
        })
        .collect()
}

/// `kompass` asks the parts through the API server's proxy; a security group stops it where their ports are not let in.
#[test]
fn the_api_server_may_call_every_port_of_the_chart_that_is_asked_through_it() {
    let chart = project().join("charts/kompass");
    let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart.join("values.yaml")).unwrap()).unwrap();
    let mut called = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for part in std::fs::read_dir(chart.join("templates")).unwrap() {
        let Ok(template) = std::fs::read_to_string(part.unwrap().path().join("deployment.yaml")) else {
            continue;
        };
        let ports = container_ports(&template);
        assert_eq!(ports.len(), template.matches("containerPort:").count(), "{template}");
        for (name, port) in ports {
            seen.insert(name.to_owned());
            if !OF_OTHERS.contains(&name) {
                let value = port.strip_prefix("{{ $part.").and_then(|port| port.strip_suffix(" }}"));
                called.insert(match value {
                    Some(value) => values["admissionWebhook"][value].as_u64().unwrap(),
                    None => port.parse().unwrap(),
                });
            }
        }
    }
    for name in ["https", "http", "metrics"].iter().chain(&OF_OTHERS) {
        assert!(seen.contains(*name), "the chart has no port {name}: {seen:?}");
    }
    let variables = std::fs::read_to_string(project().join("terraform/variables.tf")).unwrap();
    let blocks = blocks(&variables, "variable");
    let block = blocks.iter().find(|block| block.name == "webhook_ports").unwrap();
    let default = block.default.as_deref().unwrap();
    let open: BTreeSet<u64> = default.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(called.is_subset(&open), "the chart's {called:?}, let in {open:?}");
}

#[test]
fn blocks_are_read() {
    let text = "variable \"a\" {\n  description = \"What.\"\n  type        = string\n}\n\n\
        variable \"b\" {\n  type = object({\n    c = optional(number, 1)\n  })\n  description = \"b|c.\"\n  default = {}\n\n  \
        validation {\n    condition = true\n  }\n}\n";
    let block = |name: &str, description: &str, kind: &str, default: Option<&str>| Block {
        name: name.to_owned(),
        description: description.to_owned(),
        kind: kind.to_owned(),
        default: default.map(str::to_owned),
    };
    let expected = [
        block("a", "What.", "string", None),
        block("b", "b|c.", "object({ c = optional(number, 1) })", Some("{}")),
    ];
    assert_eq!(blocks(text, "variable"), expected);
    assert!(tables(text, "").contains("| `b` | b\\|c. | `object({ c = optional(number, 1) })` | `{}` |"));
}
