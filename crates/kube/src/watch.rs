//! Watch feeds: everything of a kind, converted at the door, into one bounded channel.
//!
//! A feed holds no objects, only the keys of what it has told. So the receiver hears of every deletion, also of those
//! that happened while the watch was broken, and its own state is the only copy.

use std::collections::HashSet;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kompass_core::{Node, Pod};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::convert::{self, Quota};
use crate::object;

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
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {
    /// What the receiver gets.
    type View: Send + 'static;
    /// The kind in words, for logs.
    const KIND: &'static str;

    /// What tells this object from others and from a later one of the same name where that matters.
    fn key(&self) -> String;

    /// The view of it.
    fn view(self) -> Result<Self::View, convert::Error>;
}

impl Watched for object::Pod {
    type View = Box<Pod>;
    const KIND: &'static str = "pod";

    fn key(&self) -> String {
        self.metadata.uid.clone().unwrap_or_default()
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

    fn key(&self) -> String {
        self.metadata.name.clone().unwrap_or_default()
    }

    fn view(self) -> Result<Node, convert::Error> {
        convert::node(self)
    }
}

impl Watched for object::ResourceQuota {
    type View = Quota;
    const KIND: &'static str = "quota";

    fn key(&self) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{}/{}", part(&self.metadata.namespace), part(&self.metadata.name))
    }

    fn view(self) -> Result<Quota, convert::Error> {
        convert::quota(self)
    }
}

/// How a feed is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only these objects (a field selector).
    pub fields: Option<String>,
    /// Only these objects (a label selector).
    pub labels: Option<String>,
    /// Begin with a streaming list: far less memory here and in the API server. Falls back to pages where the server
    /// does not know it.
    pub streaming: bool,
    /// A streaming list that says nothing for this long is taken for one that the server doesn't know: servers before
    /// 1.27 ignore the request and never say that the list is complete.
    pub streaming_silence: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fields: None,
            labels: None,
            streaming: true,
            streaming_silence: Duration::from_secs(10),
        }
    }
}

/// Feeds all objects that `api` shows into `events`, for ever; returns when the receiver is gone.
///
/// `wrap` puts the event into the channel's type, so that one channel can carry several kinds.
pub async fn feed<K: Watched, M: Send>(
    api: Api<K>,
    options: Options,
    events: mpsc::Sender<M>,
    wrap: impl Fn(Event<K::View>) -> M + Send,
) {
    let mut told = Told::default();
    let mut streaming = options.streaming;
    let mut pause = FIRST_PAUSE;
    loop {
        let mut stream = pin!(watcher(api.clone(), configuration(&options, streaming)));
        let mut initialising = true;
        loop {
            let silence = (streaming && initialising).then_some(options.streaming_silence);
            let item = tokio::select! {
                item = next(&mut stream, silence) => item,
                () = events.closed() => return,
            };
            match item {
                Some(Ok(event)) => {
                    pause = FIRST_PAUSE;
                    initialising = match event {
                        watcher::Event::Init => true,
                        watcher::Event::InitDone => false,
                        _ => initialising,
                    };
                    for event in told.translate(event) {
                        if events.send(wrap(event)).await.is_err() {
                            return;
                        }
                    }
                }
                Some(Err(error)) if streaming && initialising && streaming_is_refused(&error) => {
                    tracing::info!(
                        kind = K::KIND,
                        "the API server has no streaming lists, listing by pages"
                    );
                    streaming = false;
                    break;
                }
                Some(Err(error)) => {
                    tracing::warn!(
                        kind = K::KIND,
                        error = convert::chain(&error),
                        "watch interrupted, trying again"
                    );
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = events.closed() => return,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                // The watcher itself never ends: this is the silence of a streaming list.
                None => {
                    tracing::warn!(kind = K::KIND, "a streaming list fell silent, listing by pages");
                    streaming = false;
                    break;
                }
            }
        }
    }
}

/// The next item; `None` after a silence.
async fn next<S: Stream + Unpin>(stream: &mut S, silence: Option<Duration>) -> Option<S::Item> {
    match silence {
        Some(limit) => timeout(limit, stream.next()).await.unwrap_or(None),
        None => stream.next().await,
    }
}

fn configuration(options: &Options, streaming: bool) -> watcher::Config {
    let config = watcher::Config {
        field_selector: options.fields.clone(),
        label_selector: options.labels.clone(),
        ..watcher::Config::default()
    };
    if streaming { config.streaming_lists() } else { config }
}

/// 422: the feature is off; 400: the parameter is unknown.
fn streaming_is_refused(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 400 | 422))
}

/// The keys of what the receiver has been told.
#[derive(Debug)]
struct Told<K> {
    keys: HashSet<String>,
    /// Keys of the list that is being read.
    listed: Option<HashSet<String>>,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K> Default for Told<K> {
    fn default() -> Self {
        Self {
            keys: HashSet::new(),
            listed: None,
            kind: std::marker::PhantomData,
        }
    }
}

impl<K: Watched> Told<K> {
    fn translate(&mut self, event: watcher::Event<K>) -> Vec<Event<K::View>> {
        match event {
            watcher::Event::Init => {
                self.listed = Some(HashSet::with_capacity(self.keys.len()));
                Vec::new()
            }
            watcher::Event::InitApply(object) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(object.key());
                }
                self.apply(object)
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone = self.keys.extract_if(|key| !listed.contains(key)).map(Event::Deleted);
                gone.chain([Event::Synced]).collect()
            }
            watcher::Event::Apply(object) => self.apply(object),
            watcher::Event::Delete(object) => self.delete(&object.key()),
        }
    }

    fn apply(&mut self, object: K) -> Vec<Event<K::View>> {
        let key = object.key();
        match object.view() {
            Ok(view) => {
                self.keys.insert(key);
                vec![Event::Applied(view)]
            }
            Err(error) => {
                // The API server validates what it stores, so this is a bug or a version we don't know: the object is
                // left out, loudly.
                tracing::error!(
                    kind = K::KIND,
                    key,
                    error = convert::chain(&error),
                    "failed to read an object"
                );
                self.delete(&key)
            }
        }
    }

    fn delete(&mut self, key: &str) -> Vec<Event<K::View>> {
        self.keys.take(key).map(Event::Deleted).into_iter().collect()
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
}

/// Feeds of all pods, nodes and resource quotas into one channel; the future runs until the receiver is dropped.
///
/// Nodes come before pods as far as the first lists go: whoever counts a pod's room wants its node first.
pub fn cluster(
    client: &Client,
    options: &Options,
) -> (mpsc::Receiver<Change>, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
    let nodes = feed::<object::Node, _>(Api::all(client.clone()), options.clone(), sender.clone(), Change::Node);
    let quotas =
        feed::<object::ResourceQuota, _>(Api::all(client.clone()), options.clone(), sender.clone(), Change::Quota);
    let pods = feed::<object::Pod, _>(Api::all(client.clone()), options.clone(), sender, Change::Pod);
    let all = async move {
        tokio::join!(nodes, quotas, pods);
    };
    (receiver, all)
}

#[cfg(test)]
mod tests;
