//! `kompass local status`.

use std::process::ExitCode;

use kompass_local_cluster::full::{self, Cluster};
use kompass_local_cluster::progress::Progress;

use super::{Name, api_only, install};
use crate::table;

/// Options of `kompass local status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
}

impl Args {
    /// Succeeds when everything is well.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let name = &self.name.name;
        if let Some(held) = api_only::find(name)? {
            println!("cluster {name}: control plane alone, process {}", held.pid());
            println!("kubeconfig: {}", held.kubeconfig.display());
            return Ok(ExitCode::SUCCESS);
        }
        let cluster = match Cluster::attach(name, &Progress::silent()).await {
            Ok(cluster) => cluster,
            Err(full::Error::NotUp { .. }) => {
                println!("cluster {name} is not up; start it with `kompass local up --name {name}`");
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error.into()),
        };
        let status = cluster.status().await?;
        let words = |good: bool, yes: &str, no: &str| if good { yes.to_owned() } else { no.to_owned() };
        let parts: Vec<Vec<String>> = status
            .daemons
            .iter()
            .map(|daemon| {
                vec![
                    daemon.name.clone(),
                    words(daemon.running, "runs", "DEAD"),
                    daemon.pid.to_string(),
                ]
            })
            .collect();
        print!("{}", table::render(&["PART", "STATE", "PID"], &parts));
        println!();
        let nodes: Vec<Vec<String>> = status
            .nodes
            .iter()
            .map(|(name, ready)| vec![name.clone(), words(*ready, "ready", "NOT READY")])
            .collect();
        print!("{}", table::render(&["NODE", "STATE"], &nodes));
        println!();
        println!("API server: {}", words(status.api_server_ready, "ready", "NOT READY"));
        let mut well = status.is_healthy();
        let client = kompass_kube::client::connect(Some(&cluster.kubeconfig()), "kompass").await?;
        for (service, ready) in install::readiness(&client).await? {
            println!("{service}: {}", words(ready, "ready", "NOT READY"));
            well &= ready;
        }
        println!("kubeconfig: {}", cluster.kubeconfig().display());
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
