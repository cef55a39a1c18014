//! `kompass shadow-report`: what a cluster without KOMPASS, or with one that only looks on, has lost to drivers that held room
//! while their executors had none.

mod summary;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use kompass_history::starts::Starts;
use kompass_local_cluster::progress::Progress;
use kompass_prometheus::{Address, Client, starts_with};

use self::summary::{Node, Summary};
use crate::backtest::{certificates, since, token, until};
use crate::table;

/// Options of `kompass shadow-report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kompass shadow-report --prometheus http://127.0.0.1:9090
  kompass shadow-report --prometheus http://127.0.0.1:9090 --since 4w \\
    --node-cpu-milli 15890 --node-memory-mib 59000 --node-price 0.768   the same in nodes and money

Needed is kube-state-metrics, scraped by that Prometheus; KOMPASS is not. With a webhook in --mode shadow no pod is changed
meanwhile, so that a week of it shows what KOMPASS would have to do. See docs/admission.md.

Exit codes: 0 done, 1 failed, 2 wrong use.")]
pub(crate) struct Args {
    /// A Prometheus, or what speaks its API. Name and password may be in the URL.
    #[arg(long, value_name = "URL")]
    prometheus: Address,
    /// How much of the past is looked at: a whole number with h, d or w.
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "7d")]
    since: Duration,
    /// Where it ends: 2026-11-29T08:00:00Z, or a day, at the beginning of which it ends in UTC; now if not given.
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Timestamp>,
    /// A file with a bearer token for Prometheus.
    #[arg(long, value_name = "FILE")]
    prometheus_token_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that sign Prometheus's, instead of those that this machine trusts.
    #[arg(long, value_name = "FILE")]
    prometheus_ca_file: Option<PathBuf>,
    /// What every series must have, such as 'cluster="blue"', where one Prometheus has those of several clusters.
    #[arg(long, value_name = "MATCHERS", default_value = "", hide_default_value = true)]
    prometheus_selector: String,
    /// Thousandths of a CPU that pods can have of a node.
    #[arg(long, value_name = "MILLI", requires = "node_memory_mib", value_parser = clap::value_parser!(u32).range(1..))]
    node_cpu_milli: Option<u32>,
    /// MiB of memory that pods can have of a node.
    #[arg(long, value_name = "MIB", requires = "node_cpu_milli", value_parser = clap::value_parser!(u32).range(1..))]
    node_memory_mib: Option<u32>,
    /// What a node costs in an hour.
    #[arg(long, value_name = "MONEY", requires = "node_cpu_milli", value_parser = price)]
    node_price: Option<f64>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let node = self
            .node_cpu_milli
            .zip(self.node_memory_mib)
            .map(|(cpu_milli, memory_mib)| Node {
                cpu: f64::from(cpu_milli) / 1_000.0,
                gib: f64::from(memory_mib) / 1_024.0,
                price: self.node_price,
            });
        let starts = self.ask().await?;
        let summary = Summary::of(&starts, node);
        if self.json {
            println!("{:#}", serde_json::to_value(&summary)?);
        } else {
            print!("{}", show(&summary, &starts));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(&self) -> anyhow::Result<Starts> {
        let now = Timestamp::now();
        let until = self.until.unwrap_or(now);
        if until > now {
            bail!("failed to look at a past that ends at {until}: that is still to come; give an earlier --until");
        }
        let options = kompass_prometheus::Options {
            token: self.prometheus_token_file.as_deref().map(token).transpose()?,
            authority_pem: self.prometheus_ca_file.as_deref().map(certificates).transpose()?,
            selector: self.prometheus_selector.clone(),
            ..kompass_prometheus::Options::default()
        };
        let server = self.prometheus.to_string();
        let client = Client::new(self.prometheus.clone(), options)?;
        let until_ms = u64::try_from(until.as_millisecond()).context("failed to look at a past before 1970")?;
        let progress = Progress::auto();
        let step = progress.step(format!("{} of pods from {server}", table::span(self.since)), None);
        let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
        let starts = starts_with(&client, self.since, until_ms, |done, all| {
            step.count(count(done), count(all), "questions");
        });
        let starts = starts.await?;
        step.done();
        Ok(starts)
    }
}

fn price(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "write a number such as 0.768".to_owned())?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err("write a number of at least 0".to_owned())
    }
}

