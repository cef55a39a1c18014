//! An HTTPS proxy between one service and the API server, inside the test: a fault hits exactly the request that the
//! test names, before or after the API server has seen it. The service needs no hook for it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kompass_local_cluster::api_only::Cluster;
use kompass_local_cluster::pki::{self, Identity};
use kompass_local_cluster::process::Record;
use kube::Client;
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A request on its way to the API server.
#[derive(Debug)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path without the query.
    pub path: String,
    /// Its whole body.
    pub body: Bytes,
}

impl Seen {
    /// Whether it binds a pod whose name begins so.
    pub fn binds(&self, pod: &str) -> bool {
        let name = self
            .path
            .strip_suffix("/binding")
            .and_then(|path| path.rsplit_once("/pods/"));
        self.method == Method::POST && name.is_some_and(|(_, name)| name.starts_with(pod))
    }

    /// Whether it patches this pod with a body that has these words.
    pub fn patches(&self, pod: &str, words: &str) -> bool {
        self.method == Method::PATCH && self.path.ends_with(&format!("/pods/{pod}")) && self.has(words)
    }

    /// Whether its body has these words.
    pub fn has(&self, words: &str) -> bool {
        self.body.windows(words.len()).any(|window| window == words.as_bytes())
    }
}

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the request is passed on: the API server never sees one that ends here.
    Before,
    /// After the API server has answered, before the service hears of it.
    After,
}

/// What happens.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The service itself is killed; the request or its answer is lost with it.
    Kill(Record),
    /// Another process gets a signal; request and answer pass.
    Signal(Record, Signal),
    /// The connection is cut.
    Cut,
    /// Everything stands still for so long.
    Delay(Duration),
    /// The service hears this status, whatever became of the request.
    Answer(StatusCode),
}

type Matches = Box<dyn Fn(&Seen) -> bool + Send + Sync>;

struct Fault {
    matches: Matches,
    moment: Moment,
    effect: Effect,
    left: usize,
    hits: watch::Sender<usize>,
}

/// A fault that was armed: tells when it has happened.
#[derive(Debug)]
pub struct Armed(watch::Receiver<usize>);

impl Armed {
    /// Waits until the fault has happened for the first time.
    ///
    /// # Errors
    /// It has not happened within `limit`.
    pub async fn hit(&mut self, limit: Duration) -> anyhow::Result<()> {
        let hit = self.0.wait_for(|hits| *hits > 0);
        tokio::time::timeout(limit, hit)
            .await
            .with_context(|| format!("no request met the fault within {limit:?}"))??;
        Ok(())
    }

    /// How often it has happened.
    pub fn hits(&self) -> usize {
        *self.0.borrow()
    }
}

/// The proxy of one service. Dropping it cuts all connections.
#[derive(Debug)]
pub struct FaultProxy {
    kubeconfig: PathBuf,
    shared: Arc<Shared>,
    _tasks: JoinSet<Infallible>,
}

struct Shared {
    api_server: Client,
    faults: Mutex<Vec<Fault>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// Begins to serve as `user`: whoever uses the proxy's kubeconfig is that user to the API server.
    ///
    /// # Errors
    /// No certificate, or no port.
    pub async fn start(cluster: &Cluster, user: &str, groups: &[&str]) -> anyhow::Result<Self> {
        let direct = Kubeconfig::read_from(cluster.kubeconfig_for(user, groups)?)?;
        let mut config = Config::from_custom_kubeconfig(direct, &KubeConfigOptions::default()).await?;
        // The service decides what it tries again.
        config.default_retry = false;
        let shared = Arc::new(Shared {
            api_server: Client::try_from(config)?,
            faults: Mutex::default(),
        });
        let server = cluster.authority().server("fault-proxy", ["127.0.0.1"])?;
        let acceptor = acceptor(&server)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let kubeconfig = write_kubeconfig(cluster, address, user, groups)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Ok(Self {
            kubeconfig,
            shared,
            _tasks: tasks,
        })
    }

    /// The kubeconfig that leads through the proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Lets `effect` happen to the next request that `matches`, once.
    pub fn arm(
        &self,
        moment: Moment,
        effect: Effect,
        matches: impl Fn(&Seen) -> bool + Send + Sync + 'static,
    ) -> Armed {
        self.arm_times(1, moment, effect, matches)
    }

