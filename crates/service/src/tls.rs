//! Certificates: a self-made authority, short-lived leaves, live rotation, loading from PEM.
//!
//! The order of a rotation that no client notices: trust (authority) is handed out before the first leaf signed by it
//! is served, and a leaf is replaced long before it ends. When to act is [`Validity::is_due`], a pure function of time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};

/// How far back a certificate's life begins: clocks of other machines may be behind.
const BACKDATE_MS: u64 = 5 * 60 * 1_000;

/// Why certificates could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The generator refused.
    #[error("failed to make a certificate")]
    Make(#[from] rcgen::Error),
    /// Not PEM, or not with what is needed in it.
    #[error("failed to read the PEM of the {what}")]
    Pem {
        /// `certificate` or `key`.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// The key doesn't fit the certificate, or is of an unknown kind.
    #[error("failed to use the certificate with its key")]
    Use(#[from] rustls::Error),
    /// Nothing in the authorities' PEM can be trusted.
    #[error("failed to use the authorities' certificates")]
    Roots(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A client would refuse the certificate: its time, its names or its signer.
    #[error("failed to accept the certificate for {subject:?}")]
    Refused {
        /// The name that a client calls.
        subject: String,
        /// What is wrong, with the times or names.
        #[source]
        source: rustls::Error,
    },
}

/// Makes aws-lc-rs the process's cryptography; the first line of every `main`, harmless when repeated.
pub fn install_crypto_provider() {
    // It fails only when one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// When a certificate holds, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Validity {
    /// First moment.
    pub not_before_ms: u64,
    /// Last moment.
    pub not_after_ms: u64,
}

impl Validity {
    /// A life of `length` from `now_ms` on, begun a little earlier for clocks that are behind.
    pub fn starting(now_ms: u64, length: Duration) -> Self {
        let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX / 2);
        // X.509 counts whole seconds.
        let not_before_ms = now_ms.saturating_sub(BACKDATE_MS) / 1_000 * 1_000;
        Self {
            not_before_ms,
            not_after_ms: now_ms.saturating_add(length_ms) / 1_000 * 1_000,
        }
    }

    /// Whether to make the next one: two thirds of the life are over, or it has not begun.
    pub fn is_due(&self, now_ms: u64) -> bool {
        let length = self.not_after_ms.saturating_sub(self.not_before_ms);
        now_ms < self.not_before_ms || now_ms >= self.not_before_ms.saturating_add(length / 3 * 2)
    }

    /// Whether it holds at `now_ms`.
    pub fn holds(&self, now_ms: u64) -> bool {
        (self.not_before_ms..=self.not_after_ms).contains(&now_ms)
    }
}

/// A name or address that a leaf speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A DNS name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl From<&str> for Subject {
    /// An address if it reads as one, else a name.
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Dns(text.to_owned()), Self::Ip)
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// A certificate with its key, as PEM, and its validity. Debug output hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, followed by those above it if any.
    pub certificate_pem: String,
    /// The private key, PKCS #8.
    pub key_pem: String,
    /// When the certificate holds.
    pub validity: Validity,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// A self-made certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its name in the certificates.
    pub name: String,
    /// Its own certificate and key.
    pub pair: Pair,
}

impl Authority {
    /// A new authority with a new key.
    pub fn generate(name: &str, validity: Validity) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = authority_params(name)?;
        set_validity(&mut params, validity);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            name: name.to_owned(),
            pair: Pair {
                certificate_pem,
                key_pem: key.serialize_pem(),
                validity,
            },
        })
    }

    /// A new leaf with a new key for `subjects`, as a server. It never outlives the authority.
    pub fn issue(&self, subjects: &[Subject], validity: Validity) -> Result<Pair, Error> {
        let issuer = Issuer::new(authority_params(&self.name)?, KeyPair::from_pem(&self.pair.key_pem)?);
        let validity = Validity {
            not_after_ms: validity.not_after_ms.min(self.pair.validity.not_after_ms),
            ..validity
        };
        let names: Vec<String> = subjects.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "KOMPASS service");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, validity);
        let certificate_pem = params.signed_by(&key, &issuer)?.pem();
        Ok(Pair {
            certificate_pem,
            key_pem: key.serialize_pem(),
            validity,
        })
    }
}