fn show(summary: &Summary, starts: &Starts) -> String {
    let mut text = String::new();
    let span = |ms: i64| table::span(Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    let day = |ms: i64| {
        Timestamp::from_millisecond(ms)
            .unwrap_or_default()
            .strftime("%Y-%m-%d %H:%M")
            .to_string()
    };
    // Writing to a String can't fail.
    let _ = writeln!(
        text,
        "Spark from {} to {} UTC: {} gangs whose driver ran, {} that never did",
        day(starts.window.from_ms),
        day(starts.window.to_ms),
        summary.gangs,
        summary.never_ran
    );
    if summary.gangs == 0 {
        return text + "There is nothing to tell.\n" + &remarks(starts);
    }
    let _ = writeln!(
        text,
        "Wait for the driver's node: {} for half of them, {} at most for nine of ten",
        span(summary.wait_p50_ms),
        span(summary.wait_p90_ms)
    );
    let _ = writeln!(
        text,
        "Held room while executors had none: {} gangs, for {} together, the longest for {}; {} executors never had a node",
        summary.short_gangs,
        span(summary.short_ms),
        span(summary.longest_ms),
        summary.without_node
    );
    let _ = writeln!(
        text,
        "Several at once, each holding what others lacked: {} times, for {} together, at most {} gangs",
        summary.stand_offs,
        span(summary.stand_off_ms),
        summary.most_at_once
    );
    let _ = writeln!(
        text,
        "Held meanwhile: {:.1} CPU hours, {:.1} GiB hours{}",
        summary.cpu_hours,
        summary.gib_hours,
        match (summary.node_hours, summary.money) {
            (Some(nodes), Some(money)) => format!(", which is {nodes:.1} hours of a node or {money:.2} in money"),
            (Some(nodes), None) => format!(", which is {nodes:.1} hours of a node"),
            _ => String::new(),
        }
    );
    if !summary.worst.is_empty() {
        let rows: Vec<Vec<String>> = summary
            .worst
            .iter()
            .map(|gang| {
                vec![
                    format!("{}/{}", gang.namespace, gang.driver),
                    day(gang.begin_ms),
                    span(gang.short_ms),
                    gang.executors.to_string(),
                    format!("{:.1}", gang.cpu_hours),
                ]
            })
            .collect();
        text += "\n";
        text += &table::render(
            &["DRIVER", "STARTED (UTC)", "SHORT FOR", "EXECUTORS", "CPU HOURS"],
            &rows,
        );
    }
    text + &remarks(starts)
}

/// What to know about the figures.
fn remarks(starts: &Starts) -> String {
    let mut text = String::new();
    let unknown_ms: i64 = starts.gaps.iter().map(|gap| gap.to_ms - gap.from_ms).sum();
    if unknown_ms > 0 {
        let span = table::span(Duration::from_millis(u64::try_from(unknown_ms).unwrap_or(0)));
        let _ = writeln!(text, "note: nothing is known of {span} of that time");
    }
    for dropped in &starts.dropped {
        let _ = writeln!(text, "note: {dropped}");
    }
    text
}

#[cfg(test)]
mod tests {
    use kompass_history::Window;
    use kompass_history::starts::{Held, Start};

    use super::*;

    fn starts(gangs: Vec<Start>) -> Starts {
        Starts {
            window: Window {
                from_ms: 0,
                to_ms: 604_800_000,
            },
            gangs,
            never: 1,
            gaps: Vec::new(),
            dropped: Vec::new(),
        }
    }

    #[test]
    fn the_text_says_what_was_lost() {
        let starts = starts(vec![Start {
            namespace: "etl".into(),
            driver: "a-driver".into(),
            wait_ms: 4_000,
            begin_ms: 0,
            end_ms: 7_200_000,
            executors: 8,
            without_node: 2,
            alone_ms: 3_600_000,
            short: vec![(0, 3_600_000)],
            held: Held {
                cpu_hours: 2.0,
                gib_hours: 1.0,
            },
        }]);
        let node = Node {
            cpu: 4.0,
            gib: 16.0,
            price: Some(0.2),
        };
        let text = show(&Summary::of(&starts, Some(node)), &starts);
        for words in [
            "1 gangs whose driver ran, 1 that never did",
            "Held room while executors had none: 1 gangs, for 1 h 0 min together",
            "2 executors never had a node",
            "0 times",
            "0.5 hours of a node or 0.10 in money",
            "etl/a-driver",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn an_empty_past_is_said_to_be_one() {
        let starts = starts(Vec::new());
        assert!(show(&Summary::of(&starts, None), &starts).contains("nothing to tell"));
    }
}
