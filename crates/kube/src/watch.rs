//! Watch feeds: everything of a kind, converted at the door, into one bounded channel.
//!
//! A feed holds no objects, only the keys of what it has told. So the receiver hears of every deletion, also of those
//! that happened while the watch was broken, and its own state is the only copy.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kompass_core::{Node, Pod};
use kube::Client;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::convert::{self, Namespace, Quota};
use crate::object::{self, Object};

mod source;
mod told;

use self::source::Source;
use self::told::Told;

/// Events that may wait for the receiver; when it is slower than the API server the watch waits, not the memory.
pub const CHANNEL_CAPACITY: usize = 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A change of one object of a kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<T> {
    /// It is there, new or changed or the same as before (after a new list).
    Applied(T),
    /// It is gone: the key that [`Watched::key`] gave it.
    Deleted(String),
    /// All that exist have been told. Comes again after each new list.
    Synced,
}

/// A kind that can be fed.
pub trait Watched: Object {
    /// What the receiver gets.
    type View: Send + 'static;

    /// The kind in words, for logs.
    const KIND: &'static str;

    /// What tells this object from others and from a later one of the same name where that matters.
    fn key(metadata: &ObjectMeta) -> String;

    /// The view of it.
    fn view(self) -> Result<Self::View, convert::Error>;
}

impl Watched for object::Pod {
    type View = Box<Pod>;
    const KIND: &'static str = "pod";

    fn key(metadata: &ObjectMeta) -> String {
        metadata.uid.clone().unwrap_or_default()
    }

    fn view(self) -> Result<Box<Pod>, convert::Error> {
        let (pod, warnings) = convert::pod(self)?;
        for warning in warnings {
            tracing::warn!(
                namespace = pod.namespace,
                pod = pod.name,
                warning,
                "read a pod with a warning"
            );
        }
        Ok(Box::new(pod))
    }
}

impl Watched for object::Node {
    type View = Node;
    const KIND: &'static str = "node";

    fn key(metadata: &ObjectMeta) -> String {
        metadata.name.clone().unwrap_or_default()
    }

    fn view(self) -> Result<Node, convert::Error> {
        convert::node(self)
    }
}

impl Watched for object::ResourceQuota {
    type View = Quota;
    const KIND: &'static str = "quota";

    fn key(metadata: &ObjectMeta) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
    }

    fn view(self) -> Result<Quota, convert::Error> {
        convert::quota(self)
    }
}

impl Watched for object::Namespace {
    type View = Namespace;
    const KIND: &'static str = "namespace";

    fn key(metadata: &ObjectMeta) -> String {
        metadata.name.clone().unwrap_or_default()
    }

    fn view(self) -> Result<Namespace, convert::Error> {
        convert::namespace(self)
    }
}

/// Which objects a feed tells of.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these objects (a field selector).
    pub fields: Option<String>,
    /// Only these objects (a label selector).
    pub labels: Option<String>,
}

/// Feeds all objects of a kind into `events`, for ever; returns when the receiver is gone.
///
/// `wrap` puts the event into the channel's type, so that one channel can carry several kinds.
pub async fn feed<K: Watched, M: Send>(
    client: Client,
    selection: Selection,
    events: mpsc::Sender<M>,
    wrap: impl Fn(Event<K::View>) -> M + Send,
) {
    let closed = events.clone();
    let feeding = async {
        let mut source = Source::<K>::new(client, selection);
        let mut told = Told::<K>::default();
        let mut pause = FIRST_PAUSE;
        loop {
            match source.next().await {
                Ok(change) => {
                    pause = FIRST_PAUSE;
                    for event in told.translate(change) {
                        if events.send(wrap(event)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) if error.is_expected() => {
                    tracing::debug!(kind = K::KIND, error = convert::chain(&error), "watching anew");
                    sleep(FIRST_PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(
                        kind = K::KIND,
                        error = convert::chain(&error),
                        "watch interrupted, trying again"
                    );
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    };
    tokio::select! {
        () = feeding => {}
        () = closed.closed() => {}
    }
}

/// A change in the cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Of a pod, by UID.
    Pod(Event<Box<Pod>>),
    /// Of a node, by name.
    Node(Event<Node>),
    /// Of a resource quota, by `namespace/name`.
    Quota(Event<Quota>),
    /// Of a namespace, by name.
    Namespace(Event<Namespace>),
}

/// Feeds of all pods, nodes, resource quotas and namespaces into one channel; the future runs until the receiver is dropped.
///
/// Nodes come before pods as far as the first lists go: whoever counts a pod's room wants its node first.
pub fn cluster(client: &Client) -> (mpsc::Receiver<Change>, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
    let everything = Selection::default;
    let nodes = feed::<object::Node, _>(client.clone(), everything(), sender.clone(), Change::Node);
    let quotas = feed::<object::ResourceQuota, _>(client.clone(), everything(), sender.clone(), Change::Quota);
    let namespaces = feed::<object::Namespace, _>(client.clone(), everything(), sender.clone(), Change::Namespace);
    let pods = feed::<object::Pod, _>(client.clone(), everything(), sender, Change::Pod);
    let all = async move {
        tokio::join!(nodes, quotas, namespaces, pods);
    };
    (receiver, all)
}

#[cfg(test)]
mod tests;
