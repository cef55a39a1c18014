//! A certificate from a Secret of type `kubernetes.io/tls`, by cert-manager or by anybody.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_service::tls;

use super::{Error, PERIOD, Place, Shown, Trust};

/// An authority that is replaced stays trusted this long: the other replicas still show what it signed.
const OVERLAP: Duration = Duration::from_mins(1);
/// Written by cert-manager on its Secrets: the Certificate's name.
const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";

pub(super) struct Given {
    secret: String,
    /// Namespace of the Certificate, with cert-manager.
    cert_manager: Option<String>,
    content: Option<Content>,
    /// The authorities before the present ones, and until when (monotonic) they are trusted beside them.
    previous: Option<(String, Duration)>,
}

/// What is needed of the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    certificate: String,
    key: String,
    authorities: String,
}

impl Given {
    pub(super) fn new(secret: String) -> Self {
        Self {
            secret,
            cert_manager: None,
            content: None,
            previous: None,
        }
    }

    pub(super) fn by_cert_manager(secret: String, namespace: String) -> Self {
        Self {
            cert_manager: Some(namespace),
            ..Self::new(secret)
        }
    }

    /// One round; returns the time until the next.
    pub(super) async fn renew(&mut self, place: &Place, shown: &mut Shown) -> Result<Duration, Error> {
        let secret = within(REQUEST_TIMEOUT, place.api.get_opt(&self.secret))
            .await
            .map_err(|source| Error::Read {
                name: self.secret.clone(),
                source,
            })?;
        let secret = secret.ok_or_else(|| Error::Absent(self.secret.clone()))?;
        let content = self.content(&secret)?;
        let Content {
            certificate,
            key,
            authorities,
        } = &content;
        let now_ms = place.clock.now_ms();
        let checked = tls::check(certificate, key, authorities, &place.subjects, now_ms);
        let end_ms = checked.map_err(|source| Error::Refused {
            name: self.secret.clone(),
            subjects: list(&place.subjects),
            source: Box::new(source),
        })?;
        let now = place.clock.monotonic();
        self.replace_authorities(authorities, now);
        shown.trust(self.trust(&secret, authorities)?);
        if self.content.as_ref() != Some(&content) {
            shown.show(certificate, key, authorities, end_ms).await?;
            self.content = Some(content);
        }
        shown.well();
        // The end is told when it comes.
        let period = PERIOD.min(Duration::from_millis(end_ms.saturating_sub(now_ms).saturating_add(1)));
        let overlap = self.previous.as_ref().map(|(_, until)| until.saturating_sub(now));
        Ok(overlap.map_or(period, |left| left.min(period)))
    }

    fn content(&self, secret: &Secret) -> Result<Content, Error> {
        let text = |field: &'static str, advice| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(field));
            let text = bytes.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
            text.filter(|text| !text.trim().is_empty()).ok_or_else(|| Error::Field {
                name: self.secret.clone(),
                field,
                advice,
            })
        };
        Ok(Content {
            certificate: text(
                "tls.crt",
                "put the certificate there as PEM, followed by those above it",
            )?,
            key: text("tls.key", "put the certificate's private key there as PEM")?,
            authorities: text(
                "ca.crt",
                "put the certificate of the authority there that signed tls.crt, as PEM: the API server is told to \
                 trust it (with cert-manager: take an issuer that fills it, such as CA or self-signed)",
            )?,
        })
    }

    fn replace_authorities(&mut self, authorities: &str, now: Duration) {
        let before = self.content.as_ref().map(|content| content.authorities.clone());
        if let Some(before) = before.filter(|before| before != authorities) {
            self.previous = Some((before, now.saturating_add(OVERLAP)));
        }
        self.previous.take_if(|(_, until)| *until <= now);
    }

    fn trust(&self, secret: &Secret, authorities: &str) -> Result<Trust, Error> {
        let Some(namespace) = &self.cert_manager else {
            let all = [
                Some(authorities),
                self.previous.as_ref().map(|(before, _)| before.as_str()),
            ];
            return Ok(Trust::Bundle(
                all.into_iter()
                    .flatten()
                    .map(|pem| pem.trim().to_owned() + "\n")
                    .collect(),
            ));
        };
        let annotations = secret.metadata.annotations.as_ref();
        let name = annotations.and_then(|all| all.get(CERTIFICATE_NAME));
        let name = name.ok_or_else(|| Error::Field {
            name: self.secret.clone(),
            field: CERTIFICATE_NAME,
            advice: "cert-manager did not write it; name the secretName of a Certificate, or use --certificates secret",
        })?;
        Ok(Trust::Injected(format!("{namespace}/{name}")))
    }
}

fn list(subjects: &[tls::Subject]) -> String {
    let all: Vec<_> = subjects.iter().map(ToString::to_string).collect();
    all.join(" and ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    fn secret(fields: &[(&str, &str)]) -> Secret {
        let data = fields
            .iter()
            .map(|&(field, text)| (field.to_owned(), ByteString(text.into())));
        Secret {
            data: Some(data.collect::<BTreeMap<_, _>>()),
            ..Secret::default()
        }
    }

    #[test]
    fn a_secret_without_an_authority_is_refused_with_advice() {
        let given = Given::new("s".into());
        for empty in [None, Some(("ca.crt", "\n"))] {
            let fields: Vec<_> = [("tls.crt", "c"), ("tls.key", "k")].into_iter().chain(empty).collect();
            let error = given.content(&secret(&fields)).unwrap_err().to_string();
            assert!(
                error.contains("ca.crt is missing") && error.contains("signed tls.crt"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_replaced_authority_stays_trusted_for_a_while() {
        let mut given = Given::new("s".into());
        let content = |authorities: &str| Content {
            certificate: "c".into(),
            key: "k".into(),
            authorities: authorities.into(),
        };
        given.content = Some(content("old"));
        given.replace_authorities("new", Duration::ZERO);
        given.content = Some(content("new"));
        let trust = |given: &Given| given.trust(&Secret::default(), "new").unwrap();
        assert_eq!(trust(&given), Trust::Bundle("new\nold\n".into()));
        given.replace_authorities("new", OVERLAP / 2);
        assert_eq!(trust(&given), Trust::Bundle("new\nold\n".into()));
        given.replace_authorities("new", OVERLAP);
        assert_eq!(trust(&given), Trust::Bundle("new\n".into()));
    }

    #[test]
    fn cert_managers_certificate_is_the_one_that_wrote_the_secret() {
        let given = Given::by_cert_manager("s".into(), "kompass".into());
        let mut secret = secret(&[]);
        let error = given.trust(&secret, "x").unwrap_err().to_string();
        assert!(error.contains("--certificates secret"), "{error}");
        secret.metadata.annotations = Some([(CERTIFICATE_NAME.to_owned(), "webhook".to_owned())].into());
        assert_eq!(
            given.trust(&secret, "x").unwrap(),
            Trust::Injected("kompass/webhook".into())
        );
    }
}