    /// Lets `effect` happen to the next `times` requests that match.
    pub fn arm_times(
        &self,
        times: usize,
        moment: Moment,
        effect: Effect,
        matches: impl Fn(&Seen) -> bool + Send + Sync + 'static,
    ) -> Armed {
        let (hits, receiver) = watch::channel(0);
        let fault = Fault {
            matches: Box::new(matches),
            moment,
            effect,
            left: times,
            hits,
        };
        self.shared
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fault);
        Armed(receiver)
    }
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("failed to pass a request on: the connection is cut")]
struct Cut;

impl Shared {
    /// What happens to the request now, if anything does.
    fn strike(&self, seen: &Seen, moment: Moment) -> Option<(Effect, watch::Sender<usize>)> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = faults
            .iter_mut()
            .find(|fault| fault.left > 0 && fault.moment == moment && (fault.matches)(seen))?;
        fault.left -= 1;
        Some((fault.effect.clone(), fault.hits.clone()))
    }

    async fn pass(&self, mut head: Parts, body: Bytes) -> Result<Response<Body>, Cut> {
        let seen = Seen {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            body: body.clone(),
        };
        if let Some(answer) = self.happen(&seen, Moment::Before).await? {
            return Ok(answer);
        }
        for name in [HOST, CONNECTION, TRANSFER_ENCODING] {
            head.headers.remove(name);
        }
        let sent = self.api_server.send(Request::from_parts(head, Body::from(body))).await;
        let (mut head, body) = sent.map_err(|_| Cut)?.into_parts();
        for name in [CONNECTION, TRANSFER_ENCODING] {
            head.headers.remove(name);
        }
        if let Some(answer) = self.happen(&seen, Moment::After).await? {
            return Ok(answer);
        }
        Ok(Response::from_parts(head, body))
    }

    async fn happen(&self, seen: &Seen, moment: Moment) -> Result<Option<Response<Body>>, Cut> {
        let Some((effect, hits)) = self.strike(seen, moment) else {
            return Ok(None);
        };
        let answer = match effect {
            Effect::Kill(record) => {
                // The test's own wait for the hit must find the process gone.
                record.kill().await.map_err(|_| Cut)?;
                Err(Cut)
            }
            Effect::Signal(record, signal) => record.signal(signal).map(|()| None).map_err(|_| Cut),
            Effect::Cut => Err(Cut),
            Effect::Delay(time) => {
                tokio::time::sleep(time).await;
                Ok(None)
            }
            Effect::Answer(status) => refusal(status).map(Some).map_err(|_| Cut),
        };
        hits.send_modify(|hits| *hits += 1);
        answer
    }
}

fn refusal(status: StatusCode) -> Result<Response<Body>, http::Error> {
    let text = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status.as_u16(),
        "reason": status.canonical_reason(), "message": "a fault that the test wants",
    });
    let answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json");
    answer.body(Body::from(text.to_string().into_bytes()))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _peer)) = listener.accept().await else {
            // Out of file descriptors, most likely: trying again at once would spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    // Requests are small and awaited: Nagle's algorithm would only add delay.
    let Ok(stream) = stream.set_nodelay(true).map(|()| stream) else {
        return;
    };
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { detached(shared, request).await }
    });
    // An error is a cut, or a service that went away: both are what tests are about.
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

/// What has been sent goes its way, also when the sender is gone meanwhile.
async fn detached(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let passed = tokio::spawn(async move { shared.pass(head, body).await });
    passed.await.map_err(|_| Cut)?
}

fn acceptor(identity: &Identity) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn write_kubeconfig(cluster: &Cluster, address: SocketAddr, user: &str, groups: &[&str]) -> anyhow::Result<PathBuf> {
    let path = cluster
        .folder()
        .join("kubeconfig")
        .join(format!("proxy-{}.yaml", address.port()));
    let identity = cluster.authority().client(user, groups)?;
    pki::write_kubeconfig(
        &path,
        &format!("https://{address}"),
        cluster.authority(),
        user,
        &identity,
    )?;
    Ok(path)
}
