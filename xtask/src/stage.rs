//! Stages of a long run: each named, timed, and summed up at the end.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// What has run so far.
#[derive(Debug)]
pub(crate) struct Stages {
    started: Instant,
    done: Vec<(String, Duration, bool)>,
}

impl Stages {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Runs one stage; its failure is kept for the summary and does not stop the ones after it.
    pub(crate) fn run(&mut self, name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> bool {
        println!("\n=== {name}");
        let started = Instant::now();
        let result = work();
        if let Err(error) = &result {
            eprintln!("error in stage {name:?}: {error:#}");
        }
        self.done.push((name.to_owned(), started.elapsed(), result.is_ok()));
        result.is_ok()
    }

    /// Prints the table; an error if any stage failed.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        println!("\n=== summary");
        for (name, took, passed) in &self.done {
            println!(
                "{:>7.1} s  {}  {name}",
                took.as_secs_f64(),
                if *passed { "passed" } else { "FAILED" }
            );
        }
        println!("{:>7.1} s  all", self.started.elapsed().as_secs_f64());
        let failed = self.done.iter().filter(|(.., passed)| !passed).count();
        println!("stages: {} passed, {failed} failed", self.done.len() - failed);
        if failed > 0 {
            bail!("{failed} stages failed");
        }
        Ok(())
    }
}

/// Runs a program; an error unless it ends with 0.
pub(crate) fn command(program: &str, args: &[&str]) -> anyhow::Result<()> {
    println!("$ {program} {}", args.join(" "));
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("failed to start {program}; is it installed?"))?;
    if !status.success() {
        bail!("{program} {} ended with {status}", args.first().unwrap_or(&""));
    }
    Ok(())
}
