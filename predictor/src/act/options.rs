//! How what is decided is held.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use kompass_floors::Rules;

use crate::args::Config;

/// Chosen by the operator.
#[derive(Debug, Clone)]
pub struct Options {
    /// What holds nodes.
    pub with: With,
    /// KOMPASS's own namespace: that of the lease.
    pub namespace: String,
    /// Where cluster-autoscaler runs.
    pub autoscaler_namespace: String,
    /// The tag by which it finds its groups.
    pub discovery_tag: String,
    /// The region of AWS; none: as the SDK finds it.
    pub region: Option<String>,
    /// What is held ends after so long unless it is renewed.
    pub ttl: Duration,
    /// Where the journal is kept.
    pub journal: Option<PathBuf>,
}

/// What holds nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum With {
    /// Floors (`MinSize`) of Auto Scaling groups with the tag `kompass.dev/managed=true`.
    Floors,
    /// Capacity buffers, where they are served; else pause pods.
    Buffers,
}

impl Options {
    /// What floors are kept by.
    pub fn rules(&self, config: &Config) -> Rules {
        let identity = config.lease.as_ref().map_or("", |lease| &lease.identity);
        Rules {
            owner: format!("{}/{identity}", self.namespace),
            ttl_ms: i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX),
            // Instances that are to be had boot in half of that.
            boot_ms: 2 * config.settings.timing.ready_ms,
            discovery_tag: self.discovery_tag.clone(),
            listed: BTreeSet::new(),
        }
    }
}
