//! `kompass bypass`: break-glass. From now on no pod is taken, and what waits at a gate is let go.

use std::process::ExitCode;
use std::time::Duration;

use kompass_kube::client::Connected;
use kompass_lifecycle::{bypass, pending};

use crate::args::TIMED_OUT;
use crate::install::Install;

/// The API servers call the webhook for a moment longer.
const QUIET: Duration = Duration::from_secs(3);

/// Options of `kompass bypass`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kompass bypass --reason \"incident 4711\"   no pod is taken from now on, and what waits at a gate is let go
  kompass bypass --undo                     as it was before

Only objects of the API server are changed, so that it works when every part of KOMPASS is dead. Nobody undoes it but --undo:
it is an annotation of the webhook configuration, which the webhook keeps to whenever it runs.
New Spark pods go to the default scheduler. Pods that KOMPASS took before keep its scheduler: nobody can change that.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 gates that could not be lifted.")]
pub(crate) struct Args {
    /// Let KOMPASS take pods again.
    #[arg(long, conflicts_with_all = ["reason", "to_default_scheduler"])]
    undo: bool,
    /// Why; shown by the webhook and by `kompass doctor`.
    #[arg(long, default_value = "by hand", value_name = "TEXT")]
    reason: String,
    /// Also say how each pod that has no node and can't leave KOMPASS's scheduler gets on.
    #[arg(long)]
    to_default_scheduler: bool,
    /// So long gates may take to be lifted.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    install: Install,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let Connected { client, server, .. } = self.install.connect().await?;
        println!("Cluster at {server}");
        let options = self.install.options();
        if self.undo {
            println!(
                "{}",
                match bypass::undo(&client).await? {
                    None => "KOMPASS was not bypassed.",
                    Some(true) => "KOMPASS takes pods again.",
                    Some(false) =>
                        "The bypass is over. The webhook has not registered itself yet: it does when it runs; see `kompass doctor`.",
                }
            );
            return Ok(ExitCode::SUCCESS);
        }
        match bypass::set(&client, &self.install.namespace, &self.reason).await {
            Ok(()) => println!("No new pod is taken. `kompass bypass --undo{options}` ends that."),
            // What waits may be of an install that is gone.
            Err(error @ kompass_lifecycle::Error::NotInstalled(_)) => eprintln!("note: {error}"),
            Err(error) => return Err(error.into()),
        }
        let lifted = pending::lift_all(&client, QUIET, Duration::from_secs(self.timeout)).await?;
        println!("{} gates were lifted.", lifted.gates);
        for (pod, why) in &lifted.failed {
            eprintln!("warning: {pod} still has its gate: {why}");
        }
        // The webhook looks after its registration within a second or two, and older ones don't know the annotation.
        if bypass::state(&client).await?.is_some_and(|state| state.asks) {
            eprintln!(
                "warning: a webhook of another version has registered itself again. Let it end: kubectl scale deployment \
                 kompass-admission-webhook --replicas=0 --namespace={}{options}, then run this again",
                self.install.namespace
            );
            return Ok(ExitCode::FAILURE);
        }
        let left: Vec<_> = pending::list(&client)
            .await?
            .into_iter()
            .filter(|pod| pod.gate.is_none())
            .collect();
        if !left.is_empty() {
            println!("{}", rest(left.len()));
            if self.to_default_scheduler {
                print!("{}", advice(&left, &options));
            }
        }
        Ok(if lifted.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(TIMED_OUT)
        })
    }
}

fn rest(count: usize) -> String {
    format!(
        "{count} pods name KOMPASS's scheduler and have no node yet. Its kube-scheduler places them while it and the extender \
         run. --to-default-scheduler says what to do if they don't."
    )
}

/// How pods get on that can't leave KOMPASS's scheduler: Kubernetes lets nobody change `schedulerName`.
/// `options` are those of [`Install::options`].
pub(crate) fn advice(pods: &[pending::Pending], options: &str) -> String {
    let mut text = String::new();
    let lines = |role: &str| {
        let of = pods
            .iter()
            .filter(|pod| (pod.role == "executor") == (role == "executor"));
        of.map(|pod| {
            format!(
                "  kubectl delete pod {} --namespace={}{options}\n",
                pod.name, pod.namespace
            )
        })
        .collect::<Vec<_>>()
        .concat()
    };
    let (drivers, executors) = (lines("driver"), lines("executor"));
    if !executors.is_empty() {
        text +=
            "Executors: delete them. Their driver makes new ones within seconds, which go to the default scheduler:\n";
        text += &executors;
    }
    if !drivers.is_empty() {
        text += "Drivers: nobody can give them another scheduler. They start when KOMPASS's scheduler runs again; or delete \
                 them and submit these jobs again:\n";
        text += &drivers;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_and_executors_get_on_in_different_ways() {
        let pod = |role: &str| pending::Pending {
            namespace: "etl".into(),
            name: format!("a-{role}"),
            uid: String::new(),
            role: role.into(),
            gate: None,
            ours: true,
            has_profile: false,
            has_plan: false,
            created_ms: 0,
        };
        let text = advice(&[pod("driver"), pod("executor")], " --context=prod");
        let (executors, drivers) = text.split_once("Drivers:").unwrap();
        assert!(
            executors.contains("delete pod a-executor --namespace=etl --context=prod")
                && !executors.contains("a-driver")
        );
        assert!(drivers.contains("delete pod a-driver --namespace=etl") && drivers.contains("submit these jobs again"));
        assert_eq!(advice(&[], ""), "");
    }
}
