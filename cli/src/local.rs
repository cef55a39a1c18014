//! `kompass local`: a Kubernetes cluster on this machine.

pub(crate) mod api_only;
mod chart;
mod consent;
mod down;
mod forward;
mod install;
pub(crate) mod kubeconfig;
mod kubectl;
mod logs;
pub(crate) mod services;
mod status;
mod up;

use std::process::ExitCode;

pub(crate) use consent::NobodyToAsk;

/// The cluster's name where none is given.
pub(crate) const DEFAULT_NAME: &str = "local";

const EXAMPLES: &str = "\
Examples:
  kompass local up                    whole cluster with real pods, Spark and KOMPASS (root)
  kompass local up --kwok-nodes 100   the same with 100 more nodes that only exist in the API
  kompass local up --api-only         control plane and KOMPASS alone: no root, no pods that run
  kompass local status
  kompass local logs kompass-scheduler-extender --follow
  kompass local kubectl -- get pods --all-namespaces
  kompass local down";

/// Options of `kompass local`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start a cluster, or bring one that is there up to what is asked.
    Up(up::Args),
    /// Stop a cluster and remove every process, mount and interface of it.
    Down(down::Args),
    /// Tell how a cluster is.
    Status(status::Args),
    /// Print the path of a cluster's kubeconfig.
    Kubeconfig(kubeconfig::Args),
    /// Run kubectl with all rights.
    Kubectl(kubectl::Args),
    /// Show the log of one part, or which there are.
    Logs(logs::Args),
    /// Forwards a port into a cluster's network; started by `up`.
    #[command(hide = true)]
    Forward(forward::Args),
    /// Holds a control plane until it is told to stop; started by `up --api-only`.
    #[command(hide = true)]
    Hold(api_only::Args),
}

/// Which local cluster.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Name {
    /// Name of the local cluster.
    #[arg(long, env = "KOMPASS_CLUSTER", default_value = DEFAULT_NAME)]
    pub(crate) name: String,
}

/// An option that names a cluster, as it is written in advice; nothing for the default one.
pub(crate) fn flag(option: &str, name: &str) -> String {
    if name == DEFAULT_NAME {
        String::new()
    } else {
        format!(" {option} {name}")
    }
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Up(args) => args.run().await?,
            Command::Down(args) => args.run().await?,
            Command::Status(args) => return args.run().await,
            Command::Kubeconfig(args) => args.run().await?,
            Command::Kubectl(args) => return args.run().await,
            Command::Logs(args) => args.run()?,
            Command::Forward(args) => args.run()?,
            Command::Hold(args) => args.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
