//! How a cluster is, as seen from outside.

use std::path::PathBuf;

use super::daemons::{self, NODE};
use super::start;

/// One daemon, and whether it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonStatus {
    /// Its name.
    pub name: String,
    /// Its process id.
    pub pid: i32,
    /// Whether this very process still runs.
    pub running: bool,
    /// Where it logs to.
    pub log: PathBuf,
}

/// How a cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// All daemons that were started and not stopped.
    pub daemons: Vec<DaemonStatus>,
    /// Whether the API server says that it is ready.
    pub api_server_ready: bool,
    /// The nodes, with whether each is ready.
    pub nodes: Vec<(String, bool)>,
}

impl Status {
    /// Whether everything of the cluster itself runs and answers.
    pub fn is_healthy(&self) -> bool {
        let daemon = |name: &str| self.daemons.iter().find(|daemon| daemon.name == name);
        // These are there only when they were asked for.
        let is_optional = |name: &str| ["kwok", start::API_DOOR].contains(&name);
        let runs = |name: &str| daemon(name).map_or_else(|| is_optional(name), |daemon| daemon.running);
        daemons::CORE.into_iter().chain([start::API_DOOR]).all(runs)
            && self.api_server_ready
            && self.nodes.iter().any(|(name, ready)| name == NODE && *ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(running: &[&str]) -> Status {
        let daemon = |name: &&str| DaemonStatus {
            name: (*name).to_owned(),
            pid: 1,
            running: running.contains(name),
            log: PathBuf::new(),
        };
        let started = ["kwok", "of-the-caller"];
        Status {
            daemons: daemons::CORE
                .iter()
                .filter(|name| **name != "kwok")
                .chain(&started)
                .map(daemon)
                .collect(),
            api_server_ready: true,
            nodes: vec![(NODE.to_owned(), true)],
        }
    }

    #[test]
    fn every_part_of_the_cluster_counts_and_nothing_else() {
        assert!(status(&daemons::CORE).is_healthy());
        for stopped in daemons::CORE {
            let others: Vec<_> = daemons::CORE.into_iter().filter(|name| *name != stopped).collect();
            assert!(!status(&others).is_healthy(), "{stopped}");
        }
        let mut unready = status(&daemons::CORE);
        unready.nodes[0].1 = false;
        assert!(!unready.is_healthy());
    }
}
