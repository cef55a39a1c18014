//! A client within bounds.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kompass_history::Series;
use kompass_history::questions::Question;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::address::Address;
use crate::answer::{self, Answer};
use crate::error::{Error, Next, judge};
use crate::pieces::{Piece, pieces};
use crate::retry;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// An error's body is read so far.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// How a Prometheus is asked.
#[derive(Clone)]
pub struct Options {
    /// A bearer token.
    pub token: Option<String>,
    /// Certificates in PEM that sign the server's, instead of those that the machine trusts.
    pub authority_pem: Option<Vec<u8>>,
    /// Matchers that every series must meet, such as `cluster="blue"`; may be empty.
    pub selector: String,
    /// For one request and its answer. The server gives up a little earlier by itself.
    pub limit: Duration,
    /// For all that [`history`](crate::history()) asks.
    pub total_limit: Duration,
    /// How often the same is asked at most, if the server can't be reached or can't answer now.
    pub attempts: u32,
    /// The longest answer that is taken; for a longer one less is asked at once.
    pub max_bytes: usize,
    /// Points of all answers together.
    pub max_points: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            authority_pem: None,
            selector: String::new(),
            limit: Duration::from_secs(30),
            total_limit: Duration::from_mins(10),
            attempts: 4,
            // Some 1.5 million points; four answers at once are read at most.
            max_bytes: 4 << 20,
            // A gang is some 20 points, its pods 8 each: enough for a million pods, 320 MB.
            max_points: 20_000_000,
        }
    }
}

/// Asks a Prometheus; cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    address: Address,
    server: String,
    headers: HeaderMap,
    options: Options,
    chance: AtomicU64,
}

/// What is left of the points that may be taken.
#[derive(Debug)]
pub(crate) struct Room(AtomicUsize);

