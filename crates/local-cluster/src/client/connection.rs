//! One HTTP/1.1 connection, with or without TLS. Many of them in parallel load an API server better than one HTTP/2
//! connection with its limit of streams.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::Error;
use crate::pki::Identity;

/// Makes connections to one server.
pub(super) struct Connector {
    pub(super) address: SocketAddr,
    tls: Option<TlsConnector>,
}

/// An open connection. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Connector {
    pub(super) const fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    pub(super) fn tls(address: SocketAddr, authority_pem: &str, identity: &Identity) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
            roots.add(certificate.map_err(Error::Pem)?).map_err(Error::Tls)?;
        }
        let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::Pem)?;
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(Error::Pem)?;
        // Named here because a library must not rely on a default that the program may not have set.
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(Error::Tls)?;
        Ok(Self {
            address,
            tls: Some(TlsConnector::from(Arc::new(config))),
        })
    }

    pub(super) async fn connect(&self) -> Result<Connection, Error> {
        let failed = |source| Error::Connect {
            address: self.address,
            source,
        };
        let stream = TcpStream::connect(self.address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        match &self.tls {
            None => handshake(stream).await,
            Some(tls) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                handshake(tls.connect(name, stream).await.map_err(failed)?).await
            }
        }
        .map_err(|error| failed(io::Error::other(error)))
    }
}

async fn handshake<S>(stream: S) -> Result<Connection, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // An error of the connection is also the error of the request that runs on it.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection {
        sender,
        _driver: AbortOnDropHandle::new(driver),
    })
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connector")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
