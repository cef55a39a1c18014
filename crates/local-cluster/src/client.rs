//! A small client for the API server of a local cluster: plain JSON over HTTPS with a client certificate.
//!
//! It exists so that this crate can wait for objects and create thousands of nodes without a full Kubernetes client.

mod connection;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use serde_json::Value;

use crate::pki::{Authority, Identity};
use connection::{Connection, Connector};

/// One request from connection to last byte. Far above what an API server needs unless it hangs.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Connections kept for the next request.
const IDLE_CONNECTIONS: usize = 64;

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Certificate or key cannot be used.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
    /// Certificate or key is not PEM.
    #[error("failed to read a PEM block")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// No connection.
    #[error("failed to connect to {address}")]
    Connect {
        /// The server's address.
        address: SocketAddr,
        /// What the operating system or TLS says.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke, or the server does not speak HTTP.
    #[error("failed to {method} {path}")]
    Http {
        /// Method of the request.
        method: Method,
        /// Path of the request.
        path: String,
        /// What went wrong.
        #[source]
        source: hyper::Error,
    },
    /// No whole answer in time.
    #[error("failed to {method} {path} within {}", crate::progress::human(REQUEST_LIMIT))]
    Slow {
        /// Method of the request.
        method: Method,
        /// Path of the request.
        path: String,
    },
    /// The path or method cannot be written into a request.
    #[error("failed to write the request for {path}")]
    Request {
        /// Path of the request.
        path: String,
        /// What is wrong.
        #[source]
        source: http::Error,
    },
    /// The server refuses.
    #[error("failed to {method} {path}: {status}: {message}")]
    Status {
        /// Method of the request.
        method: Method,
        /// Path of the request.
        path: String,
        /// The answer's status.
        status: StatusCode,
        /// The answer's message.
        message: String,
    },
    /// The answer is not JSON.
    #[error("failed to read the answer to {path}")]
    Json {
        /// Path of the request.
        path: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// The HTTP status, when the server has answered.
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A client of one server; clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    connector: Arc<Connector>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Client {
    /// A client that trusts `authority` and shows the certificate of `identity`.
    pub fn new(address: SocketAddr, authority: &Authority, identity: &Identity) -> Result<Self, Error> {
        Ok(Self::with(Connector::tls(
            address,
            authority.certificate_pem(),
            identity,
        )?))
    }

    /// A client without TLS, for the store and for services' pages of metrics and health.
    pub fn plain(address: SocketAddr) -> Self {
        Self::with(Connector::plain(address))
    }

    fn with(connector: Connector) -> Self {
        Self {
            connector: Arc::new(connector),
            idle: Arc::default(),
        }
    }

    /// Reads an object or a list.
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        self.json(Method::GET, path, "", None).await
    }

    /// Reads what is not JSON, for example `/readyz` or `/metrics`.
    pub async fn get_text(&self, path: &str) -> Result<String, Error> {
        let bytes = self.send(Method::GET, path, "", None).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Creates an object; `path` is that of its collection.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, Error> {
        self.json(Method::POST, path, "application/json", Some(object)).await
    }

    /// Replaces an object.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value, Error> {
        self.json(Method::PUT, path, "application/json", Some(object)).await
    }

    /// Changes the fields of a JSON merge patch.
    pub async fn merge_patch(&self, path: &str, fields: &Value) -> Result<Value, Error> {
        self.json(Method::PATCH, path, "application/merge-patch+json", Some(fields))
            .await
    }

    /// Deletes an object, or with the path of a collection all of its objects.
    pub async fn delete(&self, path: &str) -> Result<Value, Error> {
        self.json(Method::DELETE, path, "", None).await
    }

    /// Creates many objects, `parallel` at a time. The first error ends it; what was created stays.
    pub async fn create_all(
        &self,
        path: &str,
        objects: impl IntoIterator<Item = Value>,
        parallel: usize,
    ) -> Result<usize, Error> {
        stream::iter(objects)
            .map(|object| async move { self.create(path, &object).await })
            .buffer_unordered(parallel)
            .try_fold(0, |created, _| std::future::ready(Ok(created + 1)))
            .await
    }

    async fn json(&self, method: Method, path: &str, kind: &str, body: Option<&Value>) -> Result<Value, Error> {
        let bytes = self.send(method, path, kind, body).await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Json {
            path: path.to_owned(),
            source,
        })
    }

    async fn send(&self, method: Method, path: &str, kind: &str, object: Option<&Value>) -> Result<Bytes, Error> {
        let content = Bytes::from(object.map(Value::to_string).unwrap_or_default());
        let exchange = async {
            // A kept connection may have been closed by the server meanwhile. Nothing was lost then: ask again.
            while let Some(connection) = self.take_idle() {
                match self.exchange(connection, &method, path, kind, &content).await {
                    Err(Error::Http { source, .. }) if source.is_canceled() || source.is_closed() => {}
                    Err(Error::Http { source, .. }) if source.is_incomplete_message() && method == Method::GET => {}
                    other => return other,
                }
            }
            let connection = self.connector.connect().await?;
            self.exchange(connection, &method, path, kind, &content).await
        };
        let (status, bytes) = tokio::time::timeout(REQUEST_LIMIT, exchange)
            .await
            .map_err(|_| Error::Slow {
                method: method.clone(),
                path: path.to_owned(),
            })??;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(Error::Status {
            message: message(&bytes),
            method,
            path: path.to_owned(),
            status,
        })
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        method: &Method,
        path: &str,
        kind: &str,
        body: &Bytes,
    ) -> Result<(StatusCode, Bytes), Error> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(HOST, self.connector.address.to_string())
            .header(ACCEPT, "application/json, */*");
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = request.body(Full::new(body.clone())).map_err(|source| Error::Request {
            path: path.to_owned(),
            source,
        })?;
        let failed = |source| Error::Http {
            method: method.clone(),
            path: path.to_owned(),
            source,
        };
        connection.sender.ready().await.map_err(failed)?;
        let answer = connection.sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(failed)?.to_bytes();
        self.give_back(connection);
        Ok((status, bytes))
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }
}

/// What an API server says about a refusal: the message of its `Status` object, else the text itself.
fn message(bytes: &[u8]) -> String {
    serde_json::from_slice::<Value>(bytes)
        .ok()
        .and_then(|status| status.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_status_object_is_shown() {
        let status = br#"{"kind":"Status","message":"pods \"a\" not found","code":404}"#;
        assert_eq!(message(status), "pods \"a\" not found");
        assert_eq!(message(b"ok \n"), "ok");
    }

    #[tokio::test]
    async fn nobody_listening_is_a_connect_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = Client::plain(address).get("/").await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error}");
    }
}
