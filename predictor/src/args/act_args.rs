//! Options of holding nodes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kompass_core::Constraints;
use kompass_core::cluster::TaintEffect;
use kompass_core::constraints::Toleration;
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
    #[arg(long, env = "KOMPASS_PREDICTOR_ACT_WITH", value_enum, default_value_t = With::Buffers)]
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
    /// Label that nodes must have for buffers and pause pods to hold them; may be given more than once.
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    pub node_selector: Vec<(String, String)>,
    /// Taint of these nodes, such as dedicated=spark:NoSchedule; may be given more than once.
    #[arg(long, value_name = "KEY[=VALUE][:EFFECT]", value_parser = toleration)]
    pub toleration: Vec<Toleration>,
    /// Image of pause pods: anything that sleeps. They are never started.
    #[arg(long, env = "KOMPASS_PAUSE_IMAGE", default_value = "registry.k8s.io/pause:3.10")]
    pub pause_image: String,
    /// The predictor's own Deployment: what it holds goes with it.
    #[arg(long, env = "KOMPASS_DEPLOYMENT", value_name = "NAME")]
    pub deployment: Option<String>,
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
            constraints: Constraints {
                node_selector: self.node_selector.into_iter().collect(),
                tolerations: self.toleration,
                ..Constraints::default()
            },
            pause_image: self.pause_image,
            deployment: self.deployment,
        })
    }
}

/// Why a text is no label or taint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read {text:?}: write {expected}")]
pub struct TextError {
    text: String,
    expected: &'static str,
}

fn label(text: &str) -> Result<(String, String), TextError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(TextError {
            text: text.to_owned(),
            expected: "a label and its value, such as pool=spark",
        }),
    }
}

fn toleration(text: &str) -> Result<Toleration, TextError> {
    let wrong = || TextError {
        text: text.to_owned(),
        expected: "a taint, such as dedicated=spark:NoSchedule",
    };
    let (pair, effect) = text
        .rsplit_once(':')
        .map_or((text, None), |(pair, effect)| (pair, Some(effect)));
    let effect = match effect {
        None => None,
        Some("NoSchedule") => Some(TaintEffect::NoSchedule),
        Some("PreferNoSchedule") => Some(TaintEffect::PreferNoSchedule),
        Some("NoExecute") => Some(TaintEffect::NoExecute),
        Some(_) => return Err(wrong()),
    };
    let (key, value) = pair
        .split_once('=')
        .map_or((pair, None), |(key, value)| (key, Some(value)));
    if key.is_empty() {
        return Err(wrong());
    }
    Ok(Toleration {
        key: key.to_owned(),
        exists: value.is_none(),
        value: value.unwrap_or_default().to_owned(),
        effect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_read_as_kubectl_writes_them() {
        let read = |text| toleration(text).map(|one| (one.key, one.exists, one.value, one.effect));
        let no_schedule = Some(TaintEffect::NoSchedule);
        assert_eq!(
            read("dedicated=spark:NoSchedule"),
            Ok(("dedicated".into(), false, "spark".into(), no_schedule))
        );
        assert_eq!(
            read("spot:NoSchedule"),
            Ok(("spot".into(), true, String::new(), no_schedule))
        );
        assert_eq!(read("spot"), Ok(("spot".into(), true, String::new(), None)));
        for wrong in ["", "=x", ":NoSchedule", "a=b:Never"] {
            assert!(toleration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(label("pool=spark"), Ok(("pool".into(), "spark".into())));
        assert!(label("pool").is_err() && label("=spark").is_err());
    }
}
