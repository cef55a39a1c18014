//! `kompass simulate`: what would have become of a trace's gangs on some cluster, under one policy or several.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;
use kompass_local_cluster::progress::Progress;
use kompass_planner::{Backfill, Packing, QueueTable};
use kompass_simulation::engine::Queues;
use kompass_simulation::{Estimates, Gang, Report, Settings, trace};
use serde::Serialize;

use crate::table;

mod charts;
mod figures;
mod page;
mod queues;
mod sizes;
mod terminal;

use charts::Compared;
use figures::{Better, FIGURES};
use page::Page;

/// Options of `kompass simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kompass simulate --trace jobs.csv --nodes 80 --node-cpu-milli 8000 --node-memory-mib 65536
  kompass simulate --trace jobs.csv --nodes 80 --node-cpu-milli 8000 --node-memory-mib 65536 --policy fifo --policy easy --html out.html
  kompass simulate --trace jobs.csv --nodes 80 --node-cpu-milli 8000 --node-memory-mib 65536 --queues queues.yaml

The trace is a CSV file with a gang a line, sorted by time of submission, and this header:
  submit_time_s,run_time_s,profile,queue,driver_cpu_milli,driver_memory_mib,executors,executor_cpu_milli,executor_memory_mib
A further column, namespace, may be there.

With a queue file a gang belongs to its queue as in a cluster: `queue` is what its driver's label says, `namespace` is
where it runs. Without a namespace `queue` is a queue of the file or a namespace that one lists; others are in `default`.
`kompass queues check` shows an example of such a file.

The same trace and options always give the same result. It is the planner of the scheduler extender that decides.")]
pub(crate) struct Args {
    /// The gang trace, a CSV file.
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Nodes of the cluster.
    #[arg(long)]
    nodes: usize,
    /// CPU of each node, thousandths.
    #[arg(long, value_name = "MILLI")]
    node_cpu_milli: u64,
    /// Memory of each node, MiB.
    #[arg(long, value_name = "MIB")]
    node_memory_mib: u64,
    /// Who may overtake the head of a queue; several are compared side by side.
    #[arg(long, value_enum, default_values_t = [Policy::Fifo, Policy::Easy])]
    policy: Vec<Policy>,
    /// Which nodes a gang gets where its queue doesn't say: single-zone-preferred, single-zone, min-fragmentation, tight or balanced; several are
    /// compared side by side.
    #[arg(long, value_name = "POLICY", default_value = "single-zone-preferred")]
    packing: Vec<Packing>,
    /// Zones that the nodes are spread over.
    #[arg(long, default_value_t = 1)]
    zones: usize,
    /// Where run times are expected from.
    #[arg(long, value_enum, default_value_t = Source::Learned)]
    run_times: Source,
    /// How much later the head of a queue may start because of all that overtake it, in the worst case, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 14_400)]
    overtake_delay_s: u32,
    /// Which gangs share a queue: `one` is for all, `trace` as the trace says; or a queue file, whose rules decide.
    #[arg(long, value_name = "one|trace|FILE", default_value = "one")]
    queues: Sharing,
    /// Write the results to this file as JSON: one object for one policy, a list for several.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the results in this file: a page of HTML that needs nothing else to be read.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    /// Nobody.
    Fifo,
    /// Gangs that delay neither it nor the next ones behind it, by expected run times (conservative backfill).
    Conservative,
    /// Gangs that don't delay it, by expected run times (EASY backfill).
    Easy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    /// From gangs that ended before.
    Learned,
    /// From the trace itself: what a perfect predictor would give.
    Perfect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Sharing {
    /// All are in one queue.
    One,
    /// As the trace says.
    Trace,
    /// By the rules of a queue file.
    File(PathBuf),
}

impl FromStr for Sharing {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "one" => Self::One,
            "trace" => Self::Trace,
            file => Self::File(file.into()),
        })
    }
}

impl Sharing {
    /// As it is written beside results.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Trace => "trace",
            Self::File(_) => "file",
        }
    }

    /// Reads the file, where there is one.
    fn read(&self) -> anyhow::Result<Queues> {
        Ok(match self {
            Self::One => Queues::One,
            Self::Trace => Queues::OfTrace,
            Self::File(path) => Queues::Ruled(rules(path)?),
        })
    }
}

