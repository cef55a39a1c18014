//! Command line options, and the configuration that they make.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use kompass_core::names;
use kompass_kube::lease;
use kompass_planner::Packing;
use kompass_service::args::{Admin, End, Log, duration};
use kompass_service::shutdown::Timing;

use crate::bind;
use crate::scheduler_config;
use crate::state::Limits;

const EXAMPLES: &str = "\
Examples:
  kompass-scheduler-extender --kubeconfig admin.conf --lease false --log-format text
  kompass-scheduler-extender --queues queues.yaml --backfill easy
  kompass-scheduler-extender print-scheduler-config --url http://127.0.0.1:8888
";

fn examples() -> String {
    format!("{EXAMPLES}\nA queue file:\n{}", kompass_queues::EXAMPLE)
}

/// Plans Spark gangs, opens their gates and answers kube-scheduler.
#[derive(Debug, Clone, Parser)]
#[command(name = "kompass-scheduler-extender", version, args_conflicts_with_subcommands = true, after_help = examples())]
pub struct Cli {
    /// Something else than serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the service.
    #[command(flatten)]
    pub serve: Args,
}

/// Other things than serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Print the configuration of the kube-scheduler that runs beside the extender.
    PrintSchedulerConfig(SchedulerConfigArgs),
}

/// Options of the service.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Kubeconfig file; without it the pod's service account is used.
    #[arg(long, env = "KOMPASS_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Address for kube-scheduler and of /v1/gangs and /v1/queues; port 0 takes any free one. No authentication: keep it on loopback
    /// or behind a network policy.
    #[arg(long, env = "KOMPASS_LISTEN", default_value = "127.0.0.1:8888")]
    pub listen: SocketAddr,
    /// Address of /v1/gangs and /v1/queues alone, which change nothing; without it they are at --listen only. In a pod that
    /// one is on loopback, and this one what the Service leads to.
    #[arg(long, env = "KOMPASS_VIEW_LISTEN")]
    pub view_listen: Option<SocketAddr>,
    /// Administrative server.
    #[command(flatten)]
    pub admin: Admin,
    /// Logs.
    #[command(flatten)]
    pub log: Log,
    /// The end.
    #[command(flatten)]
    pub end: End,
    /// Rules of queues: weights, guarantees, limits, namespaces. A YAML file, followed while the service runs: what is
    /// changed is in force some seconds later, and what is wrong is refused. `kompass queues check FILE` tells before.
    #[arg(long, env = "KOMPASS_QUEUES", value_name = "FILE")]
    pub queues: Option<PathBuf>,
    /// Namespace of KOMPASS's own objects: lease, stand-ins, markers.
    #[arg(long, env = "KOMPASS_NAMESPACE", default_value = names::DEFAULT_NAMESPACE)]
    pub namespace: String,
    /// Plan only while holding the lease; `false` only where there is a single replica for certain.
    #[arg(long, env = "KOMPASS_LEASE", default_value_t = true, action = clap::ArgAction::Set)]
    pub lease: bool,
    /// Name of this replica in the lease. A restart under the same name takes the lease on at once, so it must be the
    /// pod's name, which is the default.
    #[arg(long, env = "HOSTNAME", default_value = "kompass-scheduler-extender")]
    pub identity: String,
    /// The lease of the kube-schedulers beside the replicas. While one leads in another pod, that pod's extender plans: what
    /// is not planned before (executors beyond the minimum, client mode) is placed only where scheduler and planner lead
    /// together.
    #[arg(long, env = "KOMPASS_SCHEDULER_LEASE", value_name = "NAME")]
    pub scheduler_lease: Option<String>,
    /// Others take over this long after the last sign of life. Whole seconds.
    #[arg(long, value_parser = duration, default_value = "15s")]
    pub lease_duration: Duration,
    /// This replica stops planning this long after its last renewal.
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub lease_renew_deadline: Duration,
    /// Between two attempts to get or renew the lease.
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub lease_retry: Duration,
    /// From a Bind's arrival to its answer; below the httpTimeout in the scheduler's configuration (5 s).
    #[arg(long, value_parser = duration, default_value = "3s")]
    pub bind_deadline: Duration,
    /// Binds that are written at once.
    #[arg(long, default_value_t = 64)]
    pub binds: usize,
    /// How long Filter waits at most while all Binds are taken.
    #[arg(long, value_parser = duration, default_value = "500ms")]
    pub filter_brake: Duration,
    /// Image of stand-ins and markers: anything that sleeps.
    #[arg(long, env = "KOMPASS_PAUSE_IMAGE", default_value = "registry.k8s.io/pause:3.10")]
    pub pause_image: String,
    /// How long a marker holds an empty node of a plan at most.
    #[arg(long, value_parser = duration, default_value = "10m")]
    pub marker_life: Duration,
    /// Hold empty nodes of a plan by markers.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub markers: bool,
    /// How long a gang lacks room before nodes are asked for.
    #[arg(long, value_parser = duration, default_value = "1s")]
    pub demand_after: Duration,
    /// How long nodes are asked for at once; then stand-ins end, with or without KOMPASS.
    #[arg(long, value_parser = duration, default_value = "10m")]
    pub demand_life: Duration,
    /// Pause after a demand that brought nothing.
    #[arg(long, value_parser = duration, default_value = "5m")]
    pub demand_pause: Duration,
    /// Demands at once in one queue; 0 turns demands off.
    #[arg(long, default_value_t = 2)]
    pub demands_per_queue: usize,
    /// Demands at once in all.
    #[arg(long, default_value_t = 8)]
    pub demands: usize,
    /// Stand-ins in all demands together; nothing is asked for a larger gang.
    #[arg(long, default_value_t = 2_000)]
    pub demand_pods: u64,
    /// A driver without a profile is planned alone after this long.
    #[arg(long, value_parser = duration, default_value = "3m")]
    pub profile_hold: Duration,
    /// How many gangs of other queues may start before one that was passed over for lack of room.
    #[arg(long, default_value_t = 16)]
    pub overtakes: u64,
    /// Who may overtake the head of a queue while it waits for room.
    #[arg(long, value_enum, default_value_t = Backfill::Off)]
    pub backfill: Backfill,
    /// Which nodes a gang gets, of those that have room for it: single-zone-preferred, single-zone, min-fragmentation,
    /// tight or balanced.
    #[arg(long, value_name = "POLICY", default_value = "single-zone-preferred")]
    pub packing: Packing,
    /// How much later a head may start because of all that overtake it, as long as none of them runs three times as
    /// long as nine of ten gangs like it.
    #[arg(long, value_parser = duration, default_value = "4h")]
    pub backfill_delay: Duration,
    /// Drivers per queue that may be without a plan after their gate was opened; with more, no gate is opened.
    #[arg(long, default_value_t = 8)]
    pub unplanned: usize,
    /// Executors reserved at least for a job with dynamic allocation.
    #[arg(long, default_value_t = 1)]
    pub dynamic_floor: u64,
    /// Slots of a job of fixed size are given up once it has created no executor for so long, and ten times as long while
    /// it has created none at all: its code asks for fewer than its configuration. Ten pauses between batches
    /// (`spark.kubernetes.allocation.batch.delay`) if that is more. Room that is set aside for a run in client mode is given
    /// up after the same time without a new executor.
    #[arg(long, value_parser = duration, default_value = "1m")]
    pub unclaimed_after: Duration,
}

