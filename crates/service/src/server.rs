//! The HTTP server: an accept loop of our own over hyper, plain or TLS, HTTP/1.1 and HTTP/2.
//!
//! `axum::serve` has no TLS, no limit on connections and no time-outs; this has them, and drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::idle::Idle;

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. More wait in the kernel's backlog until one closes.
    pub connections: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For a request's head, counted from the end of the previous request (hyper counts an idle HTTP/1 connection as
    /// one that is late with its head), and for any silence on a connection. Must be above the 90 s after which Go's
    /// client closes an idle connection itself, else a request can meet the closing.
    pub idle: Duration,
    /// For the requests in flight when the drain begins.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            handshake: Duration::from_secs(5),
            idle: Duration::from_mins(2),
            drain: Duration::from_secs(10),
        }
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not ours.
    #[error("failed to bind {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A bound, not yet serving server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Server {
    /// Binds `address`; with port 0 the system chooses one, see [`address`](Self::address).
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Self {
                listener,
                address,
                limits: Limits::default(),
                tls: None,
            })
        };
        bind.await.map_err(|source| Error::Bind { address, source })
    }

    /// The address bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves TLS, see [`crate::tls::server_config`].
    #[must_use]
    pub fn with_tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Sets other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves until `draining` is cancelled, then stops accepting, lets the requests in flight end and returns. What
    /// has not ended within the limit is cut off.
    pub async fn serve(self, router: Router, draining: CancellationToken) {
        let Self {
            listener,
            address,
            limits,
            tls,
        } = self;
        let connection = Connection {
            tls: tls.map(TlsAcceptor::from),
            service: TowerToHyperService::new(router),
            builder: Arc::new(builder(limits)),
            limits,
        };
        let slots = Arc::new(Semaphore::new(limits.connections));
        let graceful = GracefulShutdown::new();
        let tasks = TaskTracker::new();
        let cut_off = CancellationToken::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = draining.cancelled() => break,
                accepted = accept(&listener, &slots) => accepted,
            };
            let (stream, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly out of file descriptors: trying again at once would spin.
                    tracing::warn!(%error, %address, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (connection, watcher, cut_off) = (connection.clone(), graceful.watcher(), cut_off.clone());
            tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = cut_off.cancelled() => {}
                    () = connection.run(stream, watcher) => {}
                }
                drop(permit);
            });
        }
        drop(listener);
        tasks.close();
        if timeout(limits.drain, graceful.shutdown()).await.is_err() {
            tracing::warn!(%address, left = tasks.len(), "cutting off connections that did not drain");
        }
        cut_off.cancel();
        tasks.wait().await;
    }
}

/// A connection and the slot it takes.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _peer) = listener.accept().await?;
    // Answers are small and awaited: Nagle's algorithm would only add delay.
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

fn builder(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

#[derive(Clone)]
struct Connection {
    tls: Option<TlsAcceptor>,
    service: TowerToHyperService<Router>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    limits: Limits,
}

impl Connection {
    async fn run(self, stream: TcpStream, watcher: Watcher) {
        let stream = Idle::new(stream, self.limits.idle);
        let Some(acceptor) = self.tls.clone() else {
            return self.serve(stream, watcher).await;
        };
        match timeout(self.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "failed to shake hands"),
            Err(_elapsed) => tracing::debug!("failed to shake hands in time"),
        }
    }

    async fn serve<S>(self, stream: S, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), self.service)
            .into_owned();
        if let Err(error) = watcher.watch(connection).await {
            // A client that goes away in the middle is its own affair.
            tracing::debug!(error, "a connection ended with an error");
        }
    }
}

#[cfg(test)]
mod tests;
