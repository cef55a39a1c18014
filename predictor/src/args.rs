//! Command line options, and the configuration that they make.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use kompass_capacity::budget::Limits;
use kompass_capacity::newsvendor::Prices;
use kompass_capacity::{Shape, shape};
use kompass_forecast::wall::{self, Wall};
use kompass_kube::lease;
use kompass_prometheus::{Address, Client, Options as PrometheusOptions};
use kompass_service::args::{Admin, DurationError, End, Log, duration};
use kompass_service::shutdown::Timing as Ending;
use kompass_simulation::capacity::Timing;

use crate::act::options::Options;
use crate::settings::Settings;

mod act_args;
mod expander_args;

pub use self::act_args::{ActArgs, Error as ActError, TextError};
pub use self::expander_args::ExpanderArgs;

const EXAMPLES: &str = "\
Examples:
  kompass-predictor --prometheus http://prometheus.monitoring:9090 --node-cpu-milli 8000 --node-memory-mib 65536
  kompass-predictor --prometheus http://localhost:9090 --node-cpu-milli 8000 --node-memory-mib 65536 \
--node-price 0.40 --wait-price 4 --max-nodes 20 --log-format text
  kompass-predictor --prometheus http://prometheus.monitoring:9090 --node-cpu-milli 8000 --node-memory-mib 65536 \
--mode act --lease kompass/kompass-predictor --act-with floors --node-hours-per-day 48
";

/// Learns from the past how long jobs run, and how many empty nodes are worth their money.
#[derive(Debug, Clone, Parser)]
#[command(name = "kompass-predictor", version, after_help = EXAMPLES)]
pub struct Args {
    /// The Prometheus that knows the past, or what speaks its API; may have a name and a password.
    #[arg(long, env = "KOMPASS_PROMETHEUS", value_name = "URL")]
    pub prometheus: Address,
    /// File with a bearer token for Prometheus.
    #[arg(long, env = "KOMPASS_PROMETHEUS_TOKEN_FILE", value_name = "FILE")]
    pub prometheus_token_file: Option<PathBuf>,
    /// File with the certificates (PEM) that sign that of Prometheus; without it, those that the machine trusts.
    #[arg(long, env = "KOMPASS_PROMETHEUS_CA_FILE", value_name = "FILE")]
    pub prometheus_ca_file: Option<PathBuf>,
    /// Matchers that every series must meet, such as `cluster="blue"`.
    #[arg(
        long,
        env = "KOMPASS_PROMETHEUS_SELECTOR",
        value_name = "MATCHERS",
        default_value = ""
    )]
    pub prometheus_selector: String,
    /// How much of the past is learned from.
    #[arg(long, value_parser = long_duration, default_value = "42d")]
    pub since: Duration,
    /// What a node offers to pods, thousandths of a CPU.
    #[arg(long, value_name = "MILLI")]
    pub node_cpu_milli: u64,
    /// What a node offers to pods, MiB.
    #[arg(long, value_name = "MIB")]
    pub node_memory_mib: u64,
    /// How long a node boots, seconds; 10 s pass before.
    #[arg(long, value_name = "SECONDS", default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub boot_s: u32,
    /// How often it learns anew.
    #[arg(long, value_parser = long_duration, default_value = "24h")]
    pub train_every: Duration,
    /// What a node costs in an hour, in any money.
    #[arg(long, value_name = "MONEY", value_parser = money, default_value = "1")]
    pub node_price: u64,
    /// What it costs, in the same money, that a node's worth of work waits for an hour.
    #[arg(long, value_name = "MONEY", value_parser = money, default_value = "10")]
    pub wait_price: u64,
    /// No more empty nodes are ever held.
    #[arg(long, value_name = "NODES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub max_nodes: u32,
    /// Hours of empty nodes in any 24 hours at most.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub node_hours_per_day: Option<u64>,
    /// Time zone of the users' working hours, such as Europe/Berlin; without it, UTC.
    #[arg(long, env = "KOMPASS_TIME_ZONE", value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// File with the users' holidays: one date a line, such as 2026-12-25, and after # what you like.
    #[arg(long, env = "KOMPASS_HOLIDAYS", value_name = "FILE")]
    pub holidays: Option<PathBuf>,
    /// Whether to tell only what would be held (observe), also to recommend it (recommend), or to hold it (act).
    #[arg(long, env = "KOMPASS_PREDICTOR_MODE", value_enum, default_value_t = Mode::Observe)]
    pub mode: Mode,
    /// Lease in Kubernetes, so that of several replicas one alone recommends; without it, no Kubernetes is needed.
    #[arg(long, env = "KOMPASS_PREDICTOR_LEASE", value_name = "NAMESPACE/NAME", value_parser = lease_name)]
    pub lease: Option<LeaseName>,
    /// Name of this replica in the lease: the pod's name, which is the default.
    #[arg(long, env = "HOSTNAME", default_value = "kompass-predictor")]
    pub identity: String,
    /// Holding nodes.
    #[command(flatten, next_help_heading = "Holding nodes (--mode act)")]
    pub act: ActArgs,
    /// The expander.
    #[command(flatten, next_help_heading = "Expander of cluster-autoscaler")]
    pub expander: ExpanderArgs,
    /// Look at what schedules start in the cluster, too: it is certain to come.
    #[arg(long, env = "KOMPASS_PREDICTOR_SCHEDULES")]
    pub schedules: bool,
    /// Kubeconfig file for the lease and schedules; without it the pod's service account is used.
    #[arg(long, env = "KOMPASS_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Folder to keep what was learned from in, so that a start without Prometheus knows it; one for each replica.
    #[arg(long, env = "KOMPASS_PREDICTOR_MODEL_DIR", value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
    /// Address of /v1; port 0 takes any free one.
    #[arg(long, env = "KOMPASS_LISTEN", default_value = "0.0.0.0:8890")]
    pub listen: SocketAddr,
    /// Probes and metrics.
    #[command(flatten)]
    pub admin: Admin,
    /// Logs.
    #[command(flatten)]
    pub log: Log,
    /// The end.
    #[command(flatten)]
    pub end: End,
}

