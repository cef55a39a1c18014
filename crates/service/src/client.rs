//! One plain HTTP request to another service, within bounds.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::header::HOST;
use http::uri::Authority;
use http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It took too long.
    #[error("failed to get an answer from {0} within {1:?}")]
    Timeout(Authority, Duration),
    /// No connection.
    #[error("failed to connect to {0}")]
    Connect(Authority, #[source] std::io::Error),
    /// The path has characters that no path has.
    #[error("failed to ask for this path")]
    Path(#[source] http::Error),
    /// The connection broke, or what came was no HTTP.
    #[error("failed to read the answer of {0}")]
    Exchange(Authority, #[source] hyper::Error),
    /// The body is too long or was cut off.
    #[error("failed to take the answer of {0}")]
    Body(Authority, #[source] body::Error),
}

/// Status and body of `path` at `http://{server}`, whatever the status is; redirections are not followed. Everything
/// together, from the look-up of the name to the last byte, is done within `limit`, and no more than `max_bytes` of the
/// body are read.
pub async fn get(
    server: &Authority,
    path: &str,
    limit: Duration,
    max_bytes: usize,
) -> Result<(StatusCode, Bytes), Error> {
    tokio::time::timeout(limit, exchange(server, path, max_bytes))
        .await
        .unwrap_or_else(|_| Err(Error::Timeout(server.clone(), limit)))
}

async fn exchange(server: &Authority, path: &str, max_bytes: usize) -> Result<(StatusCode, Bytes), Error> {
    let broken = |error| Error::Exchange(server.clone(), error);
    let host = server.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, server.port_u16().unwrap_or(80)))
        .await
        .map_err(|error| Error::Connect(server.clone(), error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(path)
        .header(HOST, server.as_str())
        .body(Body::empty())
        .map_err(Error::Path)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = body::read(Body::new(answer.into_body()), max_bytes).await;
        Ok((status, body.map_err(|error| Error::Body(server.clone(), error))?))
    };
    // The connection must be driven while the answer is awaited. Its end is no answer: whatever was wrong with it, the
    // answer tells.
    let drive = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        never = drive => match never {},
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    async fn answered(answer: &str, max_bytes: usize) -> Result<(StatusCode, Bytes), Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server: Authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /a?b=c HTTP/1.1\r\n"));
            // It may have gone already.
            let _ = stream.write_all(answer.as_bytes()).await;
        };
        tokio::join!(serve, get(&server, "/a?b=c", LONG, max_bytes)).1
    }

    #[tokio::test]
    async fn an_answer_is_taken_whatever_its_status() {
        let (status, body) = answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", 2)
            .await
            .unwrap();
        assert_eq!((status, &body[..]), (StatusCode::OK, &b"hi"[..]));
        let (status, body) = answered("HTTP/1.1 500 x\r\nconnection: close\r\n\r\nbad", 9)
            .await
            .unwrap();
        assert_eq!((status, &body[..]), (StatusCode::INTERNAL_SERVER_ERROR, &b"bad"[..]));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        let long = answered("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", 2).await;
        assert!(matches!(long, Err(Error::Body(..))), "{long:?}");
        let cut = answered("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na", 9).await;
        assert!(matches!(cut, Err(Error::Body(..))), "{cut:?}");
        for nothing in ["", "\0\0\0\r\n\r\n"] {
            let got = answered(nothing, 9).await;
            assert!(matches!(got, Err(Error::Exchange(..))), "{got:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_costs_the_limit_and_no_more() {
        // The kernel takes the connection; nobody answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server: Authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        let got = get(&server, "/", Duration::from_millis(20), 9).await;
        assert!(matches!(got, Err(Error::Timeout(..))), "{got:?}");
        drop(listener);
        let got = get(&server, "/", LONG, 9).await;
        assert!(matches!(got, Err(Error::Connect(..))), "{got:?}");
    }
}
