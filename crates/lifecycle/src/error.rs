//! Why something could not be done.

use kompass_kube::client::RequestError;

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request to the API server.
    #[error("failed to {verb} {object}")]
    Request {
        /// `read`, `delete`, ...
        verb: &'static str,
        /// What it was about.
        object: String,
        /// What the API server said.
        #[source]
        source: RequestError,
    },
    /// There is nothing to be bypassed.
    #[error(
        "failed to find KOMPASS: there is no webhook configuration and no namespace {0}; --namespace names another one"
    )]
    NotInstalled(String),
    /// Somebody else changes the object all the time.
    #[error("failed to change {0}: it has changed five times meanwhile")]
    Contested(String),
    /// The installed KOMPASS is another one.
    #[error(
        "failed to take away KOMPASS of namespace {wanted}: the one in this cluster is {found} (namespace/service)"
    )]
    AnotherInstall {
        /// Where it was looked for.
        wanted: String,
        /// What the webhook configuration says.
        found: String,
    },
}

/// For `map_err`.
pub(crate) fn failed<E: Into<RequestError>>(verb: &'static str, object: impl Into<String>) -> impl FnOnce(E) -> Error {
    let object = object.into();
    move |source| Error::Request {
        verb,
        object,
        source: source.into(),
    }
}

impl Error {
    /// The HTTP status of the API server's answer, where there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Request { source, .. } => source.status(),
            _ => None,
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
