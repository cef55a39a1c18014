//! From the watches into the view.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kompass_core::{Node, Pod};
use kompass_kube::object;
use kompass_kube::watch::{self, CHANNEL_CAPACITY, Event, Selection};
use kube::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::view::View;

/// Changes that are applied under one lock.
const BATCH: usize = 128;

/// The view, and whether all that exists has been told.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    view: View,
    nodes_told: bool,
    pods_told: bool,
}

enum Change {
    Node(Event<Node>),
    Pod(Event<Box<Pod>>),
}

impl Shared {
    /// Looks at the view; none before everything has been told. Not to be held while anything is waited for.
    pub fn look<R>(&self, look: impl FnOnce(&View) -> R) -> Option<R> {
        let state = self.lock();
        (state.nodes_told && state.pods_told).then(|| look(&state.view))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is behind it is never left half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches until `end`.
pub async fn run(client: Client, shared: Shared, end: CancellationToken) {
    let (sender, mut changes) = mpsc::channel(CHANNEL_CAPACITY);
    let all = Selection::default;
    let nodes = watch::feed::<object::Node, _>(client.clone(), all(), sender.clone(), Change::Node);
    let pods = watch::feed::<object::Pod, _>(client, all(), sender, Change::Pod);
    let applying = async {
        let mut batch = Vec::with_capacity(BATCH);
        while changes.recv_many(&mut batch, BATCH).await > 0 {
            let mut state = shared.lock();
            for change in batch.drain(..) {
                state.apply(change);
            }
        }
    };
    tokio::select! {
        biased;
        () = end.cancelled() => {}
        _ = async { tokio::join!(nodes, pods, applying) } => {}
    }
}

impl State {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Node(Event::Applied(node)) => self.view.apply_node(node),
            Change::Node(Event::Deleted(name)) => self.view.delete_node(&name),
            Change::Node(Event::Synced) => self.nodes_told = true,
            Change::Pod(Event::Applied(pod)) => self.view.apply_pod(&pod),
            Change::Pod(Event::Deleted(uid)) => self.view.delete_pod(&uid),
            Change::Pod(Event::Synced) => self.pods_told = true,
        }
    }
}
