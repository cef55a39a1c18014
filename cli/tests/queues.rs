//! `kompass queues check` as a script calls it.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

use std::process::{Command, Output};

fn check(text: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queues.yaml");
    std::fs::write(&file, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_kompass"))
        .args(["queues", "check", file.to_str().unwrap()])
        .output()
        .unwrap()
}

#[test]
fn the_exit_code_tells_right_from_wrong() {
    let right = check(b"version: 1\nqueues: [{ name: etl, weight: 2 }]\n");
    assert_eq!(right.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&right.stdout).contains("etl   2"), "{right:?}");

    let wrong = check(b"version: 1\nqueues: [{ name: etl, weigth: 2 }]\n");
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(1), 0));
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(
        said.contains("queues.yaml") && said.contains("line 2, column 23") && said.contains("`weigth`"),
        "{said}"
    );
}

#[test]
fn the_example_of_the_documentation_is_right() {
    let document = include_str!("../../docs/queues.md");
    let (_, rest) = document.split_once("```yaml\n").unwrap();
    let (example, rest) = rest.split_once("```").unwrap();
    assert_eq!(example, kompass_queues::EXAMPLE, "the help texts show another one");
    let shown = check(example.as_bytes());
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(rest.contains(&shown), "the document shows something else than\n{shown}");
}
