//! Options of holding nodes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kompass_floors::rules::TTL_MIN_MS;
use kompass_kube::lease;
use kompass_service::args::duration;

use crate::act::options::{Options, With};

/// A floor lives a day at most: longer it needs nobody's care.
const TTL_MAX: Duration = Duration::from_hours(24);

/// Only with `--mode act`.
#[derive(Debug, Clone, Args)]
pub struct ActArgs {
    /// What holds nodes.
    #[arg(long, env = "KOMPASS_PREDICTOR_ACT_WITH", value_enum, default_value_t = With::Floors)]
    pub act_with: With,
    /// Region of the node groups; without it, as AWS programs find it (`AWS_REGION`, the instance).
    #[arg(long, env = "KOMPASS_AWS_REGION", value_name = "REGION")]
    pub aws_region: Option<String>,
    /// What is held ends by itself after so long, unless it is renewed.
    #[arg(long, value_parser = duration, default_value = "1h", value_name = "TIME")]
    pub hold_ttl: Duration,
    /// Tag by which cluster-autoscaler finds its groups.
    #[arg(long, value_name = "TAG", default_value = "k8s.io/cluster-autoscaler/enabled")]
    pub autoscaler_tag: String,
    /// Namespace of cluster-autoscaler: groups that it is told of by --nodes are left alone.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub autoscaler_namespace: String,
    /// File to write down in what was done, why, what it cost and what it saved: a line of JSON each.
    #[arg(long, env = "KOMPASS_PREDICTOR_JOURNAL", value_name = "FILE")]
    pub journal: Option<PathBuf>,
}

/// Why nodes can't be held so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two predictors would write at once.
    #[error("give --lease NAMESPACE/NAME too: only who holds a lease may act")]
    NoLease,
    /// Too short to be renewed in time, or too long to be left alone.
    #[error("--hold-ttl {0:?} must be from 12m to 24h")]
    Ttl(Duration),
}

impl ActArgs {
    /// Checks them.
    pub(super) fn resolve(self, lease: Option<&lease::Config>) -> Result<Options, Error> {
        let lease = lease.ok_or(Error::NoLease)?;
        let shortest = Duration::from_millis(TTL_MIN_MS.unsigned_abs());
        if !(shortest..=TTL_MAX).contains(&self.hold_ttl) {
            return Err(Error::Ttl(self.hold_ttl));
        }
        Ok(Options {
            with: self.act_with,
            namespace: lease.namespace.clone(),
            autoscaler_namespace: self.autoscaler_namespace,
            discovery_tag: self.autoscaler_tag,
            region: self.aws_region,
            ttl: self.hold_ttl,
            journal: self.journal,
        })
    }
}
