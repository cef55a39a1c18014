//! `kompass backtest`: does keeping nodes ready pay on this history, and by which rule?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use kompass_capacity::{Shape, policy};
use kompass_headroom::expected;
use kompass_local_cluster::progress::Progress;
use kompass_simulation::capacity::protocol::Error;
use kompass_simulation::capacity::runs::Tape;
use kompass_simulation::capacity::{Backtest, Settings, Timing, input};
use kompass_simulation::trace::Gang;
use sha2::{Digest as _, Sha256};

mod bounds;
mod forecast;
mod money;
mod origin;
mod page;
mod report;
mod robust;
mod source;
mod tape;
mod words;

use forecast::Forecast;
use money::Money;
use origin::Origin;
use report::Report;
use source::Source;
pub(crate) use source::{certificates, since, token, until};

/// Options of `kompass backtest`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kompass backtest --trace jobs.csv --node-cpu-milli 8000 --node-memory-mib 65536
  kompass backtest --trace jobs.csv --node-cpu-milli 8000 --node-memory-mib 65536 --html out.html --json out.json
  kompass backtest --trace jobs.csv --node-cpu-milli 8000 --node-memory-mib 65536 --json out.json --decisions held.csv
  kompass backtest --trace jobs.csv --node-cpu-milli 8000 --node-memory-mib 65536 --json same.json --replay held.csv
  kompass backtest --trace jobs.csv --node-cpu-milli 8000 --node-memory-mib 65536 --robustness
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
    #[command(flatten)]
    bounds: bounds::Bounds,
    /// Of the random numbers that move submissions a little and draw days.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Run all of it again on pasts that are a little other than this one: submissions some days later, the last week left
    /// out, one gang of five left out, pods half as large, nodes that boot faster or slower. Takes about seven times as long.
    #[arg(long)]
    robustness: bool,
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
            holding: self.bounds.holding(),
            prices: self.bounds.prices(),
        };
        let tapes = self.replay.as_deref().map(replayed).transpose()?.unwrap_or_default();
        let progress = Progress::auto();
        let source = self.source.read(&progress).await?;

        let label = format!("Backtest of {} gangs", source.gangs.len());
        let backtest = run(&source.gangs, settings, tapes, &progress, label).map_err(|error| source.advise(error))?;
        let robustness = self.robustness.then(|| {
            let others = robust::each(&source.gangs, settings, self.boot_s, |past, gangs, settings| {
                run(gangs, settings, Vec::new(), &progress, format!("Backtest, {past}"))
            });
            std::iter::once(robust::Past::recorded(&backtest))
                .chain(others)
                .collect::<Vec<_>>()
        });

        let forecast = (self.json.is_some() || self.html.is_some())
            .then(|| expected(&source, &backtest, &progress))
            .flatten();
        let money = Money::new(&backtest);

        let origin = source.origin(backtest.split);
        let mut report = Report::new(&backtest, &origin, self.boot_s, &sha256(&source.bytes));
        report.forecast = forecast.as_ref();
        report.money = money.as_ref();
        report.robustness = robustness.as_deref();
        println!("{}{}", origin.told(), words::told(&backtest));
        if let Some(money) = &money {
            print!("{}", money.told());
        }
        if let Some(forecast) = &forecast {
            print!("{}", forecast.told());
        }
        if let Some(pasts) = &robustness {
            print!("{}", robust::told(pasts));
        }
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&report).context("failed to write the results as JSON")?;
            write(path, &(text + "\n"))?;
        }
        if let Some(path) = &self.decisions {
            write(path, &tape::write(&backtest.decisions()))?;
        }
        if let Some(path) = &self.html {
            let mut settings = settings_table(&origin, shape, self.boot_s, self.seed);
            settings.extend(self.bounds.settings());
            let more = page::More {
                notes: &origin.notes(),
                settings: &settings,
                money: money.as_ref(),
                forecast: forecast.as_ref(),
                robustness: robustness.as_deref(),
            };
            write(path, &page::render(&backtest, &more))?;
            println!("drawn in {}", path.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs the protocol, with all policies.
fn run(
    gangs: &[Gang],
    settings: Settings,
    tapes: Vec<Tape>,
    progress: &Progress,
    label: String,
) -> Result<Backtest, Error> {
    let step = progress.step(label, None);
    let backtest = tokio::task::block_in_place(|| {
        let mut families = policy::families(settings.shape);
        let (jobs, _) = input::jobs(gangs, settings.shape);
        families.push(kompass_headroom::family(&jobs, settings.shape, settings.timing));
        Backtest::run(gangs, settings, &families, tapes, &mut |done, what| {
            step.note(format!("{:.0} %, {what}", done * 100.0));
        })
    })?;
    step.done();
    Ok(backtest)
}

/// What was expected of each hour of the test.
fn expected(source: &Source, backtest: &Backtest, progress: &Progress) -> Option<Forecast> {
    let (shape, test) = (backtest.settings.shape, backtest.split.test);
    let step = progress.step(format!("Forecasts for {} days", test.days()), None);
    let hours = tokio::task::block_in_place(|| {
        let (jobs, _) = input::jobs(&source.gangs, shape);
        expected::expected(&jobs, shape, &source.unknown_ms(), test, &mut |done| {
            step.note(format!("{:.0} %", done * 100.0));
        })
    });
    step.done();
    Forecast::new(hours, test)
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
