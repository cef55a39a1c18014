//! `kompass uninstall`: takes KOMPASS away so that nothing is stranded.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use kompass_kube::client::Connected;
use kompass_lifecycle::pending::Pending;
use kompass_lifecycle::uninstall::{self, Helm, Options, Outcome, Plan};

use crate::args::{TIMED_OUT, WRONG_USE};
use crate::bypass::advice;
use crate::install::Install;

/// Options of `kompass uninstall`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kompass uninstall --dry-run              what is there, and what would be done
  kompass uninstall --context=prod         in the cluster of that context of the kubeconfig
  kompass uninstall --yes                  let all that waits go, then take KOMPASS away
  kompass uninstall --yes --drain 3600     let the planner start waiting gangs, whole, for an hour before that

In this order: no new pod is taken; gates are lifted; what names KOMPASS's scheduler gets its nodes; floors, buffers and pause
pods are given back; the services end; helm uninstall, where Helm knows the release; what was made at run time is deleted; and
every kind of object is looked through for what is left. Run it again after an interruption: it goes on where it was.

Exit codes: 0 nothing of KOMPASS is left, 1 failed or something is left, 2 wrong use, 3 pods that got no node in time.")]
pub(crate) struct Args {
    #[command(flatten)]
    install: Install,
    /// Don't ask.
    #[arg(long, short)]
    yes: bool,
    /// Only say what is there and what would be done.
    #[arg(long)]
    dry_run: bool,
    /// So long pods that name KOMPASS's scheduler may take to get their nodes.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
    /// So long the planner may start waiting gangs, whole, before gates are lifted.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    drain: u64,
    /// Delete the pods that got no node in time. Executors come again; jobs of drivers must be submitted again.
    #[arg(long)]
    force: bool,
    /// Name of the Helm release.
    #[arg(long, default_value = "kompass", value_name = "NAME")]
    release: String,
    /// The helm program.
    #[arg(long, default_value = "helm", value_name = "PATH")]
    helm: PathBuf,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let Connected {
            client,
            server,
            context,
        } = self.install.connect().await?;
        let options = Options {
            namespace: self.install.namespace.clone(),
            helm: Helm {
                program: self.helm.clone(),
                release: self.release.clone(),
                kubeconfig: self.install.file(),
                // The one that the client has: the current one may be another when it is Helm's turn.
                context,
            },
            drain: Duration::from_secs(self.drain),
            timeout: Duration::from_secs(self.timeout),
            force: self.force,
        };
        let plan = uninstall::plan(&client, &options).await?;
        println!("{}", show(&plan, &options, &server));
        if self.dry_run {
            return Ok(ExitCode::SUCCESS);
        }
        if !plan.is_empty() && !self.yes {
            if !std::io::stdin().is_terminal() {
                eprintln!("error: failed to ask whether to go on: give --yes");
                return Ok(ExitCode::from(WRONG_USE));
            }
            if !agreed(&mut std::io::stdin().lock())? {
                println!("Nothing was changed.");
                return Ok(ExitCode::FAILURE);
            }
        }
        let outcome = uninstall::run(&client, &options, &|line| println!("{line}")).await?;
        Ok(tell(outcome, &options, &self.install.options()))
    }
}

fn agreed(input: &mut impl std::io::BufRead) -> anyhow::Result<bool> {
    print!("Take it away? Type yes: ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

fn show(plan: &Plan, options: &Options, server: &str) -> String {
    if plan.is_empty() {
        return format!(
            "There is nothing of KOMPASS in namespace {} of the cluster at {server}, and nothing waits for it.",
            options.namespace
        );
    }
    let gated = plan.pending.iter().filter(|pod| pod.gate.is_some()).count();
    let mut lines = vec![
        format!("KOMPASS in namespace {} of the cluster at {server}:", options.namespace),
        format!(
            "  {gated} pods wait at its gate, {} for its scheduler",
            plan.pending.len() - gated
        ),
    ];
    if plan.is_release {
        lines.push(format!("  Helm knows the release {}", options.helm.release));
    }
    lines.push(format!("  {} objects:", plan.look.found.len()));
    lines.extend(plan.look.found.iter().map(|one| format!("    {one}")));
    lines.extend(
        plan.look
            .unseen
            .iter()
            .map(|kind| format!("  could not be looked at: {kind}")),
    );
    lines.join("\n")
}

fn tell(outcome: Outcome, options: &Options, same_cluster: &str) -> ExitCode {
    match outcome {
        Outcome::Gone(notes) => {
            println!("Nothing of KOMPASS is left.");
            if !notes.is_empty() {
                println!("Yours to remove, if you want:");
            }
            for note in notes {
                println!("  {note}");
            }
            ExitCode::SUCCESS
        }
        Outcome::Stranded(pods) => {
            eprintln!("error: {}", stranded(&pods));
            eprint!("{}", advice(&pods, same_cluster));
            ExitCode::from(TIMED_OUT)
        }
        Outcome::HelmNeeded(command) => {
            eprintln!(
                "error: failed to run Helm. All is ready for it: run `{command}`, then `kompass uninstall --namespace={} \
                 --release={}{same_cluster}` again, which deletes the rest; or name Helm with --helm",
                options.namespace, options.helm.release
            );
            ExitCode::FAILURE
        }
        Outcome::Left(look) => {
            eprintln!("error: failed to delete {} objects in time:", look.found.len());
            for one in look.found {
                eprintln!("  {one}");
            }
            ExitCode::FAILURE
        }
    }
}

fn stranded(pods: &[Pending]) -> String {
    format!(
        "{} pods name KOMPASS's scheduler and have no node. KOMPASS's scheduler was left to place them: run this again, with a \
         longer --timeout, or with --force, which deletes them.",
        pods.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (typed, expected) in [("yes\n", true), ("y\n", false), ("", false), ("YES\n", false)] {
            assert_eq!(agreed(&mut typed.as_bytes()).unwrap(), expected, "{typed:?}");
        }
    }

    #[test]
    fn an_empty_cluster_is_told_so() {
        let options = Options {
            namespace: "kompass".into(),
            helm: Helm {
                program: "helm".into(),
                release: "kompass".into(),
                kubeconfig: None,
                context: None,
            },
            drain: Duration::ZERO,
            timeout: Duration::ZERO,
            force: false,
        };
        assert!(
            show(&Plan::default(), &options, "https://blue:6443/").contains("nothing of KOMPASS in namespace kompass")
        );
        let plan = Plan {
            is_release: true,
            ..Plan::default()
        };
        let told = show(&plan, &options, "https://blue:6443/");
        assert!(
            told.contains("namespace kompass of the cluster at https://blue:6443/"),
            "{told}"
        );
        assert!(told.contains("Helm knows the release kompass"), "{told}");
    }
}