/// The part of an authority's parameters that its leaves refer to. It must not change between releases, or a stored
/// key would sign for another name.
fn authority_params(name: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_millis(validity.not_before_ms);
    params.not_after = epoch + Duration::from_millis(validity.not_after_ms);
}

/// The certificates of a PEM, at least one.
fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Pem { what, source })?;
    if all.is_empty() {
        let source = pem::Error::NoItemsFound;
        return Err(Error::Pem { what, source });
    }
    Ok(all)
}

fn certified(certificate_pem: &str, key_pem: &str) -> Result<CertifiedKey, Error> {
    let chain = certificates(certificate_pem, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|source| Error::Pem { what: "key", source })?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Ok(CertifiedKey::from_der(chain, key, &provider)?)
}

/// Checks a certificate and its key as a client would that trusts `roots_pem` and calls each of `subjects` at `now_ms`.
/// Returns when the certificate ends, in milliseconds since the Unix epoch.
pub fn check(
    certificate_pem: &str,
    key_pem: &str,
    roots_pem: &str,
    subjects: &[Subject],
    now_ms: u64,
) -> Result<u64, Error> {
    // The key first: where certificate and key come from different hands nothing else matters.
    certified(certificate_pem, key_pem)?;
    let chain = certificates(certificate_pem, "certificate")?;
    let mut roots = RootCertStore::empty();
    for root in certificates(roots_pem, "authority's certificate")? {
        roots.add(root).map_err(|error| Error::Roots(error.into()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| Error::Roots(error.into()))?;
    let mut end_ms = u64::MAX;
    for subject in subjects {
        let refused = |source| Error::Refused {
            subject: subject.to_string(),
            source,
        };
        let name = match subject {
            Subject::Dns(name) => ServerName::try_from(name.clone())
                .map_err(|_| refused(rustls::Error::General("not a DNS name".to_owned())))?,
            Subject::Ip(address) => ServerName::IpAddress((*address).into()),
        };
        let verify = |at_ms| {
            let at = UnixTime::since_unix_epoch(Duration::from_millis(at_ms));
            verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at)
        };
        verify(now_ms).map_err(refused)?;
        // Asked about the end of all time, the verifier says when the certificate ended.
        if let Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) =
            verify(u64::MAX)
        {
            end_ms = end_ms.min(not_after.as_secs().saturating_mul(1_000));
        }
    }
    Ok(end_ms)
}

/// The certificate that a server shows now; replaced while it serves.
#[derive(Debug, Default)]
pub struct Live(ArcSwapOption<CertifiedKey>);

impl Live {
    /// None yet: handshakes fail until [`set`](Self::set).
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Shows this certificate from the next handshake on. The old one stays if the new one can't be used.
    pub fn set(&self, certificate_pem: &str, key_pem: &str) -> Result<(), Error> {
        self.0.store(Some(Arc::new(certified(certificate_pem, key_pem)?)));
        Ok(())
    }

    /// Whether there is a certificate to show.
    pub fn is_set(&self) -> bool {
        self.0.load().is_some()
    }
}

impl ResolvesServerCert for Live {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// A server's TLS settings that show `live`, for HTTP/2 and HTTP/1.1, without client certificates.
pub fn server_config(live: Arc<Live>) -> Result<Arc<rustls::ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(live);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600 * 1_000;
    const NOW_MS: u64 = 1_790_000_000_000;

    #[test]
    fn rotation_is_due_after_two_thirds() {
        let validity = Validity {
            not_before_ms: 0,
            not_after_ms: 9_000,
        };
        for (now, due) in [(0, false), (5_999, false), (6_000, true), (20_000, true)] {
            assert_eq!(validity.is_due(now), due, "at {now}");
        }
        let validity = Validity {
            not_before_ms: 10_000,
            not_after_ms: 20_000,
        };
        assert!(validity.is_due(9_999), "the clock was set back");
    }

    #[test]
    fn validity_begins_before_now() {
        let validity = Validity::starting(NOW_MS, Duration::from_hours(1));
        assert!(validity.holds(NOW_MS - 60_000) && validity.holds(NOW_MS) && !validity.is_due(NOW_MS));
        assert!(!validity.holds(NOW_MS + 3_600_001));
    }

