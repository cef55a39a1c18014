//! One plain HTTP request, for the services' own pages.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an answer may take: the services answer from memory.
const LIMIT: Duration = Duration::from_secs(10);
/// Longer answers are a mistake: 20,000 gangs are some 20 MB.
const MAX_BYTES: usize = 64 << 20;

/// The service answered, but not with the page.
#[derive(Debug)]
struct Refused {
    status: http::StatusCode,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}: {}", self.status, self.text)
    }
}

impl std::error::Error for Refused {}

/// Whether the service answered that it has no such page.
pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.status == http::StatusCode::NOT_FOUND)
}

/// The text of a page; an error for any status that is no success.
pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    tokio::time::timeout(LIMIT, exchange(address, path))
        .await
        .map_err(|_| anyhow::anyhow!("no answer from http://{address}{path} within {} s", LIMIT.as_secs()))?
        .with_context(|| format!("failed to read http://{address}{path}"))
}

async fn exchange(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path)
        .header(http::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BYTES)
            .collect()
            .await
            .map_err(anyhow::Error::from_boxed)?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if !status.is_success() {
            let text = text.trim().to_owned();
            return Err(Refused { status, text }.into());
        }
        Ok(text)
    };
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    let mut connected = true;
    // The connection must be driven while the answer is awaited. It may end first, with the answer already taken in.
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            ended = &mut connection, if connected => {
                ended?;
                connected = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn answered(answer: &'static str) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serve = async {
            let (mut stream, _) = listener.accept().await?;
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await?;
            assert!(request[..read].starts_with(b"GET /v1/gangs HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await?;
            anyhow::Ok(())
        };
        let (served, got) = tokio::join!(serve, get(address, "/v1/gangs"));
        served?;
        got
    }

    #[tokio::test]
    async fn a_page_is_read_and_a_bad_status_is_an_error() {
        assert_eq!(
            answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")
                .await
                .unwrap(),
            "[]"
        );
        let error = answered("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy")
            .await
            .unwrap_err();
        assert!(
            format!("{error:#}").contains("503 Service Unavailable: busy"),
            "{error:#}"
        );
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_with_the_address() {
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let error = get(address, "/readyz").await.unwrap_err();
        assert!(
            format!("{error:#}").contains(&format!("http://{address}/readyz")),
            "{error:#}"
        );
    }
}