/// Who may overtake the head of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Backfill {
    /// Nobody: strictly in order.
    Off,
    /// Gangs that are expected to delay neither the head nor the next ones behind it.
    Conservative,
    /// Gangs that are expected to end before the head can start, or leave it enough room (EASY).
    Easy,
}

/// Options of the scheduler's configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct SchedulerConfigArgs {
    /// Where the extender listens.
    #[arg(long, default_value = "http://127.0.0.1:8888")]
    pub url: String,
    /// Kubeconfig of the scheduler; without it its pod's service account is used.
    #[arg(long)]
    pub kubeconfig: Option<String>,
    /// Namespace of the scheduler's own lease; without it there is no leader election.
    #[arg(long)]
    pub lease_namespace: Option<String>,
    /// How long the scheduler waits for the extender.
    #[arg(long, value_parser = duration, default_value = "5s")]
    pub http_timeout: Duration,
}

/// Why options can't be used together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too short to write and confirm a Bind.
    #[error("failed to use --bind-deadline {0:?}: a Bind needs more than {limit:?}", limit = bind::LEAST_TIME)]
    BindDeadline(Duration),
    /// Kube-scheduler would give Filter up.
    #[error("failed to use --filter-brake {0:?}: it must be shorter than --bind-deadline")]
    Brake(Duration),
    /// Nothing could be bound.
    #[error("failed to use --binds 0: at least one Bind must be let through")]
    Binds,
}

/// What the service runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Kubeconfig file, `None` in a pod.
    pub kubeconfig: Option<PathBuf>,
    /// For kube-scheduler.
    pub listen: SocketAddr,
    /// For people.
    pub view_listen: Option<SocketAddr>,
    /// For probes and metrics.
    pub admin_listen: SocketAddr,
    /// The queue file.
    pub queues: Option<PathBuf>,
    /// `None`: no lease.
    pub lease: Option<lease::Config>,
    /// Limits of the edge.
    pub limits: Limits,
    /// Limits of the planner.
    pub planner: kompass_planner::Config,
    /// The end.
    pub timing: Timing,
    /// Our name in events.
    pub identity: String,
}

