//! When the certificates of a bundle end.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};

/// When each certificate of a bundle (PEM) ends; those that can't be read are left out.
pub(super) fn ends_ms(bundle: &[u8]) -> Vec<i64> {
    let parsed = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok);
    parsed.filter_map(|certificate| end_ms(&certificate)).collect()
}

/// Asked about the end of all time, the verifier says when the certificate ended, before it looks at anything else.
fn end_ms(certificate: &CertificateDer<'static>) -> Option<i64> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).ok()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .ok()?;
    let name = ServerName::try_from("kompass").ok()?;
    let at = UnixTime::since_unix_epoch(Duration::from_millis(u64::MAX));
    match verifier.verify_server_cert(certificate, &[], &name, &[], at) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            i64::try_from(not_after.as_secs()).ok()?.checked_mul(1_000)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_each_authority_is_told() {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.not_after = rcgen::date_time_ymd(2031, 1, 1);
        let pem = |parameters: &rcgen::CertificateParams| {
            let key = rcgen::KeyPair::generate().unwrap();
            parameters.self_signed(&key).unwrap().pem()
        };
        let first = pem(&parameters);
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let bundle = first + &pem(&parameters);
        assert_eq!(ends_ms(bundle.as_bytes()), [1_924_992_000_000, 1_893_456_000_000]);
    }

    #[test]
    fn a_bundle_that_is_none_has_no_ends() {
        assert!(ends_ms(b"\n").is_empty());
        assert!(ends_ms(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_empty());
    }
}
