//! Where a Prometheus is, as users write it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};

/// Where a Prometheus is, and who asks it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host and path, without a slash at its end; no secrets.
    base: String,
    /// Name and password, if there are any, as a header.
    pub(crate) basic: Option<HeaderValue>,
}

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an address at all.
    #[error("failed to read the address of Prometheus: give a URL such as http://prometheus.monitoring:9090")]
    Malformed,
    /// Neither http nor https.
    #[error("failed to read the address of Prometheus: it begins with neither http:// nor https://")]
    Scheme,
    /// With a question.
    #[error("failed to read the address of Prometheus: give it without a query (?...) behind the path")]
    Query,
}

impl std::str::FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let uri: Uri = text.trim().parse().map_err(|_| Error::Malformed)?;
        let Some(scheme @ ("http" | "https")) = uri.scheme_str() else {
            return Err(Error::Scheme);
        };
        if uri.query().is_some() {
            return Err(Error::Query);
        }
        let authority = uri.authority().ok_or(Error::Malformed)?;
        if authority.host().is_empty() {
            return Err(Error::Malformed);
        }
        let (who, host) = match authority.as_str().rsplit_once('@') {
            Some((who, host)) => (Some(who), host),
            None => (None, authority.as_str()),
        };
        let basic = who.map(|who| {
            let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(decoded(who))))
                .map_err(|_| Error::Malformed)?;
            header.set_sensitive(true);
            Ok(header)
        });
        let path = uri.path().trim_end_matches('/');
        Ok(Self {
            base: format!("{scheme}://{host}{path}"),
            basic: basic.transpose()?,
        })
    }
}

impl Address {
    /// The address of an endpoint of its API.
    pub(crate) fn endpoint(&self, name: &str) -> String {
        format!("{}/api/v1/{name}", self.base)
    }
}

/// Without name and password.
impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.base)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, out)
    }
}

/// `%41` is `A`.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let hex = text.get(index + 1..index + 3).filter(|_| byte == b'%');
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            decoded.push(byte);
            index += 3;
        } else {
            decoded.push(byte);
            index += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_may_have_a_path_and_a_name() {
        for (text, endpoint, basic) in [
            ("http://p:9090", "http://p:9090/api/v1/query", None),
            ("https://p/prom/", "https://p/prom/api/v1/query", None),
            ("http://[::1]:9090/", "http://[::1]:9090/api/v1/query", None),
            (
                "https://me:s%40crt@p",
                "https://p/api/v1/query",
                Some("Basic bWU6c0BjcnQ="),
            ),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.endpoint("query"), endpoint);
            assert_eq!(address.basic.as_ref().map(|basic| basic.to_str().unwrap()), basic);
            assert!(!format!("{address} {address:?}").contains("crt"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, expected) in [
            ("", Error::Malformed),
            ("p:9090", Error::Scheme),
            ("prometheus", Error::Scheme),
            ("ftp://p", Error::Scheme),
            ("http://", Error::Malformed),
            ("http://p?x=1", Error::Query),
        ] {
            assert_eq!(text.parse::<Address>(), Err(expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,30}", who in "[%a-f0-9é]{0,9}") {
            let _ = text.parse::<Address>();
            let _ = format!("http://{who}@p").parse::<Address>();
        }
    }
}
