//! What a user sees of jobs that fail or wait, with a real node and real Spark. Jobs that succeed are in the tests of
//! the whole.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail in its helpers, and says what it did"
)]

use std::process::{Command, Output};

/// Not a user's own cluster. The name of the other tests with real Spark, which run before or after: the images on the
/// node are kept by name.
const NAME: &str = "kompass-e2e";

fn kompass(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_kompass"))
        .args(arguments)
        .output()
        .unwrap();
    eprintln!(
        "kompass {}: {}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn good(arguments: &[&str]) -> String {
    let output = kompass(arguments);
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Takes the cluster away whatever happens.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        kompass(&["local", "down", "--name", NAME]);
    }
}

#[test]
fn jobs_that_fail_or_wait_say_so() {
    let _down = Down;
    good(&["local", "up", "--yes", "--name", NAME]);
    let status = good(&["local", "status", "--name", NAME]);
    assert!(status.contains("kompass-scheduler: ready"), "{status}");

    let class = [
        "--class",
        "dev.kompass.examples.Fail",
        "--timeout",
        "300",
        "--",
        "driver",
    ];
    let failed = kompass(&[&["run", "--cluster", NAME][..], &class].concat());
    let shown = String::from_utf8_lossy(&failed.stdout);
    assert_eq!(failed.status.code(), Some(1), "{shown}");
    assert!(shown.contains("Counted 4 rows before the failure"), "{shown}");
    let moments = [
        "spark-submit started",
        "submitted",
        "profiled: 2 executors",
        "planned, gate opened: 3 pods on 1 node",
        "driver bound to",
        "driver running",
        "executor 1 bound to",
        "first executor running",
        "done: failed (Error, exit code 1)",
    ];
    let (_, line) = shown.split_once("seconds since its submission").unwrap();
    let place = |moment: &str| {
        line.find(moment)
            .unwrap_or_else(|| panic!("{moment} is missing in{line}"))
    };
    let places: Vec<usize> = moments.iter().map(|moment| place(moment)).collect();
    assert!(places.is_sorted(), "{line}");
    assert!(good(&["why", "Fail", "--cluster", NAME]).contains("has failed"));

    let large = ["--name", "large", "--executors", "500", "--quiet", "--timeout", "30"];
    let waits = kompass(&[&["run", "--cluster", NAME][..], &large].concat());
    assert_eq!(waits.status.code(), Some(3), "out of time");
    assert!(good(&["why", "large", "--cluster", NAME]).contains("too-large"));
    assert!(good(&["queue", "--cluster", NAME]).contains("too-large"));
}
