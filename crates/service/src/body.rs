//! Reading a request's body up to a cap.

use axum::body::{Body, Bytes};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is longer than allowed.
    #[error("failed to read the body: more than {limit} bytes")]
    TooLarge {
        /// The cap, in bytes.
        limit: usize,
    },
    /// The connection broke.
    #[error("failed to read the body")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The whole body, if it is not longer than `limit` bytes. A longer one is not read to its end.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, Error> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge { limit }),
        Err(error) => Err(Error::Read(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_cap_is_exact() {
        assert_eq!(read(Body::from("abcd"), 4).await.unwrap(), "abcd");
        assert!(matches!(
            read(Body::from("abcde"), 4).await,
            Err(Error::TooLarge { limit: 4 })
        ));
    }
}
