//! The server over real loopback connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{Request, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{Limits, Server};
use crate::tls::{Authority, Live, Validity, server_config};

const DEADLINE: Duration = Duration::from_secs(10);
const NOW_MS: u64 = 1_790_000_000_000;

struct Running {
    address: std::net::SocketAddr,
    draining: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(server: Server, router: Router) -> Self {
        let (address, draining) = (server.address(), CancellationToken::new());
        let task = tokio::spawn(server.serve(router, draining.clone()));
        Self {
            address,
            draining,
            task,
        }
    }

    async fn stop(self) {
        self.draining.cancel();
        timeout(DEADLINE, self.task).await.expect("the server drains").unwrap();
    }
}

fn echo() -> Router {
    Router::new().route("/echo", post(async |body: String| body))
}

async fn bind() -> Server {
    Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// Validity around the machine's time, since the TLS client checks it.
fn validity() -> Validity {
    Validity::starting(crate::clock::Clock::system().now_ms(), Duration::from_hours(1))
}

async fn connect(
    address: std::net::SocketAddr,
    authority: &Authority,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pair.certificate_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn post_echo(uri: &str) -> Request<Body> {
    Request::post(uri)
        .header(header::HOST, "localhost")
        .body(Body::from("hello"))
        .unwrap()
}

#[tokio::test]
async fn keep_alive_requests_are_answered_with_their_length() {
    let running = Running::start(bind().await, echo());
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let response = sender.send_request(post_echo("/echo")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "5");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
        sender.ready().await.unwrap();
    }
    running.stop().await;
}

#[tokio::test]
async fn http_2_without_tls_is_understood() {
    let running = Running::start(bind().await, echo());
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(post_echo("http://localhost/echo")).await.unwrap();
    assert_eq!(
        (response.status(), response.version()),
        (StatusCode::OK, Version::HTTP_2)
    );
    drop(sender);
    running.stop().await;
}

#[tokio::test]
async fn tls_certificates_rotate_while_serving() {
    let (first, second) = (
        Authority::generate("first", validity()).unwrap(),
        Authority::generate("second", validity()).unwrap(),
    );
    let live = Live::new();
    let server = bind().await.with_tls(server_config(Arc::clone(&live)).unwrap());
    let running = Running::start(server, echo());
    assert!(
        connect(running.address, &first, b"http/1.1").await.is_err(),
        "no certificate yet"
    );

    for (authority, other, alpn) in [(&first, &second, "http/1.1"), (&second, &first, "h2")] {
        let leaf = authority.issue(&["127.0.0.1".into()], validity()).unwrap();
        live.set(&leaf.certificate_pem, &leaf.key_pem).unwrap();
        let stream = connect(running.address, authority, alpn.as_bytes()).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
        let status = if alpn == "h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            sender
                .send_request(post_echo("https://localhost/echo"))
                .await
                .unwrap()
                .status()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(connection);
            sender.send_request(post_echo("/echo")).await.unwrap().status()
        };
        assert_eq!(status, StatusCode::OK);
        assert!(
            connect(running.address, other, b"h2").await.is_err(),
            "signed by the other authority"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_stored_authority_signs_leaves_that_verify() {
    // Only PEM and validity are stored: this is what a second replica has.
    let made = Authority::generate("KOMPASS", validity()).unwrap();
    let loaded = Authority {
        name: "KOMPASS".to_owned(),
        pair: made.pair.clone(),
    };
    let leaf = loaded.issue(&["127.0.0.1".into()], validity()).unwrap();
    let live = Live::new();
    live.set(&leaf.certificate_pem, &leaf.key_pem).unwrap();
    let running = Running::start(bind().await.with_tls(server_config(live).unwrap()), echo());
    connect(running.address, &made, b"h2").await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn an_expired_leaf_is_refused_by_clients() {
    let authority = Authority::generate("test", validity()).unwrap();
    let past = Validity {
        not_before_ms: 1_000_000_000_000,
        not_after_ms: 1_000_000_060_000,
    };
    let leaf = authority.issue(&["127.0.0.1".into()], past).unwrap();
    let live = Live::new();
    live.set(&leaf.certificate_pem, &leaf.key_pem).unwrap();
    let running = Running::start(bind().await.with_tls(server_config(live).unwrap()), echo());
    assert!(connect(running.address, &authority, b"h2").await.is_err());
    assert!(past.not_after_ms < NOW_MS);
    running.stop().await;
}

#[tokio::test]
async fn a_drain_lets_the_request_in_flight_end_and_closes_the_rest() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = Router::new().route(
        "/slow",
        get({
            let (entered, release) = (Arc::clone(&entered), Arc::clone(&release));
            async move || {
                entered.notify_one();
                release.notified().await;
                "done"
            }
        }),
    );
    let running = Running::start(bind().await, router);
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("/slow")
        .header(header::HOST, "localhost")
        .body(Body::empty())
        .unwrap();
    let answer = tokio::spawn(async move { sender.send_request(request).await });
    timeout(DEADLINE, entered.notified()).await.unwrap();

    running.draining.cancel();
    // The idle connection is closed at once, and nobody new gets in.
    assert_eq!(timeout(DEADLINE, idle.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    assert!(TcpStream::connect(running.address).await.is_err());
    assert!(!answer.is_finished());

    release.notify_one();
    let response = timeout(DEADLINE, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
    running.stop().await;
}

#[tokio::test]
async fn what_does_not_drain_is_cut_off() {
    let entered = Arc::new(Notify::new());
    let router = Router::new().route(
        "/stuck",
        get({
            let entered = Arc::clone(&entered);
            async move || {
                entered.notify_one();
                std::future::pending::<()>().await;
            }
        }),
    );
    let limits = Limits {
        drain: Duration::from_millis(50),
        ..Limits::default()
    };
    let running = Running::start(bind().await.with_limits(limits), router);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    timeout(DEADLINE, entered.notified()).await.unwrap();
    running.stop().await;
    assert_eq!(
        timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap().unwrap_or(0),
        0
    );
}

#[tokio::test]
async fn silent_and_stalling_clients_are_closed() {
    let authority = Authority::generate("test", validity()).unwrap();
    let leaf = authority.issue(&["127.0.0.1".into()], validity()).unwrap();
    let live = Live::new();
    live.set(&leaf.certificate_pem, &leaf.key_pem).unwrap();
    let short = Duration::from_millis(50);
    let limits = Limits {
        idle: short,
        handshake: short,
        ..Limits::default()
    };
    let plain = Running::start(bind().await.with_limits(limits), echo());
    let tls = Running::start(
        bind().await.with_limits(limits).with_tls(server_config(live).unwrap()),
        echo(),
    );
    for (address, sent) in [
        (plain.address, ""),
        (plain.address, "P"),
        (plain.address, "POST /echo HTTP/1.1\r\n"),
        (tls.address, ""),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let closed = timeout(DEADLINE, async {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        });
        assert!(closed.await.is_ok(), "after {sent:?}");
    }
    plain.stop().await;
    tls.stop().await;
}

#[tokio::test]
async fn connections_above_the_cap_wait_their_turn() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let running = Running::start(bind().await.with_limits(limits), echo());
    let ask = async |stream: &mut TcpStream| {
        stream
            .write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
            .await
            .unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.map(|_| answer)
    };
    let mut first = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(&ask(&mut first).await.unwrap(), b"HTTP/1.1 200 OK");
    let mut second = TcpStream::connect(running.address).await.unwrap();
    assert!(
        timeout(Duration::from_millis(100), ask(&mut second)).await.is_err(),
        "the only slot is taken"
    );
    drop(first);
    let mut answer = [0; 15];
    timeout(DEADLINE, second.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    running.stop().await;
}

#[tokio::test]
async fn a_taken_address_is_an_error_with_the_address() {
    let server = bind().await;
    let error = Server::bind(server.address()).await.unwrap_err();
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
}
