//! The server's certificate, from two files that may be replaced at any time: by cert-manager or a mounted Secret.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kompass_service::tls::{self, Live};
use tokio_util::sync::CancellationToken;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not there, or not ours to read.
    #[error("failed to read {path}: put the certificate and its key there, both as PEM")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Together they are no certificate with its key.
    #[error("failed to show the certificate of {path}")]
    Use {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: tls::Error,
    },
}

/// Where the certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, followed by those above it, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
}

/// A certificate that is shown, and where it comes from.
#[derive(Debug)]
pub(crate) struct Kept {
    files: Files,
    live: Arc<Live>,
    /// What is shown: certificate and key.
    shown: Option<(String, String)>,
}

impl Kept {
    /// Shows what the files hold.
    pub(crate) async fn open(files: Files) -> Result<Self, Error> {
        let mut kept = Self {
            files,
            live: Live::new(),
            shown: None,
        };
        kept.renew().await?;
        Ok(kept)
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Looks at the files every `period`. What can't be used, perhaps because only one of them is written yet, leaves the
    /// certificate as it is.
    pub(crate) async fn keep(mut self, period: Duration, draining: CancellationToken) {
        let mut told = None;
        while draining.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
            let trouble = match self.renew().await {
                Ok(true) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "shows a new certificate");
                    None
                }
                Ok(false) => None,
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = trouble.as_ref().filter(|_| told != trouble) {
                tracing::warn!(error, "keeps showing the certificate that it has");
            }
            told = trouble;
        }
    }

    /// Shows what the files hold if it is something else; says whether it is.
    async fn renew(&mut self) -> Result<bool, Error> {
        let Files { certificate, key } = &self.files;
        let pair = (read(certificate).await?, read(key).await?);
        if self.shown.as_ref() == Some(&pair) {
            return Ok(false);
        }
        let used = self.live.set(&pair.0, &pair.1);
        used.map_err(|source| Error::Use {
            path: certificate.clone(),
            source,
        })?;
        self.shown = Some(pair);
        Ok(true)
    }
}

async fn read(path: &PathBuf) -> Result<String, Error> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })
}
