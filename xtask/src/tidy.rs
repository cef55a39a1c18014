//! Rules of the house, checked: who may depend on whom, file sizes, words that don't belong in a repository, links of
//! documents.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::links;

/// Pure crates and every dependency that they may have: no I/O, no clock, no async.
const PURE: [(&str, &[&str]); 9] = [
    // schemars by a feature that only the command has: it derives, and does nothing at run time.
    ("kompass-core", &["schemars", "serde", "serde_json", "thiserror"]),
    ("kompass-capacity", &["thiserror"]),
    // jiff for the times of tags: no clock, no zones.
    ("kompass-floors", &["jiff", "thiserror"]),
    (
        "kompass-headroom",
        &[
            "kompass-capacity",
            "kompass-forecast",
            "kompass-simulation",
            "serde",
            "thiserror",
        ],
    ),
    (
        "kompass-history",
        &["kompass-core", "kompass-simulation", "kompass-spark", "thiserror"],
    ),
    (
        "kompass-planner",
        &["kompass-core", "rustc-hash", "serde", "serde_json", "thiserror"],
    ),
    (
        "kompass-queues",
        &["kompass-core", "kompass-planner", "serde", "serde-saphyr", "thiserror"],
    ),
    (
        "kompass-simulation",
        &[
            "kompass-capacity",
            "kompass-core",
            "kompass-planner",
            "csv",
            "serde",
            "thiserror",
        ],
    ),
    (
        "kompass-spark",
        &[
            "kompass-core",
            "serde",
            "serde_json",
            "serde-saphyr",
            "sha2",
            "thiserror",
        ],
    ),
];

/// Dependencies that only these crates may name.
const OWNED: [(&str, &[&str]); 10] = [
    ("prometheus", &["kompass-service"]),
    ("linfa", &["kompass-forecast"]),
    ("aws-config", &["kompass-aws"]),
    ("aws-credential-types", &["kompass-aws"]),
    ("aws-sdk-autoscaling", &["kompass-aws"]),
    ("aws-sdk-ec2", &["kompass-aws"]),
    ("aws-sdk-pricing", &["kompass-aws"]),
    ("tonic", &["kompass-expander"]),
    ("tonic-prost", &["kompass-expander"]),
    ("serde_yaml", &[]),
];

/// Lines that a source file may have.
const MAX_LINES: usize = 700;

/// Runs every rule and reports all that is broken at once.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut broken = dependencies()?;
    for file in tracked_files()? {
        // Files deleted in the working tree, and anything that isn't text, have no lines to judge.
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        broken.extend(lines_of(&file, &text));
        broken.extend(words_in(&file, &text));
        broken.extend(links::broken(&file, &text, &read));
    }
    for rule in &broken {
        println!("{rule}");
    }
    if !broken.is_empty() {
        bail!("{} rules of the house are broken", broken.len());
    }
    println!("tidy: every rule holds");
    Ok(())
}

fn dependencies() -> anyhow::Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output()
        .context("failed to run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("failed to read cargo metadata")?;
    let mut broken = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?
    {
        let name = package["name"].as_str().unwrap_or_default();
        let all = package["dependencies"].as_array().into_iter().flatten();
        let normal = all.filter(|dependency| dependency["kind"].is_null());
        for dependency in normal.filter_map(|dependency| dependency["name"].as_str()) {
            if let Some((_, allowed)) = PURE.iter().find(|(pure, _)| *pure == name)
                && !allowed.contains(&dependency)
            {
                broken.push(format!("{name} is pure and may not depend on {dependency}"));
            }
            if let Some((_, owners)) = OWNED.iter().find(|(owned, _)| *owned == dependency)
                && !owners.contains(&name)
            {
                broken.push(format!("{name} may not depend on {dependency}; only {owners:?} may"));
            }
        }
    }
    Ok(broken)
}

/// The text of a file of the repository, an empty one for a folder.
fn read(path: &str) -> Option<String> {
    if path.is_empty() || Path::new(path).is_dir() {
        return Some(String::new());
    }
    // What is no text is there, too.
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn tracked_files() -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("failed to run git ls-files")?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

fn lines_of(file: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (is_source(file) && lines > MAX_LINES).then(|| format!("{file} has {lines} lines; split it (at most {MAX_LINES})"))
}

fn words_in(file: &str, text: &str) -> Vec<String> {
    // Written in two parts, so that this file doesn't break its own rule.
    let unfinished = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ig", "nore"),
    ];
    let homes = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/home/", "user")];
    if file.contains("/tests/data/") || file == "LICENSE" || file.ends_with("go.sum") {
        return Vec::new();
    }
    text.lines()
        .enumerate()
        .filter_map(|(number, line)| {
            let word = unfinished
                .iter()
                .filter(|_| is_source(file))
                .chain(&homes)
                .find(|word| line.contains(**word))?;
            Some(format!("{file}:{}: {word:?} does not belong here", number + 1))
        })
        .collect()
}

fn is_source(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_does_not_belong() {
        let todo = format!("fn f() {{ {}) }}", concat!("todo", "!("));
        assert_eq!(words_in("a.rs", &todo).len(), 1);
        assert_eq!(words_in("a.md", &todo).len(), 0);
        assert_eq!(words_in("a.md", concat!("see /ro", "ot/x")).len(), 1);
        assert!(lines_of("a.rs", &"x\n".repeat(MAX_LINES + 1)).is_some());
        assert!(lines_of("a.rs", &"x\n".repeat(MAX_LINES)).is_none());
    }

    #[test]
    fn the_repository_keeps_the_rules_of_dependencies() {
        assert_eq!(dependencies().unwrap(), Vec::<String>::new());
    }
}
