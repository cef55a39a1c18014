//! HTTP, both ways: to those who ask, and to moto.

use std::net::Ipv4Addr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, Request as HttpRequest, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::Error;
use super::inner::{Inner, Outcome};

/// No request and no answer of tests is longer.
const BODY_MAX: usize = 64 << 20;

/// An answer: status, kind of content, body.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: String) -> Self {
        Self {
            status,
            kind: "application/x-amz-json-1.1".to_owned(),
            body,
        }
    }

    pub(crate) fn xml(status: u16, body: String) -> Self {
        Self {
            status,
            kind: "text/xml".to_owned(),
            body,
        }
    }
}

/// Answers on a port that the kernel chooses, until the task is ended.
pub(crate) async fn serve(inner: Arc<Inner>) -> Result<(u16, JoinHandle<()>), Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(Error::Listen)?;
    let port = listener.local_addr().map_err(Error::Listen)?.port();
    let task = tokio::spawn(async move {
        // Dropped with the task, and all connections with it.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            let inner = Arc::clone(&inner);
            let service = service_fn(move |request| answer(Arc::clone(&inner), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            connections.spawn(async move {
                // Who asked may be gone.
                let _ = connection.await;
            });
        }
    });
    Ok((port, task))
}

/// What hyper closes a connection for.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed on purpose")]
struct HungUp;

async fn answer(inner: Arc<Inner>, request: HttpRequest<Incoming>) -> Result<Response<Full<Bytes>>, HungUp> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map_err(|_| HungUp)?
        .to_bytes();
    // What has come is done, as AWS does it, whether or not who asked is still there.
    let done = tokio::spawn(async move { inner.take(head.headers, body).await });
    let answer = match done.await {
        Ok(Outcome::Answered(answer)) => answer,
        // Until who asked has had enough.
        Ok(Outcome::Silent) => std::future::pending().await,
        Ok(Outcome::HungUp) | Err(_) => return Err(HungUp),
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(|_| HungUp)?;
    if let Ok(kind) = answer.kind.parse() {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    Ok(response)
}

/// Asks moto.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client<HttpConnector, Full<Bytes>>,
    address: String,
    region: String,
}

impl Upstream {
    pub(crate) fn new(address: &str, region: &str) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            address: address.to_owned(),
            region: region.to_owned(),
        }
    }

    /// Hands a request on as it came.
    pub(crate) async fn forward(&self, headers: &HeaderMap, body: Bytes) -> Result<Answer, Error> {
        let ask = |error: Box<dyn std::error::Error + Send + Sync>| Error::Ask(error);
        let mut request = HttpRequest::post(format!("http://{}/", self.address))
            .body(Full::new(body))
            .map_err(|error| ask(error.into()))?;
        request.headers_mut().clone_from(headers);
        // The client writes its own.
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(CONTENT_LENGTH);
        let response = self.client.request(request).await.map_err(|error| ask(error.into()))?;
        let status = response.status().as_u16();
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or("text/xml")
            .to_owned();
        let body = Limited::new(response.into_body(), BODY_MAX)
            .collect()
            .await
            .map_err(ask)?;
        Ok(Answer {
            status,
            kind,
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        })
    }

    /// Asks on one's own behalf. moto tells services by the scope of a signature, and checks none.
    pub(crate) async fn ask(&self, ec2: bool, form: String) -> Result<Answer, Error> {
        let service = if ec2 { "ec2" } else { "autoscaling" };
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=layer/20260101/{}/{service}/aws4_request",
            self.region
        );
        let mut headers = HeaderMap::new();
        if let Ok(signature) = format!("{scope}, SignedHeaders=host, Signature=0").parse() {
            headers.insert(AUTHORIZATION, signature);
        }
        headers.insert(
            CONTENT_TYPE,
            http::HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        self.forward(&headers, form.into()).await
    }
}
