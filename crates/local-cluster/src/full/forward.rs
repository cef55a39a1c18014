//! A door into the cluster's network: a loopback port of the machine whose connections go on inside the namespace.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::network::Namespace;

/// Connections at once; the next one waits in the kernel's queue until another ends.
const CONNECTIONS: usize = 512;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no forwarding.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port of the machine cannot be had.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The namespace is gone, or the caller is not root.
    #[error("failed to enter the network namespace {path}")]
    Enter {
        /// The file that holds the namespace.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Connections can no longer be taken.
    #[error("failed to accept connections on {address}")]
    Accept {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// Takes connections in the machine's network and makes one in the cluster's for each. Ends when it is dropped.
///
/// Its work happens on a thread of its own: the caller's threads stay in their network.
#[derive(Debug)]
pub struct Forwarder {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Forwarder {
    /// Begins to take connections on `listen` and to make one to `target` in the network namespace that the file
    /// `namespace` holds. Port 0 means any.
    pub fn start(listen: SocketAddr, namespace: &Path, target: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen {
            address: listen,
            source,
        };
        // Made on the caller's thread: a socket belongs to the network in which it was made, for ever.
        let listener = StdListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let inside = Namespace::at(namespace.to_owned());
        let stop = CancellationToken::new();
        let (entered, outcome) = mpsc::channel();
        let thread = thread::spawn({
            let stop = stop.clone();
            move || {
                let tried = inside.enter();
                let is_inside = tried.is_ok();
                // The caller waits for this word, so somebody listens.
                drop(entered.send(tried));
                if is_inside {
                    serve(listener, address, target, &stop)
                } else {
                    Ok(())
                }
            }
        });
        let entered = outcome
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread ended")));
        entered.map_err(|source| Error::Enter {
            path: namespace.to_owned(),
            source,
        })?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where connections are taken.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes on until connections can no longer be taken.
    pub fn wait(mut self) -> Result<(), Error> {
        self.thread.take().map_or(Ok(()), |thread| self.ended(thread))
    }

    fn ended(&self, thread: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
        let panicked = || Error::Accept {
            address: self.address,
            source: io::Error::other("the thread panicked"),
        };
        thread.join().unwrap_or_else(|_| Err(panicked()))
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && let Err(error) = self.ended(thread)
        {
            tracing::warn!(%error, "a forwarder ended early");
        }
    }
}

fn serve(
    listener: StdListener,
    address: SocketAddr,
    target: SocketAddr,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let taking = async || {
        let listener = TcpListener::from_std(listener)?;
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= CONNECTIONS {
                connections.join_next().await;
            }
            while connections.try_join_next().is_some() {}
            let (client, _) = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted?,
            };
            connections.spawn(async move {
                if let Err(error) = pass(client, target).await {
                    tracing::debug!(%error, %target, "a forwarded connection ended early");
                }
            });
        }
    };
    // One thread alone: another one of the runtime would be in the network of the process, not in the namespace.
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .and_then(|runtime| runtime.block_on(taking()))
        .map_err(|source| Error::Accept { address, source })
}

async fn pass(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut server = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)).await??;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
