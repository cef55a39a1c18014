//! The pods of a namespace that are Spark's, as they change.

use std::time::Duration;

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kompass_core::names::SPARK_ROLE_LABEL;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use std::pin::Pin;

/// How long the first answer may take.
const BEGIN_LIMIT: Duration = Duration::from_secs(20);
/// Errors in a row after which nothing is hoped for.
const MAX_FAILURES: usize = 20;
/// Between two tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Changes of pods, in their order.
pub(super) struct Changes {
    events: Pin<Box<dyn Stream<Item = watcher::Result<Event<Pod>>> + Send>>,
}

/// A change of a pod.
#[derive(Debug)]
pub(super) enum Change {
    /// It is new or different.
    Applied(Box<Pod>),
    /// It is gone.
    Deleted(Box<Pod>),
}

/// Begins to watch and returns when every later change will be seen.
pub(super) async fn start(client: Client, namespace: &str) -> anyhow::Result<Changes> {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().labels(&format!("{SPARK_ROLE_LABEL} in (driver, executor)"));
    let mut events: Pin<Box<dyn Stream<Item = watcher::Result<Event<Pod>>> + Send>> = Box::pin(watcher(pods, config));
    let begun = async {
        while let Some(event) = events.next().await {
            if matches!(event?, Event::InitDone) {
                return Ok(());
            }
        }
        anyhow::bail!("the watch has ended")
    };
    tokio::time::timeout(BEGIN_LIMIT, begun)
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", BEGIN_LIMIT.as_secs())))
        .context("failed to watch the pods")?;
    Ok(Changes { events })
}

impl Changes {
    /// The next change. Can be dropped and called again without losing any.
    pub(super) async fn next(&mut self) -> anyhow::Result<Change> {
        let mut failures = 0;
        loop {
            match self.events.next().await.context("the watch of the pods has ended")? {
                Ok(Event::Apply(pod) | Event::InitApply(pod)) => return Ok(Change::Applied(Box::new(pod))),
                Ok(Event::Delete(pod)) => return Ok(Change::Deleted(Box::new(pod))),
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => {
                    failures += 1;
                    anyhow::ensure!(failures < MAX_FAILURES, "failed to watch the pods: {error}");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }
}
