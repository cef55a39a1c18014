//! One HTTP request to one of the services, without a pool and without trust in anything but a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// From the connection to the last byte of the answer.
const LIMIT: Duration = Duration::from_secs(30);

/// The body of `path`.
///
/// # Errors
/// No answer, or a status that is no success.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let (status, body) = plain(address, Method::GET, path, Vec::new()).await?;
    anyhow::ensure!(status.is_success(), "{path} at {address} answered {status}: {body}");
    Ok(body)
}

/// Sends JSON, or what a test passes off as JSON, and returns status and body.
///
/// # Errors
/// No answer.
pub async fn post(address: SocketAddr, path: &str, body: Vec<u8>) -> anyhow::Result<(StatusCode, String)> {
    plain(address, Method::POST, path, body).await
}

/// The same over TLS; `authority` is the PEM of what to trust.
///
/// # Errors
/// No answer, or a certificate that is not to be trusted.
pub async fn post_tls(
    address: SocketAddr,
    authority: &[u8],
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<(StatusCode, String)> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = connector(authority)?.connect(name, stream).await?;
        exchange(stream, address, Method::POST, path, body).await
    };
    tokio::time::timeout(LIMIT, exchange)
        .await
        .context("no answer in time")?
}

async fn plain(address: SocketAddr, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<(StatusCode, String)> {
    let exchange = async { exchange(TcpStream::connect(address).await?, address, method, path, body).await };
    tokio::time::timeout(LIMIT, exchange)
        .await
        .context("no answer in time")?
}

async fn exchange<S>(
    stream: S,
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<(StatusCode, String)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end with its last answer already there.
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

fn connector(authority: &[u8]) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
