//! News of `ConfigMaps` by name only.
//!
//! A driver's configuration comes some tenths of a second after the driver, and a profile should follow at once, for
//! any number of waiting drivers. So one watch tells the names of all `ConfigMaps` that are made: of their metadata alone,
//! since configurations hold secrets. What is in one is read by its name, when a driver says that it is its own. Where
//! only some namespaces are KOMPASS's business, each has a watch of its own, as rights are given for each.

mod labelled;

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kompass_service::logging::chain;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::sleep;

pub(super) use self::labelled::feed_labelled;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The same where rights are missing: somebody has to give them first.
const FIRST_PAUSE_DENIED: Duration = Duration::from_secs(5);
const LONGEST_PAUSE_DENIED: Duration = Duration::from_mins(5);

/// News of `ConfigMaps`, and of the namespaces that they are watched in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// This one was made or changed.
    Named { namespace: String, name: String },
    /// The watch of this namespace, or of all, has begun anew: some may have been made that nobody told of.
    Unknown { namespace: Option<String> },
    /// The namespace is labelled from now on.
    Labelled(String),
    /// It is no more.
    Unlabelled(String),
    /// The right to watch those of the namespace, or of all, is missing.
    Denied { namespace: Option<String> },
    /// All labelled namespaces have been told.
    Synced,
}

/// Sends news of one namespace, or of all, for ever; returns when the receiver is gone.
pub(super) async fn feed(client: Client, namespace: Option<String>, changes: mpsc::Sender<Change>) {
    let api = match &namespace {
        Some(namespace) => Api::<ConfigMap>::namespaced(client, namespace),
        None => Api::<ConfigMap>::all(client),
    };
    let mut pause = FIRST_PAUSE;
    let mut denied_pause = FIRST_PAUSE_DENIED;
    // Where the watch goes on; `None`: from now.
    let mut version: Option<String> = None;
    loop {
        let wait = match watch(&api, namespace.as_ref(), &mut version, &changes).await {
            Ok(Ended::Stream) => {
                (pause, denied_pause) = (FIRST_PAUSE, FIRST_PAUSE_DENIED);
                continue;
            }
            Ok(Ended::Receiver) => return,
            Err(error) => {
                tracing::warn!(
                    namespace,
                    error = chain(&error),
                    "watch of ConfigMaps interrupted, trying again"
                );
                version = None;
                if error.status() == Some(403) {
                    let namespace = namespace.clone();
                    if changes.send(Change::Denied { namespace }).await.is_err() {
                        return;
                    }
                    doubled(&mut denied_pause, LONGEST_PAUSE_DENIED)
                } else {
                    doubled(&mut pause, LONGEST_PAUSE)
                }
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = changes.closed() => return,
        }
    }
}

/// The present pause; the next one is twice as long.
fn doubled(pause: &mut Duration, longest: Duration) -> Duration {
    let present = *pause;
    *pause = (present * 2).min(longest);
    present
}

enum Ended {
    Stream,
    Receiver,
}

async fn watch(
    api: &Api<ConfigMap>,
    namespace: Option<&String>,
    version: &mut Option<String>,
    changes: &mpsc::Sender<Change>,
) -> Result<Ended, RequestError> {
    let from = if let Some(from) = version.take() {
        from
    } else {
        // One object of the list is enough to learn where "now" is.
        let list = within(REQUEST_TIMEOUT, api.list_metadata(&ListParams::default().limit(1))).await?;
        // What was made before may have gone untold; what is made from here on is told.
        let namespace = namespace.cloned();
        if changes.send(Change::Unknown { namespace }).await.is_err() {
            return Ok(Ended::Receiver);
        }
        list.metadata.resource_version.unwrap_or_default()
    };
    let stream = within(REQUEST_TIMEOUT, api.watch_metadata(&WatchParams::default(), &from)).await?;
    let mut stream = std::pin::pin!(stream);
    *version = Some(from);
    while let Some(event) = stream.next().await {
        match event? {
            WatchEvent::Added(PartialObjectMeta { metadata, .. })
            | WatchEvent::Modified(PartialObjectMeta { metadata, .. }) => {
                let ObjectMeta {
                    namespace,
                    name,
                    resource_version,
                    ..
                } = metadata;
                let change = Change::Named {
                    namespace: namespace.unwrap_or_default(),
                    name: name.unwrap_or_default(),
                };
                if changes.send(change).await.is_err() {
                    return Ok(Ended::Receiver);
                }
                *version = resource_version;
            }
            WatchEvent::Deleted(PartialObjectMeta { metadata, .. }) => *version = metadata.resource_version,
            WatchEvent::Bookmark(bookmark) => *version = Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(RequestError::Api(kube::Error::Api(status))),
        }
    }
    Ok(Ended::Stream)
}
