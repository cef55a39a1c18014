//! `kompass queues`: the rules of queues before they are given to KOMPASS, and how queues stand under them.

use std::process::ExitCode;

mod bar;
mod check;
mod show;
mod standing;

pub(crate) use self::check::read;
pub(crate) use self::standing::Standing;

/// Options of `kompass queues`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say whether the extender would take a queue file, and what it says. Asks no cluster.
    Check(check::Args),
    /// Show what queues have, what they may have, who waits, and whose turn it is.
    Show(show::Args),
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Check(args) => tokio::task::block_in_place(|| args.run()),
            Command::Show(args) => args.run().await,
        }
    }
}
