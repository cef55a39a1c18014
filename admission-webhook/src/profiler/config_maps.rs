//! News of `ConfigMaps` by name only.
//!
//! A driver's configuration comes some tenths of a second after the driver, and a profile should follow at once, for
//! any number of waiting drivers. So one watch tells the names of all `ConfigMaps` that are made: of their metadata alone,
//! since configurations hold secrets. What is in one is read by its name, when a driver says that it is its own.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::sleep;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// News of `ConfigMaps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// This one was made or changed.
    Named { namespace: String, name: String },
    /// Some may have been made that nobody told of.
    Unknown,
}

/// Sends news for ever; returns when the receiver is gone.
pub(super) async fn feed(client: Client, changes: mpsc::Sender<Change>) {
    let api = Api::<ConfigMap>::all(client);
    let mut pause = FIRST_PAUSE;
    // Where the watch goes on; `None`: from now.
    let mut version: Option<String> = None;
    loop {
        match watch(&api, &mut version, &changes).await {
            Ok(Ended::Stream) => pause = FIRST_PAUSE,
            Ok(Ended::Receiver) => return,
            Err(error) => {
                tracing::warn!(error = %error, "watch of ConfigMaps interrupted, trying again");
                version = None;
                tokio::select! {
                    () = sleep(pause) => {}
                    () = changes.closed() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

enum Ended {
    Stream,
    Receiver,
}

async fn watch(
    api: &Api<ConfigMap>,
    version: &mut Option<String>,
    changes: &mpsc::Sender<Change>,
) -> Result<Ended, RequestError> {
    let from = if let Some(from) = version.take() {
        from
    } else {
        // One object of the list is enough to learn where "now" is.
        let list = within(REQUEST_TIMEOUT, api.list_metadata(&ListParams::default().limit(1))).await?;
        // What was made before may have gone untold; what is made from here on is told.
        if changes.send(Change::Unknown).await.is_err() {
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
