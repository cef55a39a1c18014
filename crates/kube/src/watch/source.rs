//! One kind's list and then its changes, one after the other, for as long as it is asked.
//!
//! kube's own watcher speaks JSON, which for 50,000 pods means half a gigabyte that the API server takes a quarter of a
//! minute to write. This one asks for protobuf and holds one object at a time. What it does is otherwise the same: list,
//! watch from the list's version on, watch again from the last version seen, list again when that is too old.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http_body_util::{BodyExt as _, Collected, Limited};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::client::Body;
use kube::core::Request;
use prost::Message as _;
use tokio::time::timeout;

use super::{Selection, Watched};
use crate::protobuf::{self, Change as Told, Frames, List, Part, Status};

/// How long an answer may keep us waiting, or a list say nothing. The API server itself gives up after a minute.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a watch may say nothing: bookmarks come about once a minute even when nothing happens.
const WATCH_SILENCE: Duration = Duration::from_secs(150);
/// After this many seconds the API server ends a watch by itself.
const WATCH_TIMEOUT_S: u32 = 290;
/// As much of a refusal is read.
const REFUSAL_BYTES: usize = 1 << 16;

/// Why there is no next change; the next call goes on as well as it can.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No connection, or it broke.
    #[error("failed to reach the API server")]
    Request(#[from] kube::Error),
    /// The API server said no.
    #[error("failed to watch: the API server answered {code}: {message}")]
    Refused { code: u16, message: String },
    /// Neither an answer nor a refusal.
    #[error("failed to read what the API server sent")]
    Read(#[from] protobuf::Error),
    /// Not a word for too long.
    #[error("failed to watch: no word from the API server for {0:?}")]
    Silence(Duration),
    /// The path or the parameters are wrong, which is a bug.
    #[error("failed to build the request")]
    Build(#[from] kube::core::request::Error),
    /// The watch has ended as all watches do.
    #[error("the watch has ended")]
    Ended,
}

impl Error {
    /// Part of the ordinary life of a watch.
    pub(super) const fn is_expected(&self) -> bool {
        matches!(self, Self::Ended | Self::Refused { code: 410, .. })
    }
}

/// What a list or a watch tells.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "one exists at a time, and nearly all of them carry an object"
)]
pub(super) enum Change<K> {
    /// What follows is a new list.
    ListBegins,
    /// One object of it.
    Listed(K),
    /// It is complete.
    ListEnds,
    /// Added or modified.
    Applied(K),
    /// Gone.
    Deleted(ObjectMeta),
}

/// Where it stands.
enum State {
    /// A list is to be asked for.
    Empty,
    /// A list is being read; the version is known once its beginning is.
    Listing { body: Body, list: List, version: String },
    /// A watch from this version on is to be asked for.
    Listed(String),
    /// A watch is being read; all before this version has been told.
    Watching {
        body: Body,
        frames: Frames,
        version: String,
    },
}

/// A kind's list and changes.
pub(super) struct Source<K> {
    api: Api<K>,
    state: State,
}

impl<K: Watched> Source<K> {
    pub(super) fn new(client: Client, selection: Selection) -> Self {
        Self {
            api: Api {
                client,
                selection,
                kind: PhantomData,
            },
            state: State::Empty,
        }
    }

    /// The next change. After an error the next call lists or watches again.
    pub(super) async fn next(&mut self) -> Result<Change<K>, Error> {
        // Taken out, so that an error (or a cancelled call) leaves no half-read body behind.
        match std::mem::replace(&mut self.state, State::Empty) {
            State::Empty => self.begin_list().await,
            State::Listing { body, list, version } => self.go_on_listing(body, list, version).await,
            State::Listed(version) => self.begin_watch(version).await,
            State::Watching { body, frames, version } => self.go_on_watching(body, frames, version).await,
        }
    }

    async fn begin_list(&mut self) -> Result<Change<K>, Error> {
        self.state = State::Listing {
            body: self.api.list().await?,
            list: List::default(),
            version: String::new(),
        };
        Ok(Change::ListBegins)
    }

    async fn go_on_listing(&mut self, mut body: Body, mut list: List, mut version: String) -> Result<Change<K>, Error> {
        loop {
            match list.next()? {
                Some(Part::Version(of_list)) => version = of_list,
                Some(Part::Item(message)) => {
                    if let Some(object) = self.api.read(message).await? {
                        self.state = State::Listing { body, list, version };
                        return Ok(Change::Listed(object));
                    }
                }
                None => {
                    let Some(bytes) = chunk(&mut body, SILENCE).await? else {
                        list.finish()?;
                        self.state = State::Listed(version);
                        return Ok(Change::ListEnds);
                    };
                    list.push(&bytes);
                }
            }
        }
    }

    async fn begin_watch(&mut self, version: String) -> Result<Change<K>, Error> {
        match self.api.watch(&version).await {
            Ok(body) => self.go_on_watching(body, Frames::default(), version).await,
            Err(error) => Err(self.resume_after(error, version)),
        }
    }

