//! `kompass backtest`: does keeping nodes ready pay on this history, and by which rule?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use kompass_capacity::{Shape, policy};
use kompass_local_cluster::progress::Progress;
use kompass_simulation::capacity::runs::Tape;
use kompass_simulation::capacity::{Backtest, Settings, Timing, input};
use sha2::{Digest as _, Sha256};

mod origin;
mod page;
mod report;
mod source;
mod tape;
mod words;

use origin::Origin;
use report::Report;

/// Options of `kompass backtest`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kompass backtest --trace jobs.csv --node-cpu-milli 8000 --node-memory-mib 65536
  kompass backtest --trace jobs.csv --node-cpu-milli 8000 --node-memory-mib 65536 --html out.html --json out.json
  kompass backtest --trace jobs.csv --node-cpu-milli 8000 --node-memory-mib 65536 --json out.json --decisions held.csv
  kompass backtest --trace jobs.csv --node-cpu-milli 8000 --node-memory-mib 65536 --json same.json --replay held.csv
  kompass backtest --prometheus http://prom:9090 --since 28d --node-cpu-milli 8000 --node-memory-mib 65536

The trace is a CSV file with a gang a line, sorted by time of submission, as for `kompass simulate`. It must span 18 days, or
44 if at least 60 of its days are busy; so must what a Prometheus tells.

What is compared: on nodes of one shape that can be had without limit, how long gangs wait and what nodes cost when some
empty nodes are held ready, by one rule or another. A rule's parameters are chosen on the days before the last ones and
judged on the last ones, beside holding a fixed number of nodes at the same cost.

The same trace and options always give the same result.")]
pub(crate) struct Args {
    #[command(flatten)]
    source: source::Options,
    /// CPU of each node, thousandths.
    #[arg(long, value_name = "MILLI")]
    node_cpu_milli: u64,
    /// Memory of each node, MiB.
    #[arg(long, value_name = "MIB")]
    node_memory_mib: u64,
    /// How long a node boots, seconds; 10 s pass before.
    #[arg(long, value_name = "SECONDS", default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    boot_s: u32,
    /// Of the random numbers that move submissions a little and draw days.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the results in this file: a page of HTML that needs nothing else to be read.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write how many nodes the recommended rule holds at each tick, from the first day of the validation on, to this file
    /// as CSV: for the trace as recorded (replay 0) and for each replay.
    #[arg(long, value_name = "FILE")]
    decisions: Option<PathBuf>,
    /// Take the decisions that this file of `--decisions` has, instead of making them again.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let shape = Shape::new(self.node_cpu_milli, self.node_memory_mib)
            .context("give --node-cpu-milli and --node-memory-mib what a node offers to pods")?;
        let settings = Settings {
            shape,
            timing: Timing::new(i64::from(self.boot_s) * 1_000),
            seed: self.seed,
        };
        let tapes = self.replay.as_deref().map(replayed).transpose()?.unwrap_or_default();
        let progress = Progress::auto();
        let source = self.source.read(&progress).await?;

        let step = progress.step(format!("Backtest of {} gangs", source.gangs.len()), None);
        let mut families = policy::families(shape);
        let (jobs, _) = input::jobs(&source.gangs, shape);
        families.push(kompass_headroom::family(&jobs, shape, settings.timing));
        let backtest = tokio::task::block_in_place(|| {
            Backtest::run(&source.gangs, settings, &families, tapes, &mut |done, what| {
                step.note(format!("{:.0} %, {what}", done * 100.0));
            })
        })
        .map_err(|error| source.advise(error))?;
        step.done();

        let origin = source.origin(backtest.split);
        let report = Report::new(&backtest, &origin, self.boot_s, &sha256(&source.bytes));
        println!("{}{}", origin.told(), words::told(&backtest));
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&report).context("failed to write the results as JSON")?;
            write(path, &(text + "\n"))?;
        }
        if let Some(path) = &self.decisions {
            write(path, &tape::write(&backtest.decisions()))?;
        }
        if let Some(path) = &self.html {
            let settings = settings_table(&origin, shape, self.boot_s, self.seed);
            write(path, &page::render(&backtest, &origin.notes(), &settings))?;
            println!("drawn in {}", path.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What was asked for, for people.
fn settings_table(origin: &Origin, shape: Shape, boot_s: u32, seed: u64) -> Vec<(&'static str, String)> {
    let mut settings = origin.settings();
    settings.extend([
        (
            "CPU of each node",
            format!("{} CPU", shape.cpu_milli() as f64 / 1_000.0),
        ),
        (
            "Memory of each node",
            format!("{} GiB", shape.memory_mib() as f64 / 1_024.0),
        ),
        ("A node boots", format!("{boot_s} s")),
        ("Seed", seed.to_string()),
        ("Version of KOMPASS", env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    settings
}

fn replayed(path: &Path) -> anyhow::Result<Vec<Tape>> {
    let bytes = std::fs::read(path).with_context(|| format!("failed to open the decisions {}", path.display()))?;
    tape::read(&bytes).with_context(|| format!("failed to use {}", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