fn rules(path: &Path) -> anyhow::Result<QueueTable> {
    crate::queues::read(path).with_context(|| format!("failed to use {}", path.display()))
}

/// One simulation as it is written.
#[derive(Debug, Serialize)]
struct Simulated {
    policy: Policy,
    packing: &'static str,
    run_times: Source,
    queues_by: &'static str,
    nodes: usize,
    zones: usize,
    node_cpu_milli: u64,
    node_memory_mib: u64,
    overtake_delay_bound_s: u32,
    #[serde(flatten)]
    report: Report,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            self.zones > 0,
            "nodes are in one zone at least: give --zones a number above 0"
        );
        anyhow::ensure!(self.nodes > 0, "a cluster without nodes: give --nodes a number above 0");
        let gangs = read(&self.trace)?;
        let queues = self.queues.read()?;
        let progress = Progress::auto();
        let (mut names, mut results) = (Vec::new(), Vec::new());
        let packings = self.packing.iter().copied();
        let runs: Vec<(Policy, Packing)> = packings
            .flat_map(|packing| self.policy.iter().map(move |&policy| (policy, packing)))
            .collect();
        for (policy, packing) in runs {
            let name = self.name(policy, packing);
            let step = progress.step(format!("Simulating {} gangs, policy {name}", gangs.len()), None);
            let report =
                kompass_simulation::simulate(&gangs, &self.settings(policy, packing, queues.clone()), |ended| {
                    step.count(ended as u64, gangs.len() as u64, "gangs");
                });
            step.done();
            results.push(Simulated {
                policy,
                packing: packing.as_str(),
                run_times: self.run_times,
                queues_by: self.queues.as_str(),
                nodes: self.nodes,
                zones: self.zones,
                node_cpu_milli: self.node_cpu_milli,
                node_memory_mib: self.node_memory_mib,
                overtake_delay_bound_s: self.overtake_delay_s,
                report,
            });
            names.push(name);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let reports: Vec<&Report> = results.iter().map(|result| &result.report).collect();
        println!("{}\n{}", render(&names, &reports), terminal::waits(&names, &reports));
        if queues::are_told(&reports) {
            println!("{}", queues::text(&names, &reports));
        }
        if let Some(path) = &self.json {
            write(path, &json(&results)?)?;
        }
        if let Some(path) = &self.html {
            write(path, &self.page(&names, &reports))?;
            println!("drawn in {}", path.display());
        }
        let violations: u64 = results.iter().map(|result| result.report.violations).sum();
        anyhow::ensure!(
            violations == 0,
            "{violations} violations of what must always hold: this is a bug in KOMPASS, please report it with the trace"
        );
        Ok(ExitCode::SUCCESS)
    }

    fn page(&self, names: &[&str], reports: &[&Report]) -> String {
        let trace = self
            .trace
            .file_name()
            .unwrap_or(self.trace.as_os_str())
            .to_string_lossy();
        let cpu = format!("{} CPU", self.node_cpu_milli as f64 / 1_000.0);
        let memory = format!("{} GiB", self.node_memory_mib as f64 / 1_024.0);
        let run_times = match self.run_times {
            Source::Learned => "learned from gangs that ended before",
            Source::Perfect => "taken from the trace, as a perfect predictor would tell them",
        };
        let queues = match &self.queues {
            Sharing::One => "one for all gangs".to_owned(),
            Sharing::Trace => "as the trace says".to_owned(),
            Sharing::File(path) => format!("by the rules of {}", path.display()),
        };
        let packings = self.packing.iter().map(|packing| packing.as_str());
        let packings = packings.collect::<Vec<_>>().join(", ");
        let settings = [
            ("Trace", trace.clone().into_owned()),
            ("Nodes", table::grouped(self.nodes as f64)),
            ("CPU of each node", cpu),
            ("Memory of each node", memory),
            ("Compared", names.join("; ")),
            ("Packing", packings),
            ("Zones", self.zones.to_string()),
            ("Expected run times", run_times.to_owned()),
            ("Queues", queues),
            (
                "Overtaking may cost a head",
                table::seconds(f64::from(self.overtake_delay_s)),
            ),
            ("Version of KOMPASS", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        let page = Page {
            trace: &trace,
            settings: &settings,
            compared: Compared {
                names,
                reports,
                nodes: self.nodes,
                node_cpu_milli: self.node_cpu_milli,
            },
        };
        page.render()
    }

    /// What a run is called beside the others.
    fn name(&self, policy: Policy, packing: Packing) -> String {
        let value = clap::ValueEnum::to_possible_value(&policy);
        let policy = value.map_or_else(String::new, |value| value.get_name().to_owned());
        match (self.policy.len(), self.packing.len()) {
            (_, 1) => policy,
            (1, _) => packing.as_str().to_owned(),
            _ => format!("{policy}, {}", packing.as_str()),
        }
    }

    fn settings(&self, policy: Policy, packing: Packing, queues: Queues) -> Settings {
        Settings {
            nodes: self.nodes,
            zones: self.zones,
            packing,
            node_cpu_milli: self.node_cpu_milli,
            node_memory_mib: self.node_memory_mib,
            backfill: match policy {
                Policy::Fifo => Backfill::Off,
                Policy::Conservative => Backfill::Conservative,
                Policy::Easy => Backfill::Easy,
            },
            backfill_delay_ms: i64::from(self.overtake_delay_s) * 1_000,
            estimates: match self.run_times {
                Source::Learned => Estimates::Learned,
                Source::Perfect => Estimates::Perfect,
            },
            queues,
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Gang>> {
    let file = File::open(path).with_context(|| format!("failed to open the trace {}", path.display()))?;
    trace::read(BufReader::new(file)).with_context(|| format!("failed to use {}", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn json(results: &[Simulated]) -> anyhow::Result<String> {
    let text = match results {
        [one] => serde_json::to_string_pretty(one)?,
        several => serde_json::to_string_pretty(several)?,
    };
    Ok(text + "\n")
}

/// A column a policy, so that they stand side by side. Violations are told as the error that they are.
fn render(names: &[&str], reports: &[&Report]) -> String {
    let header: Vec<&str> = std::iter::once("policy").chain(names.iter().copied()).collect();
    let figures = FIGURES.iter().filter(|figure| figure.better != Better::Zero);
    let rows: Vec<Vec<String>> = figures
        .map(|figure| {
            let cells = reports.iter().map(|report| figure.text(report));
            std::iter::once(figure.name.to_owned()).chain(cells).collect()
        })
        .collect();
    table::render(&header, &rows)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    const HEADER: &str = "submit_time_s,run_time_s,profile,queue,driver_cpu_milli,driver_memory_mib,executors,\
                          executor_cpu_milli,executor_memory_mib\n";

    fn simulate(trace: &str, more: &[&str]) -> (anyhow::Result<ExitCode>, serde_json::Value) {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("trace.csv"), folder.path().join("out.json"));
        std::fs::write(&input, trace).unwrap();
        let paths = [
            "simulate",
            "--trace",
            input.to_str().unwrap(),
            "--json",
            output.to_str().unwrap(),
        ];
        let cluster = ["--nodes", "1", "--node-cpu-milli", "4000", "--node-memory-mib", "8192"];
        let command = [&paths[..], &cluster[..], more].concat();
        let result = Cli::try_parse_from(command).unwrap().args.run();
        let written = std::fs::read_to_string(output).unwrap_or_default();
        (result, serde_json::from_str(&written).unwrap_or_default())
    }

    #[test]
    fn policies_stand_side_by_side() {
        let trace = format!(
            "{HEADER}0,100,a,q,1000,1024,2,1000,1024\n10,50,b,q,1000,1024,3,1000,1024\n20,5,c,q,1000,1024,0,1,1\n"
        );
        let (result, written) = simulate(&trace, &["--run-times", "perfect"]);
        result.unwrap();
        assert_eq!(
            (written[0]["policy"].as_str(), written[1]["policy"].as_str()),
            (Some("fifo"), Some("easy"))
        );
        assert_eq!(
            (written[0]["wait_max_s"].as_f64(), written[1]["wait_max_s"].as_f64()),
            (Some(130.0), Some(90.0))
        );
        assert_eq!(written[1]["violations"], 0);
        let (_, one) = simulate(&trace, &["--policy", "easy"]);
        assert_eq!(one["policy"], "easy", "one policy is one object");
    }

    #[test]
    fn results_are_drawn_where_they_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = folder.path().join("out.html");
        let trace = format!("{HEADER}0,100,a,q,1000,1024,2,1000,1024\n");
        let (result, _) = simulate(&trace, &["--html", drawn.to_str().unwrap()]);
        result.unwrap();
        let page = std::fs::read_to_string(&drawn).unwrap();
        assert!(
            page.contains("Simulation of trace.csv") && page.contains("<dd>8 GiB</dd>"),
            "{page}"
        );
        let nowhere = folder.path().join("missing/out.html");
        let (result, _) = simulate(&trace, &["--html", nowhere.to_str().unwrap()]);
        let text = format!("{:#}", result.unwrap_err());
        assert!(
            text.starts_with("failed to write ") && text.contains("missing/out.html"),
            "{text}"
        );
    }

    #[test]
    fn a_queue_file_decides_and_its_queues_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (rules, drawn) = (folder.path().join("queues.yaml"), folder.path().join("out.html"));
        let file = "{version: 1, queues: [{name: etl, weight: 3, limit: {cpu: 2}}, {name: ml, namespaces: [team-ml]}]}";
        std::fs::write(&rules, file).unwrap();
        let lines = "0,100,a,etl,1000,1024,1,1000,1024\n0,10,a,etl,1000,1024,1,1000,1024\n0,10,a,etl,1000,1,2,1000,1\n\
                     0,10,b,team-ml,1000,1024,0,1,1\n0,10,b,who,1000,1024,0,1,1\n";
        let more = ["--queues", rules.to_str().unwrap(), "--html", drawn.to_str().unwrap()];
        let (result, written) = simulate(
            &format!("{HEADER}{lines}"),
            &[&more[..], &["--policy", "fifo"]].concat(),
        );
        result.unwrap();
        let queues = &written["queues"];
        assert_eq!(
            (&written["queues_by"], &written["over_limit"]),
            (&"file".into(), &1.into())
        );
        assert_eq!(
            (&queues["etl"]["gangs"], &queues["etl"]["weight"]),
            (&2.into(), &3.into())
        );
        assert_eq!(
            (&queues["etl"]["wait_p95_s"], &queues["etl"]["wait_mean_s"]),
            (&0.0.into(), &50.0.into())
        );
        assert_eq!(
            (&queues["ml"]["gangs"], &queues["default"]["gangs"]),
            (&1.into(), &1.into())
        );
        let page = std::fs::read_to_string(&drawn).unwrap();
        for words in [
            "<h2>Queues</h2>",
            "CPU by queue, fifo",
            "etl (weight 3, limit 50.0 %)",
            "by the rules of ",
        ] {
            assert!(page.contains(words), "{words} is missing in {page}");
        }
        std::fs::write(&rules, "{version: 1, queues: [{name: etl, weight: 0}]}").unwrap();
        let (result, _) = simulate(&format!("{HEADER}{lines}"), &more);
        let text = format!("{:#}", result.unwrap_err());
        assert!(text.contains("queues.yaml: ") && text.contains("weight 0"), "{text}");
    }

    #[test]
    fn a_trace_that_is_none_is_refused_with_its_place() {
        let (result, _) = simulate(&format!("{HEADER}5,-1,a,q,1,1,0,1,1\n"), &[]);
        let text = format!("{:#}", result.unwrap_err());
        assert!(
            text.contains("trace.csv") && text.contains("line 2: run_time_s"),
            "{text}"
        );
    }

    #[test]
    fn a_table_has_a_column_for_each_policy() {
        let trace = trace::read(format!("{HEADER}0,3700,a,q,1,1,0,1,1\n").as_bytes()).unwrap();
        let arguments = [
            "simulate",
            "--trace",
            "x",
            "--nodes",
            "2",
            "--node-cpu-milli",
            "1",
            "--node-memory-mib",
            "1",
        ];
        let args = Cli::try_parse_from(arguments).unwrap().args;
        let simulated = |policy| {
            let settings = args.settings(policy, Packing::default(), Queues::One);
            kompass_simulation::simulate(&trace, &settings, |_| {})
        };
        let (fifo, easy) = (simulated(Policy::Fifo), simulated(Policy::Easy));
        let text = render(&["fifo", "easy"], &[&fifo, &easy]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(lines[0], ["policy", "fifo", "easy"]);
        assert_eq!(lines[1], ["gangs", "1", "1"]);
        assert!(lines.contains(&vec!["utilisation", "50.0 %", "50.0 %"]), "{text}");
    }
}
