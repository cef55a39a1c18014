//! The command line as a whole.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::{
    backtest, bypass, doctor, explain, local, predictor, queue, queues, run, shadow, simulate, uninstall, why,
};

/// Exit code for the wrong way to ask, as clap has it.
pub(crate) const WRONG_USE: u8 = 2;
/// Exit code for a wait that came to its end before the job did.
pub(crate) const TIMED_OUT: u8 = 3;
/// Exit code after Ctrl-C, as shells give it.
pub(crate) const INTERRUPTED: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  kompass local up                                  a Kubernetes cluster with KOMPASS in it, on this machine
  kompass run --executors 2 -- 100                  SparkPi on it, with the gang's time line
  kompass queue                                     who waits, in which order, and why
  kompass why SparkPi                               why one job waits, and until when
  kompass explain spark-pi-driver                   how much it will ask for, and where that is from
  export KUBECONFIG=$(kompass local kubeconfig)     use the cluster with kubectl
  kompass queues show                               what queues have and may have, and whose turn it is
  kompass queues check queues.yaml                  whether a queue file is right, and what it says
  kompass predictor pause                           give back the nodes that are held ahead of need, and hold none
  kompass doctor                                    whether KOMPASS is well in a cluster, and what to do if not
  kompass bypass                                    break-glass: take no new pod, let go what waits
  kompass uninstall --dry-run                       what would be taken away
  kompass local down                                take it away again

Exit codes: 0 done, 1 failed (also: the job failed), 2 wrong use, 3 out of time, 130 interrupted.";

/// KOMPASS makes Kubernetes a good place for Spark.
#[derive(Debug, clap::Parser)]
#[command(name = "kompass", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start, look at and remove a Kubernetes cluster on this machine.
    Local(local::Args),
    /// Submit a Spark application with an ordinary spark-submit, and show the gang's time line.
    Run(run::Args),
    /// Show the gangs that KOMPASS knows, in the order of their queues.
    Queue(queue::Args),
    /// Check the rules of queues before they are used, and show how queues stand.
    Queues(queues::Args),
    /// Say why a job waits, and until when.
    Why(why::Args),
    /// Say what KOMPASS makes of a driver pod, and where it has each part from; also from files.
    Explain(explain::Args),
    /// Pause the predictor, let it go on, and see what it holds and has done.
    Predictor(predictor::Args),
    /// Say whether KOMPASS is well in a cluster, and what to do where it is not.
    Doctor(doctor::Args),
    /// Break-glass: take no new pod and let go what waits, whether KOMPASS lives or not.
    Bypass(bypass::Args),
    /// Tell what a cluster has lost to drivers that held room while their executors had none, from a Prometheus.
    ShadowReport(shadow::Args),
    /// Take KOMPASS out of a cluster so that nothing is stranded.
    Uninstall(uninstall::Args),
    /// Replay a trace of jobs on a cluster that you describe, and compare policies.
    Simulate(simulate::Args),
    /// Say whether keeping nodes ready pays, and by which rule, from a trace of jobs or a Prometheus: what waits and nodes
    /// would have been.
    Backtest(Box<backtest::Args>),
}

/// How a command ends that could not do what it was asked.
pub(crate) fn code(error: &anyhow::Error) -> ExitCode {
    if error.is::<local::NobodyToAsk>() {
        ExitCode::from(WRONG_USE)
    } else {
        ExitCode::FAILURE
    }
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .map_err(|_| anyhow::anyhow!("failed to set up TLS: another provider is there already"))?;
        // What goes wrong on the side; what goes wrong is the command's own word.
        let filter = tracing_subscriber::EnvFilter::try_from_env("KOMPASS_LOG").unwrap_or_else(|_| "warn".into());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .without_time()
            .init();
        let runtime = tokio::runtime::Runtime::new().context("failed to start the asynchronous runtime")?;
        let done = runtime.block_on(async {
            match self.command {
                Command::Local(args) => args.run().await,
                Command::Run(args) => args.run().await,
                Command::Queue(args) => args.run().await,
                Command::Queues(args) => args.run().await,
                Command::Why(args) => args.run().await,
                Command::Explain(args) => args.run().await,
                Command::Predictor(args) => args.run().await,
                Command::Doctor(args) => args.run().await,
                Command::Bypass(args) => args.run().await,
                Command::ShadowReport(args) => args.run().await,
                Command::Uninstall(args) => args.run().await,
                Command::Simulate(args) => tokio::task::block_in_place(|| args.run()),
                Command::Backtest(args) => args.run().await,
            }
        });
        // A reader of standard input or a log that still blocks must not hold the command.
        runtime.shutdown_background();
        done
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_parses() {
        let commands = EXAMPLES.lines().filter_map(|line| line.strip_prefix("  ")).map(|line| {
            let line = line.split("   ").next().unwrap_or_default();
            line.trim_start_matches("export KUBECONFIG=$(")
                .trim_end_matches(')')
                .to_owned()
        });
        let commands: Vec<String> = commands.collect();
        assert_eq!(commands.len(), 13);
        for command in commands {
            assert!(Cli::try_parse_from(command.split_whitespace()).is_ok(), "{command}");
        }
    }

    #[test]
    fn what_the_setup_script_calls_is_there() {
        for command in [
            "kompass local up --yes --name a --kwok-nodes 3 --without-kompass",
            "kompass local up --api-only",
            "kompass local down --name a",
            "kompass local status",
            "kompass local logs kubelet --follow",
            "kompass run --class a.B --executors 3 --conf spark.executor.memory=1g -- 100 x",
            "kompass queue --output json",
            "kompass why --namespace a job",
            "kompass shadow-report --prometheus http://x:9090 --since 4w --node-cpu-milli 8000 --node-memory-mib 64000 --node-price 0.5",
            "kompass doctor --namespace a --kubeconfig k -o json",
            "kompass bypass --reason x --to-default-scheduler",
            "kompass bypass --undo",
            "kompass uninstall --namespace a --yes --timeout 60 --drain 60 --force --helm /bin/helm --release r",
            "kompass explain --pod p.json --configmap a.json b.json -o json",
        ] {
            assert!(Cli::try_parse_from(command.split_whitespace()).is_ok(), "{command}");
        }
    }
}
