//! `kompass local logs`.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use kompass_core::names;
use kompass_local_cluster::full;

use super::{Name, api_only, install};
use crate::table;

/// Options of `kompass local logs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kompass local logs\n  kompass local logs kube-apiserver --lines 200\n  kompass local logs kompass-admission-webhook --follow"
)]
pub(crate) struct Args {
    /// The part, such as kubelet or kompass-scheduler-extender. Without it the parts are listed.
    part: Option<String>,
    #[command(flatten)]
    name: Name,
    /// Lines from the end.
    #[arg(long, default_value_t = 100)]
    lines: u32,
    /// Go on as the log grows.
    #[arg(long, short)]
    follow: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let name = &self.name.name;
        if api_only::find(name)?.is_none()
            && let Some(pod) = self.part.as_deref().and_then(install::log_of)
        {
            return self.of_pod(pod);
        }
        let logs = match api_only::find(name)? {
            Some(held) => held.logs()?,
            None => full::logs(name)?,
        };
        anyhow::ensure!(!logs.is_empty(), "cluster {name} has no logs: it was never up");
        let Some(part) = self.part else {
            let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
            let rows: Vec<Vec<String>> = logs
                .iter()
                .map(|(name, path)| {
                    vec![
                        name.clone(),
                        format!("{} KiB", size(path).div_ceil(1024)),
                        path.display().to_string(),
                    ]
                })
                .collect();
            print!("{}", table::render(&["PART", "SIZE", "FILE"], &rows));
            return Ok(());
        };
        let (_, path) = logs.iter().find(|(name, _)| *name == part).with_context(|| {
            let names: Vec<&str> = logs.iter().map(|(name, _)| name.as_str()).collect();
            format!("no part is called {part}; there are {}", names.join(", "))
        })?;
        let mut tail = Command::new("tail");
        tail.arg(format!("--lines={}", self.lines));
        if self.follow {
            tail.arg("--follow=name").arg("--retry");
        }
        // Takes the place of this process, and with it its terminal and its Ctrl-C.
        Err(tail.arg(path).exec()).context("failed to run tail")
    }

    /// The log of a container, by kubectl.
    fn of_pod(&self, [pod, container]: [&str; 2]) -> anyhow::Result<()> {
        let own = std::env::current_exe().context("failed to find this program itself")?;
        let mut kubectl = Command::new(own);
        kubectl
            .args(["local", "kubectl", "--name", &self.name.name, "--", "logs", pod])
            .args(["--namespace", names::DEFAULT_NAMESPACE, "--container", container])
            .arg(format!("--tail={}", self.lines))
            .arg(format!("--follow={}", self.follow));
        Err(kubectl.exec()).context("failed to run kubectl")
    }
}