impl Client {
    /// A client of a Prometheus. It is not asked yet.
    pub fn new(address: Address, options: Options) -> Result<Self, Error> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_LIMIT));
        let builder = HttpsConnectorBuilder::new();
        let builder = match &options.authority_pem {
            Some(pem) => builder.with_tls_config(trusting(pem)?),
            None => builder
                .with_provider_and_native_roots(aws_lc_rs::default_provider())
                .map_err(|error| Error::Tls(error.into()))?,
        };
        let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        let agent = concat!("kompass/", env!("CARGO_PKG_VERSION"));
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        if let Some(header) = authorization(&address, options.token.as_deref())? {
            headers.insert(AUTHORIZATION, header);
        }
        Ok(Self(Arc::new(Inner {
            http,
            server: address.to_string(),
            address,
            headers,
            options,
            // A different one in each process.
            chance: AtomicU64::new(RandomState::new().hash_one(0)),
        })))
    }

    /// How it is asked.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Where it is, without secrets.
    pub fn server(&self) -> &str {
        &self.0.server
    }

    /// Series that answer a question, in pieces, and warnings of the server.
    pub async fn ask(&self, question: &Question) -> Result<(Vec<Series>, Vec<String>), Error> {
        let (mut series, mut warnings) = (Vec::new(), Vec::new());
        let room = Room::new(self.0.options.max_points);
        self.ask_within(question, &room, |more, words| {
            series.extend(more);
            warnings.extend(words);
        })
        .await?;
        Ok((series, warnings))
    }

    /// The same, as long as there is room for points; each piece is handed over as soon as it is there.
    pub(crate) async fn ask_within(
        &self,
        question: &Question,
        room: &Room,
        mut take: impl FnMut(Vec<Series>, Vec<String>),
    ) -> Result<(), Error> {
        let mut left = pieces(question);
        while let Some(piece) = left.pop() {
            match self.piece(&question.promql, piece).await {
                Ok(answer) => {
                    room.take(&answer, self.0.options.max_points)?;
                    take(answer.series, answer.warnings);
                }
                Err((error, false)) => return Err(error),
                Err((error, true)) => {
                    let Some([one, other]) = piece.halves() else {
                        return Err(error);
                    };
                    left.extend([other, one]);
                }
            }
        }
        Ok(())
    }

    /// An answer, or an error and whether less may be asked for instead.
    async fn piece(&self, promql: &str, piece: Piece) -> Result<Answer, (Error, bool)> {
        let body = self.form(promql, piece);
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt(&body, attempts).await {
                Ok(answer) => return Ok(answer),
                Err(Next::Stop(error)) => return Err((error, false)),
                Err(Next::Less(error)) => return Err((error, true)),
                Err(Next::Again(error, _)) if attempts >= self.0.options.attempts => return Err((error, false)),
                Err(Next::Again(_, wished_s)) => {
                    let pause = retry::pause(attempts - 1, self.0.chance.fetch_add(1, Ordering::Relaxed));
                    let wished = Duration::from_secs(wished_s.unwrap_or(0)).min(retry::LONGEST);
                    tokio::time::sleep(pause.max(wished)).await;
                }
            }
        }
    }

    fn form(&self, promql: &str, piece: Piece) -> Bytes {
        let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000));
        // The server's own end comes first, since it tells why.
        let limit = self.0.options.limit.mul_f64(0.9).as_millis();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("query", promql)
            .append_pair("start", &seconds(piece.moments.0))
            .append_pair("end", &seconds(piece.moments.1))
            .append_pair("step", &seconds(piece.step_ms))
            .append_pair("timeout", &format!("{limit}ms"));
        form.finish().into()
    }

    async fn attempt(&self, body: &Bytes, attempts: u32) -> Result<Answer, Next> {
        let Inner { server, options, .. } = &*self.0;
        match tokio::time::timeout(options.limit, self.exchange(body, attempts)).await {
            Ok(answer) => answer,
            Err(_) => Err(Next::Again(
                Error::Timeout {
                    server: server.clone(),
                    limit_s: options.limit.as_secs().max(1),
                    attempts,
                },
                None,
            )),
        }
    }

    async fn exchange(&self, body: &Bytes, attempts: u32) -> Result<Answer, Next> {
        let Inner {
            server, options, http, ..
        } = &*self.0;
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| {
            let server = server.clone();
            let error = Error::Connect {
                server,
                attempts,
                source,
            };
            Next::Again(error, None)
        };
        let mut request = Request::post(self.0.address.endpoint("query_range"))
            .body(Full::new(body.clone()))
            .map_err(|source| {
                let server = server.clone();
                Next::Stop(Error::Request { server, source })
            })?;
        request.headers_mut().clone_from(&self.0.headers);
        let response = http.request(request).await.map_err(|error| broken(error.into()))?;
        let status = response.status();
        let is_answer = status == StatusCode::OK;
        let max_bytes = if is_answer {
            options.max_bytes
        } else {
            MAX_REFUSAL_BYTES
        };
        let (head, body) = response.into_parts();
        let told = body.size_hint().lower();
        let read = if told > max_bytes as u64 {
            None
        } else {
            match Limited::new(body, max_bytes).collect().await {
                Ok(collected) => Some(collected.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => None,
                Err(error) => return Err(broken(error)),
            }
        };
        if !is_answer {
            let words = read.unwrap_or_default();
            return Err(judge(server, status, &head.headers, &words, attempts));
        }
        let body = read.ok_or(Next::Less(Error::TooLong(max_bytes)))?;
        answer::read(&body).map_err(|error| {
            let server = server.clone();
            let source = error.into();
            Next::Stop(Error::Malformed { server, source })
        })
    }
}

impl Room {
    pub(crate) const fn new(points: usize) -> Self {
        Self(AtomicUsize::new(points))
    }

    fn take(&self, answer: &Answer, max_points: usize) -> Result<(), Error> {
        // A series is labels, too.
        let points: usize = answer.series.iter().map(|series| series.points.len() + 1).sum();
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(points));
        taken.map(drop).map_err(|_| Error::TooManyPoints(max_points))
    }
}

fn authorization(address: &Address, token: Option<&str>) -> Result<Option<HeaderValue>, Error> {
    let Some(token) = token else {
        return Ok(address.basic.clone());
    };
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| Error::Token)?;
    header.set_sensitive(true);
    Ok(Some(header))
}

fn trusting(pem: &[u8]) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| Error::Tls(error.into()))?;
        roots.add(certificate).map_err(|error| Error::Tls(error.into()))?;
    }
    if roots.is_empty() {
        return Err(Error::Tls("there is no certificate in the file".into()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls(error.into()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client")
            .field("server", &self.0.server)
            .finish_non_exhaustive()
    }
}

/// Without the token.
impl std::fmt::Debug for Options {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Options")
            .field("selector", &self.selector)
            .field("limit", &self.limit)
            .field("total_limit", &self.total_limit)
            .field("attempts", &self.attempts)
            .field("max_bytes", &self.max_bytes)
            .field("max_points", &self.max_points)
            .finish_non_exhaustive()
    }
}