impl Args {
    /// Checks the options against each other.
    pub fn resolve(self) -> Result<Config, Error> {
        if self.bind_deadline <= bind::LEAST_TIME {
            return Err(Error::BindDeadline(self.bind_deadline));
        }
        if self.filter_brake >= self.bind_deadline {
            return Err(Error::Brake(self.filter_brake));
        }
        if self.binds == 0 {
            return Err(Error::Binds);
        }
        let lease = self.lease.then(|| lease::Config {
            duration: self.lease_duration,
            renew_deadline: self.lease_renew_deadline,
            retry: self.lease_retry,
            beside: self.scheduler_lease,
            ..lease::Config::new(&self.namespace, names::PLANNER_LEASE, &self.identity)
        });
        let planner = kompass_planner::Config {
            profile_hold_ms: millis(self.profile_hold),
            overtakes_max: self.overtakes,
            backfill: match self.backfill {
                Backfill::Off => kompass_planner::Backfill::Off,
                Backfill::Conservative => kompass_planner::Backfill::Conservative,
                Backfill::Easy => kompass_planner::Backfill::Easy,
            },
            packing: self.packing,
            backfill_delay_ms: millis(self.backfill_delay),
            unplanned_max: self.unplanned,
            dynamic_floor: self.dynamic_floor,
            unclaimed_after_ms: millis(self.unclaimed_after),
            demand_after_ms: millis(self.demand_after),
            demand_ms: millis(self.demand_life),
            demand_pause_ms: millis(self.demand_pause),
            demands_per_queue: self.demands_per_queue,
            demands_max: self.demands,
            demand_pods_max: self.demand_pods,
            markers: self.markers,
            ..kompass_planner::Config::default()
        };
        let limits = Limits {
            namespace: self.namespace,
            binds: self.binds,
            bind_deadline: self.bind_deadline,
            brake: self.filter_brake,
            pause_image: self.pause_image,
            marker_life: self.marker_life,
            ..Limits::default()
        };
        Ok(Config {
            kubeconfig: self.kubeconfig,
            listen: self.listen,
            view_listen: self.view_listen,
            admin_listen: self.admin.admin_listen,
            queues: self.queues,
            lease,
            limits,
            planner,
            timing: self.end.timing(),
            identity: self.identity,
        })
    }
}

impl SchedulerConfigArgs {
    /// The configuration asked for.
    pub fn render(self) -> String {
        scheduler_config::render(&scheduler_config::Options {
            url: self.url,
            kubeconfig: self.kubeconfig,
            lease_namespace: self.lease_namespace,
            http_timeout: self.http_timeout,
        })
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from([&["kompass-scheduler-extender"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_defaults_are_usable() {
        let config = parse(&[]).serve.resolve().unwrap();
        assert_eq!(config.limits.namespace, "kompass");
        assert_eq!(config.lease.unwrap().name, "kompass-planner");
        assert_eq!(config.planner, kompass_planner::Config::default());
        assert!(config.limits.bind_deadline < scheduler_config::Options::new("").http_timeout);
    }

    #[test]
    fn contradictions_are_refused() {
        for arguments in [["--bind-deadline", "1s"], ["--filter-brake", "3s"], ["--binds", "0"]] {
            let error = parse(&arguments).serve.resolve().unwrap_err();
            assert!(error.to_string().contains(arguments[0]), "{error}");
        }
    }

    #[test]
    fn backfill_is_switched_on_with_its_bound() {
        let config = parse(&["--backfill", "easy", "--backfill-delay", "10m"]);
        let planner = config.serve.resolve().unwrap().planner;
        assert_eq!(planner.backfill, kompass_planner::Backfill::Easy);
        assert_eq!(planner.backfill_delay_ms, 600_000);
    }

    #[test]
    fn every_example_parses() {
        let commands: Vec<_> = EXAMPLES
            .lines()
            .filter_map(|line| line.strip_prefix("  kompass-scheduler-extender "))
            .collect();
        assert_eq!(commands.len(), 3);
        for command in commands {
            parse(&command.split_whitespace().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_lease_can_be_turned_off() {
        assert!(parse(&["--lease", "false"]).serve.resolve().unwrap().lease.is_none());
    }

    #[test]
    fn the_schedulers_configuration_is_printed_on_demand() {
        let cli = parse(&[
            "print-scheduler-config",
            "--url",
            "http://127.0.0.1:1",
            "--http-timeout",
            "7s",
        ]);
        let Some(Command::PrintSchedulerConfig(arguments)) = cli.command else {
            panic!("no command")
        };
        let text = arguments.render();
        assert!(
            text.contains("\"http://127.0.0.1:1\"") && text.contains("7000ms"),
            "{text}"
        );
    }
}
