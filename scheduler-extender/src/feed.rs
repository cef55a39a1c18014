//! From the watches into the planner.

use std::collections::BTreeSet;
use std::sync::Arc;

use kompass_core::{Phase, Pod};
use kompass_kube::convert;
use kompass_kube::watch::{CHANNEL_CAPACITY, Change, Event};
use kompass_planner::{Limits, Planner, Quota};
use kompass_service::readiness::Condition;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::state::App;

/// Changes that are applied under one lock: enough to be cheap, few enough that Filter hardly waits.
const BATCH: usize = 128;

/// Why the feed ended.
#[derive(Debug, thiserror::Error)]
#[error("failed to watch the cluster: the watches ended")]
pub(crate) struct Error;

/// Applies changes until `end`. `synced` is met when pods, nodes, quotas and namespaces have all been listed.
/// Stand-ins that no autoscaler can see yet go to `stand_ins`.
pub(crate) async fn run(
    app: Arc<App>,
    mut changes: mpsc::Receiver<Change>,
    stand_ins: mpsc::Sender<Pod>,
    synced: Condition,
    end: CancellationToken,
) -> Result<(), Error> {
    let mut missing = Missing::default();
    let mut batch = Vec::with_capacity(CHANNEL_CAPACITY.min(BATCH));
    loop {
        let count = tokio::select! {
            biased;
            () = end.cancelled() => return Ok(()),
            count = changes.recv_many(&mut batch, BATCH) => count,
        };
        if count == 0 {
            return Err(Error);
        }
        for change in &batch {
            if let Change::Pod(Event::Applied(pod)) = change
                && is_unseen_stand_in(pod)
            {
                // When it is full the sweep finds them later.
                let _ = stand_ins.try_send((**pod).clone());
            }
            app.metrics.watch_events.with([kind(change)]).inc();
        }
        let complete = app.planner(|planner, now_ms| {
            for change in batch.drain(..) {
                missing.note(&change);
                apply(planner, change, now_ms);
            }
            let complete = missing.is_empty();
            if complete {
                planner.synced(now_ms);
            }
            complete
        });
        if complete {
            synced.met();
        }
        app.wake.notify_one();
    }
}

fn apply(planner: &mut Planner, change: Change, now_ms: i64) {
    match change {
        Change::Pod(Event::Applied(pod)) => planner.apply_pod(&pod, now_ms),
        Change::Pod(Event::Deleted(uid)) => planner.delete_pod(&uid, now_ms),
        Change::Node(Event::Applied(node)) => planner.apply_node(node),
        Change::Node(Event::Deleted(name)) => planner.delete_node(&name),
        Change::Quota(Event::Applied(found)) => {
            if found.applies_to_spark {
                planner.apply_quota(&found.namespace, &found.name, quota(&found));
            } else {
                planner.delete_quota(&found.namespace, &found.name);
            }
        }
        Change::Quota(Event::Deleted(key)) => {
            if let Some((namespace, name)) = key.split_once('/') {
                planner.delete_quota(namespace, name);
            }
        }
        Change::Namespace(Event::Applied(found)) => planner.apply_namespace(&found.name, found.queue.as_deref()),
        Change::Namespace(Event::Deleted(name)) => planner.delete_namespace(&name),
        Change::Pod(Event::Synced)
        | Change::Node(Event::Synced)
        | Change::Quota(Event::Synced)
        | Change::Namespace(Event::Synced) => {}
    }
}

/// The kinds whose first lists are not complete, as [`kind`] calls them.
#[derive(Debug)]
struct Missing(BTreeSet<&'static str>);

impl Default for Missing {
    fn default() -> Self {
        Self(["pod", "node", "quota", "namespace"].into())
    }
}

impl Missing {
    fn note(&mut self, change: &Change) {
        if is_end_of_list(change) {
            self.0.remove(kind(change));
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const fn is_end_of_list(change: &Change) -> bool {
    matches!(
        change,
        Change::Pod(Event::Synced)
            | Change::Node(Event::Synced)
            | Change::Quota(Event::Synced)
            | Change::Namespace(Event::Synced)
    )
}

const fn kind(change: &Change) -> &'static str {
    match change {
        Change::Pod(_) => "pod",
        Change::Node(_) => "node",
        Change::Quota(_) => "quota",
        Change::Namespace(_) => "namespace",
    }
}

fn is_unseen_stand_in(pod: &Pod) -> bool {
    pod.stand_in_for.is_some() && pod.node.is_none() && pod.phase == Phase::Pending && !pod.deleting
}

/// A quota in the planner's terms. Limits are not looked at: what Spark sets as limits is never below its requests, but
/// which it sets differs by version, and the API server judges them at the pod itself.
fn quota(quota: &convert::Quota) -> Quota {
    Quota {
        hard: limits(&quota.hard),
        used: limits(&quota.used),
    }
}

fn limits(amounts: &convert::Amounts) -> Limits {
    let amount = |names: [&str; 2]| names.iter().filter_map(|name| amounts.get(*name)).min().copied();
    let extended = amounts.iter().filter_map(|(name, units)| {
        let name = name.strip_prefix("requests.")?;
        (!matches!(name, "cpu" | "memory" | "storage")).then(|| (name.to_owned(), *units))
    });
    Limits {
        cpu_milli: amount(["requests.cpu", "cpu"]),
        memory_bytes: amount(["requests.memory", "memory"]),
        pods: amount(["pods", "count/pods"]),
        extended: extended.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_comes_in_the_planners_terms() {
        let amounts = |list: &[(&str, u64)]| list.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        let found = convert::Quota {
            hard: amounts(&[
                ("cpu", 4_000),
                ("requests.cpu", 3_000),
                ("requests.memory", 1 << 30),
                ("count/pods", 9),
                ("requests.nvidia.com/gpu", 2),
                ("requests.storage", 7),
                ("limits.cpu", 1),
            ]),
            ..convert::Quota::default()
        };
        let expected = Limits {
            cpu_milli: Some(3_000),
            memory_bytes: Some(1 << 30),
            pods: Some(9),
            extended: [("nvidia.com/gpu".to_owned(), 2)].into(),
        };
        assert_eq!(
            quota(&found),
            Quota {
                hard: expected,
                used: Limits::default()
            }
        );
    }

    #[test]
    fn nothing_is_complete_before_every_kind_is() {
        let ends = [
            Change::Namespace(Event::Synced),
            Change::Pod(Event::Synced),
            Change::Quota(Event::Synced),
            Change::Node(Event::Synced),
        ];
        let mut missing = Missing::default();
        for end in &ends {
            assert!(!missing.is_empty(), "{missing:?}");
            missing.note(&Change::Node(Event::Deleted("n".into())));
            missing.note(end);
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn stand_ins_are_shown_once_they_exist_and_until_they_end() {
        let pod = Pod {
            stand_in_for: Some("u".into()),
            ..Pod::default()
        };
        assert!(is_unseen_stand_in(&pod));
        assert!(!is_unseen_stand_in(&Pod {
            deleting: true,
            ..pod.clone()
        }));
        assert!(!is_unseen_stand_in(&Pod {
            phase: Phase::Failed,
            ..pod.clone()
        }));
        assert!(!is_unseen_stand_in(&Pod {
            stand_in_for: None,
            ..pod
        }));
    }
}