    async fn go_on_watching(
        &mut self,
        mut body: Body,
        mut frames: Frames,
        mut version: String,
    ) -> Result<Change<K>, Error> {
        loop {
            let change = match frames.next() {
                Ok(Some(change)) => change,
                Ok(None) => match chunk(&mut body, WATCH_SILENCE).await {
                    Ok(Some(bytes)) => {
                        frames.push(&bytes);
                        continue;
                    }
                    Ok(None) => return Err(self.resume_after(Error::Ended, version)),
                    Err(error) => return Err(self.resume_after(error, version)),
                },
                Err(error) => return Err(error.into()),
            };
            let change = match change {
                Told::Bookmark(of_bookmark) => {
                    version = of_bookmark;
                    continue;
                }
                Told::Refused(status) => return Err(self.resume_after(refused(status), version)),
                Told::Deleted(message) => Change::Deleted(protobuf::identity(message)?),
                Told::Applied(message) => match self.api.read(message.clone()).await? {
                    Some(object) => Change::Applied(object),
                    None => Change::Deleted(protobuf::identity(message)?),
                },
            };
            let of_change = match &change {
                Change::Applied(object) => object.meta().resource_version.as_ref(),
                Change::Deleted(metadata) => metadata.resource_version.as_ref(),
                _ => None,
            };
            if let Some(of_change) = of_change {
                version.clone_from(of_change);
            }
            self.state = State::Watching { body, frames, version };
            return Ok(change);
        }
    }

    /// The next call watches from this version on, if the API server still has what came after it.
    fn resume_after(&mut self, error: Error, version: String) -> Error {
        if !matches!(error, Error::Refused { code: 410, .. }) {
            self.state = State::Listed(version);
        }
        error
    }
}

/// The API server's side of one kind.
struct Api<K> {
    client: Client,
    selection: Selection,
    kind: PhantomData<fn() -> K>,
}

impl<K: Watched> Api<K> {
    async fn list(&self) -> Result<Body, Error> {
        let Selection { fields, labels } = self.selection.clone();
        let parameters = ListParams {
            field_selector: fields,
            label_selector: labels,
            ..ListParams::default()
        };
        let request = Request::new(K::url_path(&(), None)).list(&parameters)?;
        self.ask(request, protobuf::ACCEPT_LIST).await
    }

    async fn watch(&self, version: &str) -> Result<Body, Error> {
        let Selection { fields, labels } = self.selection.clone();
        let parameters = WatchParams {
            field_selector: fields,
            label_selector: labels,
            timeout: Some(WATCH_TIMEOUT_S),
            ..WatchParams::default()
        };
        let request = Request::new(K::url_path(&(), None)).watch(&parameters, version)?;
        self.ask(request, protobuf::ACCEPT_WATCH).await
    }

    /// The object of a message. One that has a text that is not UTF-8 is asked for again as JSON, in which the API server
    /// mends such texts; `None` if it is gone by then.
    async fn read(&self, message: Bytes) -> Result<Option<K>, Error> {
        if let Ok(object) = K::from_protobuf(&message) {
            return Ok(Some(object));
        }
        let metadata = protobuf::identity(message)?;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.unwrap_or_default());
        tracing::info!(kind = K::KIND, namespace, name, "reading an object as JSON");
        let request = Request::new(K::url_path(&(), namespace)).get(&name, &kube::api::GetParams::default())?;
        match timeout(SILENCE, self.client.request::<K>(request)).await {
            Err(_elapsed) => Err(Error::Silence(SILENCE)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(answer) => {
                let mut object = answer?;
                // Not that of the answer, which may be newer: a watch that went on from it would miss what others did
                // in between.
                object.meta_mut().resource_version = metadata.resource_version;
                Ok(Some(object))
            }
        }
    }

    async fn ask(&self, mut request: http::Request<Vec<u8>>, accept: &'static str) -> Result<Body, Error> {
        let limit = SILENCE;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        let asked = timeout(limit, self.client.send(request.map(Body::from))).await;
        let answer = asked.map_err(|_elapsed| Error::Silence(limit))??;
        let code = answer.status();
        if code.is_success() {
            return Ok(answer.into_body());
        }
        let text = timeout(limit, Limited::new(answer.into_body(), REFUSAL_BYTES).collect()).await;
        let text = text
            .ok()
            .and_then(Result::ok)
            .map(Collected::to_bytes)
            .unwrap_or_default();
        let status = protobuf::open(&text)
            .ok()
            .and_then(|message| Status::decode(message).ok());
        Err(Error::Refused {
            code: code.as_u16(),
            message: status.map_or_else(|| String::from_utf8_lossy(&text).into_owned(), |status| status.message),
        })
    }
}

fn refused(status: Status) -> Error {
    Error::Refused {
        code: u16::try_from(status.code).unwrap_or_default(),
        message: status.message,
    }
}

/// More of the body, `None` at its end.
async fn chunk(body: &mut Body, silence: Duration) -> Result<Option<Bytes>, Error> {
    loop {
        let frame = timeout(silence, body.frame()).await;
        match frame.map_err(|_elapsed| Error::Silence(silence))? {
            None => return Ok(None),
            Some(frame) => {
                // Trailers say nothing that we need.
                if let Ok(bytes) = frame?.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}
