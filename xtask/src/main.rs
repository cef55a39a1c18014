//! `cargo xtask`: the tasks of this repository.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod bench;
mod cargo_tool;
mod chart_readme;
mod deny;
mod links;
mod prepare;
mod sbom;
mod stage;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// Tasks of the KOMPASS repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install what is missing, check, and run the tests: units, real API servers, real Spark on a real cluster.
    Test(test::Args),
    /// Rules of the house: who may depend on whom, file sizes, words that don't belong in a repository, dead links.
    Tidy,
    /// Install packages, build the cluster's programs and the images; a warm cache makes it quick.
    Prepare(prepare::Args),
    /// Run every benchmark and print its figures.
    Bench,
    /// Write the table of values in the chart's README.
    ChartReadme(chart_readme::Args),
}

fn main() -> ExitCode {
    let result = match Task::parse() {
        Task::Test(args) => test::run(&args),
        Task::Tidy => tidy::run(),
        Task::Prepare(args) => prepare::run(&args),
        Task::Bench => bench::run(),
        Task::ChartReadme(args) => chart_readme::run(&args),
    };
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
