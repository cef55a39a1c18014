//! The watches of `ConfigMaps` of labelled namespaces: one each, from the label's coming to its going.

use kompass_core::names;
use kompass_kube::object;
use kompass_kube::watch::{CHANNEL_CAPACITY, Event, Selection, feed as feed_objects};
use kube::Client;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::{Change, feed};

/// Sends news of the namespaces labelled `kompass.dev/enabled=true`, but for those excluded, and of their `ConfigMaps`;
/// returns when the receiver is gone.
pub(in crate::profiler) async fn feed_labelled(client: Client, excluded: Vec<String>, changes: mpsc::Sender<Change>) {
    let selection = Selection {
        labels: Some(format!("{}=true", names::ENABLED_LABEL)),
        ..Selection::default()
    };
    let (sender, mut namespaces) = mpsc::channel(CHANNEL_CAPACITY);
    let watching = feed_objects::<object::Namespace, _>(client.clone(), selection, sender, |event| event);
    let mut watching = std::pin::pin!(watching);
    // Dropped with this future, which ends all of them.
    let mut tasks = JoinSet::new();
    let mut feeds = FxHashMap::<String, AbortHandle>::default();
    loop {
        let change = tokio::select! {
            () = &mut watching => return,
            () = changes.closed() => return,
            Some(ended) = tasks.join_next() => match ended {
                Err(error) if error.is_cancelled() => continue,
                // A feed ends only where nobody listens any more, or by a mistake in the program.
                _ => return,
            },
            Some(event) = namespaces.recv() => match event {
                Event::Applied(namespace) if excluded.contains(&namespace.name) => continue,
                Event::Applied(namespace) if feeds.contains_key(&namespace.name) => continue,
                Event::Applied(namespace) => Change::Labelled(namespace.name),
                Event::Deleted(name) => match feeds.remove(&name) {
                    None => continue,
                    Some(running) => {
                        running.abort();
                        Change::Unlabelled(name)
                    }
                },
                Event::Synced => Change::Synced,
            },
        };
        // Told before its watch tells anything.
        if changes.send(change.clone()).await.is_err() {
            return;
        }
        if let Change::Labelled(name) = change {
            let running = tasks.spawn(feed(client.clone(), Some(name.clone()), changes.clone()));
            feeds.insert(name, running);
        }
    }
}