    #[test]
    fn a_leaf_never_outlives_its_authority() {
        let authority = Authority::generate("test", Validity::starting(NOW_MS, Duration::from_mins(1))).unwrap();
        let leaf = authority
            .issue(
                &["localhost".into()],
                Validity {
                    not_before_ms: NOW_MS,
                    not_after_ms: NOW_MS + DAY_MS,
                },
            )
            .unwrap();
        assert_eq!(leaf.validity.not_after_ms, authority.pair.validity.not_after_ms);
    }

    #[test]
    fn a_bad_pair_leaves_the_old_certificate() {
        let validity = Validity::starting(NOW_MS, Duration::from_hours(1));
        let authority = Authority::generate("test", validity).unwrap();
        let (one, other) = (
            authority.issue(&[], validity).unwrap(),
            authority.issue(&[], validity).unwrap(),
        );
        let live = Live::new();
        live.set(&one.certificate_pem, &one.key_pem).unwrap();
        assert!(
            live.set(&one.certificate_pem, &other.key_pem).is_err(),
            "key of another certificate"
        );
        assert!(live.set("", &one.key_pem).is_err());
        assert!(live.set(&one.certificate_pem, "garbage").is_err());
        assert!(live.is_set());
    }

    #[test]
    fn a_certificate_is_checked_as_its_clients_would() {
        let life = Validity::starting(NOW_MS, Duration::from_hours(240));
        let authority = Authority::generate("test", life).unwrap();
        let other = Authority::generate("other", life).unwrap();
        let names = [Subject::from("w.kompass.svc"), Subject::from("127.0.0.1")];
        let leaf = authority
            .issue(&names, Validity::starting(NOW_MS, Duration::from_hours(24)))
            .unwrap();
        let roots = &authority.pair.certificate_pem;
        let checked = |key: &str, roots: &str, name: &str, now_ms| {
            let refused = check(&leaf.certificate_pem, key, roots, &[name.into()], now_ms);
            refused.map_err(|error| format!("{error}: {}", std::error::Error::source(&error).unwrap()))
        };
        for name in ["w.kompass.svc", "127.0.0.1"] {
            assert_eq!(
                checked(&leaf.key_pem, roots, name, NOW_MS),
                Ok(leaf.validity.not_after_ms)
            );
        }
        for (key, roots, name, now_ms, said) in [
            (
                &leaf.key_pem,
                roots,
                "w.kompass.svc",
                NOW_MS + DAY_MS + 1_000,
                "certificate expired",
            ),
            (&leaf.key_pem, roots, "w.kompass.svc", NOW_MS - DAY_MS, "not valid yet"),
            (
                &leaf.key_pem,
                roots,
                "x.kompass.svc",
                NOW_MS,
                "not valid for name \"x.kompass.svc\"",
            ),
            (
                &leaf.key_pem,
                roots,
                "127.0.0.2",
                NOW_MS,
                "not valid for name \"127.0.0.2\"",
            ),
            (
                &leaf.key_pem,
                &other.pair.certificate_pem,
                "w.kompass.svc",
                NOW_MS,
                "UnknownIssuer",
            ),
            (&other.pair.key_pem, roots, "w.kompass.svc", NOW_MS, "with its key"),
            (
                &leaf.key_pem,
                &String::new(),
                "w.kompass.svc",
                NOW_MS,
                "authority's certificate",
            ),
        ] {
            let error = checked(key, roots, name, now_ms).unwrap_err();
            assert!(error.contains(said), "{said}: {error}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let authority = Authority::generate("test", Validity::starting(NOW_MS, Duration::from_mins(1))).unwrap();
        assert!(!format!("{authority:?}").contains("PRIVATE"));
    }

    #[test]
    fn subjects_tell_addresses_from_names() {
        assert_eq!(Subject::from("127.0.0.1"), Subject::Ip("127.0.0.1".parse().unwrap()));
        assert_eq!(Subject::from("kompass.svc"), Subject::Dns("kompass.svc".to_owned()));
    }
}