/// Which lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseName {
    namespace: String,
    name: String,
}

/// Why a text names no lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read {0:?} as a lease: write its namespace and its name, such as kompass/kompass-predictor")]
pub struct LeaseNameError(String);

/// What decisions are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// To look at.
    Observe,
    /// To be followed, by whoever reads the metric `kompass_predictor_recommended_nodes`.
    Recommend,
    /// To be held, where the newest backtest says that it pays.
    Act,
}

/// Why options can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a node.
    #[error("failed to use --node-cpu-milli and --node-memory-mib: give what a node offers to pods")]
    Shape(#[from] shape::Error),
    /// Too short to learn anything from.
    #[error("failed to use --since {0:?}: nothing is learned from less than 24h")]
    Since(Duration),
    /// Prometheus serves others, too.
    #[error("failed to use --train-every {0:?}: it must be 10m or more")]
    TrainEvery(Duration),
    /// A file can't be read.
    #[error("failed to read {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Nothing can be kept there.
    #[error("failed to use --model-dir {path}: it is no folder; make it", path = .0.display())]
    ModelDir(PathBuf),
    /// No such time zone, or no dates.
    #[error("failed to use --time-zone or --holidays")]
    Wall(#[from] wall::Error),
    /// Prometheus can't be asked so.
    #[error("failed to use the options of Prometheus")]
    Prometheus(#[from] kompass_prometheus::Error),
    /// Nodes can't be held so.
    #[error("failed to use --mode act")]
    Act(#[from] act_args::Error),
}

/// Why a text is no sum of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read {0:?} as money: write a number from 0 to 1000000 such as 0.4")]
pub struct MoneyError(String);

/// What the service runs with.
#[derive(Clone)]
pub struct Config {
    /// For the API.
    pub listen: SocketAddr,
    /// For probes and metrics.
    pub admin_listen: SocketAddr,
    /// Who is asked for all of the past.
    pub whole: Client,
    /// Who is asked for the last day.
    pub lately: Client,
    /// How much of the past is learned from.
    pub since: Duration,
    /// How often.
    pub train_every: Duration,
    /// What decisions are for.
    pub mode: Mode,
    /// Only who holds this lease recommends.
    pub lease: Option<lease::Config>,
    /// How what is decided is held; none: it is only told.
    pub act: Option<Options>,
    /// Answers cluster-autoscaler, which of its groups takes whole gangs.
    pub expander: Option<kompass_expander::Config>,
    /// Whether to look at schedules.
    pub schedules: bool,
    /// For the lease and schedules; `None` in a pod.
    pub kubeconfig: Option<PathBuf>,
    /// Where what was learned from is kept.
    pub model_dir: Option<PathBuf>,
    /// What decides.
    pub settings: Settings,
    /// The end.
    pub ending: Ending,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Config")
            .field("listen", &self.listen)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Node-milliseconds.
const NODE_HOUR: u64 = 3_600_000;
/// For what is asked at each tick: half of one.
const LATELY_LIMIT: Duration = Duration::from_secs(150);

impl Args {
    /// Checks the options and reads the files that they name.
    pub fn resolve(self) -> Result<Config, Error> {
        if self.since < Duration::from_hours(24) {
            return Err(Error::Since(self.since));
        }
        if self.train_every < Duration::from_mins(10) {
            return Err(Error::TrainEvery(self.train_every));
        }
        if let Some(folder) = self.model_dir.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(Error::ModelDir(folder.clone()));
        }
        let read = |path: PathBuf| std::fs::read(&path).map_err(|source| Error::File { path, source });
        let token = self.prometheus_token_file.map(read).transpose()?;
        let whole = PrometheusOptions {
            token: token.map(|token| String::from_utf8_lossy(&token).into_owned()),
            authority_pem: self.prometheus_ca_file.map(read).transpose()?,
            selector: self.prometheus_selector,
            ..PrometheusOptions::default()
        };
        let lately = PrometheusOptions {
            total_limit: LATELY_LIMIT,
            ..whole.clone()
        };
        let mut wall = self
            .time_zone
            .as_deref()
            .map(Wall::in_zone)
            .transpose()?
            .unwrap_or_default();
        if let Some(holidays) = self.holidays.map(read).transpose()? {
            wall = wall.with_holidays(&String::from_utf8_lossy(&holidays))?;
        }
        let settings = Settings {
            shape: Shape::new(self.node_cpu_milli, self.node_memory_mib)?,
            timing: Timing::new(i64::from(self.boot_s) * 1_000),
            prices: Prices {
                node_hour: self.node_price,
                wait_hour: self.wait_price,
            },
            nodes_max: self.max_nodes,
            limits: self.node_hours_per_day.map(|hours| Limits {
                hour_node_ms: u64::from(self.max_nodes) * NODE_HOUR,
                day_node_ms: hours * NODE_HOUR,
            }),
            wall: wall.into(),
        };
        let lease = self
            .lease
            .map(|lease| lease::Config::new(&lease.namespace, &lease.name, &self.identity));
        let act = (self.mode == Mode::Act)
            .then(|| self.act.resolve(lease.as_ref()))
            .transpose()?;
        Ok(Config {
            act,
            expander: self.expander.resolve(),
            listen: self.listen,
            admin_listen: self.admin.admin_listen,
            whole: Client::new(self.prometheus.clone(), whole)?,
            lately: Client::new(self.prometheus, lately)?,
            since: self.since,
            train_every: self.train_every,
            mode: self.mode,
            lease,
            schedules: self.schedules,
            kubeconfig: self.kubeconfig,
            model_dir: self.model_dir,
            settings,
            ending: self.end.timing(),
        })
    }
}

/// Days too, as pasts are long.
fn long_duration(text: &str) -> Result<Duration, DurationError> {
    match text.strip_suffix('d').map(|days| duration(&format!("{days}h"))) {
        Some(Ok(hours)) if hours < Duration::from_hours(10_000) => Ok(hours * 24),
        _ => duration(text),
    }
}

fn lease_name(text: &str) -> Result<LeaseName, LeaseNameError> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => Ok(LeaseName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        _ => Err(LeaseNameError(text.to_owned())),
    }
}

/// Millionths.
fn money(text: &str) -> Result<u64, MoneyError> {
    let amount: f64 = text.parse().map_err(|_| MoneyError(text.to_owned()))?;
    if !(0.0..=1e6).contains(&amount) {
        return Err(MoneyError(text.to_owned()));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1e12")]
    Ok((amount * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: [&str; 7] = [
        "kompass-predictor",
        "--prometheus",
        "http://p:9090",
        "--node-cpu-milli",
        "8000",
        "--node-memory-mib",
        "65536",
    ];

    fn parse(more: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&LEAST, more].concat())
    }

    #[test]
    fn the_defaults_are_usable() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.mode, Mode::Observe);
        let config = args.resolve().unwrap();
        assert_eq!(config.since, Duration::from_hours(42 * 24));
        assert_eq!(config.settings.prices.wait_hour, 10_000_000);
        assert_eq!(config.settings.timing.ready_ms, 160_000);
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        for (more, expected) in [
            (["--since", "23h"], "24h"),
            (["--train-every", "9m"], "10m"),
            (["--node-cpu-milli", "0"], "what a node offers"),
            (["--prometheus-token-file", "not/there"], "not/there"),
            (["--prometheus-ca-file", "not/there"], "not/there"),
            (["--holidays", "not/there"], "not/there"),
            (["--time-zone", "Mars/Phobos"], "--time-zone"),
            (["--model-dir", "not/there"], "not/there"),
            (["--mode", "act"], "--mode act"),
        ] {
            let least: Vec<&str> = if more[0] == "--node-cpu-milli" {
                vec![LEAST[0], LEAST[1], LEAST[2], LEAST[5], LEAST[6]]
            } else {
                LEAST.to_vec()
            };
            let args = Args::try_parse_from([&least, &more[..]].concat()).unwrap();
            let error = args.resolve().unwrap_err().to_string();
            assert!(error.contains(expected), "{more:?}: {error}");
        }
        for more in [
            ["--since", "3"],
            ["--since", "99999999999999999d"],
            ["--node-price", "-1"],
            ["--node-price", "NaN"],
            ["--wait-price", "1e9"],
            ["--max-nodes", "1001"],
            ["--boot-s", "0"],
            ["--lease", "kompass"],
            ["--lease", "kompass/"],
            ["--lease", "a/b/c"],
            ["--mode", "magic"],
            ["--act-with", "magic"],
        ] {
            assert!(parse(&more).is_err(), "{more:?}");
        }
    }

    #[test]
    fn without_a_lease_no_cluster_is_needed() {
        assert!(parse(&[]).unwrap().resolve().unwrap().lease.is_none());
        let args = parse(&["--lease", "kompass/predictor", "--identity", "one"]).unwrap();
        let lease = args.resolve().unwrap().lease.unwrap();
        assert_eq!(
            (&*lease.namespace, &*lease.name, &*lease.identity),
            ("kompass", "predictor", "one")
        );
    }

    #[test]
    fn every_example_parses() {
        let commands: Vec<&str> = EXAMPLES.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(commands.len(), 3);
        for command in commands {
            Args::try_parse_from(command.split_whitespace()).unwrap();
        }
    }
}
