//! How what is decided is held.

use std::path::PathBuf;
use std::time::Duration;

use kompass_core::Constraints;
use kompass_floors::Rules;

use crate::args::Config;
use crate::hold::{self, Limits, Means, Owner};

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
    /// Which nodes buffers and pause pods hold.
    pub constraints: Constraints,
    /// The image of pause pods.
    pub pause_image: String,
    /// The predictor's own Deployment, which buffers and pause pods belong to.
    pub deployment: Option<String>,
}

/// What holds nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum With {
    /// Floors (`MinSize`) of Auto Scaling groups with the tag `kompass.dev/managed=true`.
    Floors,
    /// Capacity buffers, where they are served and an autoscaler looks at them; else pause pods.
    Buffers,
    /// Pods that are never started, for which the autoscaler keeps nodes.
    PausePods,
}

impl Options {
    /// What buffers and pause pods are made by; none where floors hold nodes.
    pub fn holder(&self, config: &Config, owner: Option<Owner>) -> Option<hold::Settings> {
        let means = match self.with {
            With::Floors => return None,
            With::Buffers => Means::Auto,
            With::PausePods => Means::PausePods,
        };
        let limits = Limits {
            shape: config.settings.shape,
            constraints: self.constraints.clone(),
            image: self.pause_image.clone(),
            nodes_max: config.settings.nodes_max,
            ttl_ms: i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX),
        };
        Some(hold::Settings {
            namespace: self.namespace.clone(),
            limits,
            owner,
            means,
        })
    }

    /// What floors are kept by.
    pub fn rules(&self, config: &Config) -> Rules {
        let identity = config.lease.as_ref().map_or("", |lease| &lease.identity);
        Rules {
            owner: format!("{}/{identity}", self.namespace),
            ttl_ms: i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX),
            // Instances that are to be had boot in half of that.
            boot_ms: 2 * config.settings.timing.ready_ms,
            discovery_tag: self.discovery_tag.clone(),
            listed: None,
        }
    }
}
