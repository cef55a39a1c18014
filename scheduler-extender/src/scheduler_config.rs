//! The configuration of the kube-scheduler that runs beside the extender.
//!
//! One profile of the name `kompass`: every in-tree filter, so that volumes, taints and topology are judged by
//! Kubernetes itself, and nothing else. Scores would choose among the one node that the extender leaves; preemption
//! would evict pods for gangs that still don't fit.

use std::fmt::Write as _;
use std::time::Duration;

use kompass_core::names;

/// What differs between installations.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the extender listens, without a verb: `http://127.0.0.1:8888`.
    pub url: String,
    /// Kubeconfig of the scheduler; `None` in a pod, where its service account serves.
    pub kubeconfig: Option<String>,
    /// Namespace of the scheduler's own lease; `None`: no leader election, for a single scheduler.
    pub lease_namespace: Option<String>,
    /// How long the scheduler waits for the extender. Must be above the extender's bind deadline: a scheduler that
    /// gives up first binds the pod a second time.
    pub http_timeout: Duration,
}

impl Options {
    /// A single scheduler beside an extender at `url`.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            kubeconfig: None,
            lease_namespace: None,
            http_timeout: Duration::from_secs(5),
        }
    }
}

/// The lease of the scheduler itself, not to be confused with the planner's.
pub const SCHEDULER_LEASE: &str = "kompass-scheduler";

/// The `KubeSchedulerConfiguration` as YAML.
pub fn render(options: &Options) -> String {
    let mut yaml = String::from("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n");
    yaml.push_str("clientConnection:\n");
    if let Some(kubeconfig) = &options.kubeconfig {
        line(&mut yaml, format_args!("  kubeconfig: {}", quoted(kubeconfig)));
    }
    // Far above what a scheduler can use: the brake is in the extender, which delays Filter while Binds pile up.
    yaml.push_str("  qps: 5000\n  burst: 10000\n");
    yaml.push_str("leaderElection:\n");
    line(
        &mut yaml,
        format_args!("  leaderElect: {}", options.lease_namespace.is_some()),
    );
    if let Some(namespace) = &options.lease_namespace {
        line(&mut yaml, format_args!("  resourceName: {SCHEDULER_LEASE}"));
        line(&mut yaml, format_args!("  resourceNamespace: {}", quoted(namespace)));
    }
    line(
        &mut yaml,
        format_args!(
            "\
# A planned node must never be missing in the list that Filter gets: no sampling.
percentageOfNodesToScore: 100
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 5
profiles:
  - schedulerName: {scheduler}
    plugins:
      preScore:
        disabled:
          - name: \"*\"
      score:
        disabled:
          - name: \"*\"
      postFilter:
        disabled:
          - name: \"*\"
extenders:
  - urlPrefix: {url}
    filterVerb: filter
    bindVerb: bind
    preemptVerb: preempt
    nodeCacheCapable: true
    ignorable: false
    enableHTTPS: false
    httpTimeout: {timeout}ms",
            scheduler = names::SCHEDULER,
            url = quoted(&options.url),
            timeout = options.http_timeout.as_millis(),
        ),
    );
    yaml
}

fn line(yaml: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(yaml, "{text}");
}

/// A text as a YAML scalar: JSON's form is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn it_is_yaml_with_what_the_extender_needs() {
        let options = Options {
            kubeconfig: Some("/a \"b\"/kubeconfig".to_owned()),
            lease_namespace: Some("kompass".to_owned()),
            ..Options::new("http://127.0.0.1:8888")
        };
        let config: Value = serde_saphyr::from_str(&render(&options)).unwrap();
        assert_eq!(config["clientConnection"]["kubeconfig"], "/a \"b\"/kubeconfig");
        assert_eq!(config["leaderElection"]["leaderElect"], true);
        let extender = &config["extenders"][0];
        assert_eq!(extender["urlPrefix"], "http://127.0.0.1:8888");
        assert_eq!(
            (&extender["nodeCacheCapable"], &extender["ignorable"]),
            (&true.into(), &false.into())
        );
        assert_eq!(extender["httpTimeout"], "5000ms");
        assert!(extender.get("prioritizeVerb").is_none());
        assert_eq!(config["profiles"][0]["schedulerName"], "kompass");
    }

    #[test]
    fn a_single_scheduler_needs_no_lease() {
        let config: Value = serde_saphyr::from_str(&render(&Options::new("http://x"))).unwrap();
        assert_eq!(config["leaderElection"], serde_json::json!({ "leaderElect": false }));
        assert!(config["clientConnection"].get("kubeconfig").is_none());
    }
}
