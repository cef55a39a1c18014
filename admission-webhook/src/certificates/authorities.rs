//! The authorities of the webhook and which of them signs: pure, the time is an argument.

use std::time::Duration;

use kompass_service::tls::{self, Authority, Pair, Validity};
use serde::{Deserialize, Serialize};

/// Name of the authorities in their certificates.
const NAME: &str = "KOMPASS admission webhook";
/// Life of an authority.
const LIFE: Duration = Duration::from_hours(24 * 365);
/// Between the birth of an authority and its first signature: two rounds of each replica, which make it trusted.
const SETTLING_MS: u64 = 15 * 60 * 1_000;

/// Why stored authorities can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to read the stored authorities")]
    Json(#[from] serde_json::Error),
}

/// All authorities, the oldest first, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authorities(Vec<Known>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    authority: Authority,
    born_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    certificate_pem: String,
    key_pem: String,
    validity: Validity,
    born_ms: u64,
}

impl Authorities {
    /// What is known, without those that have ended, with a new one if the youngest is due; and whether that is a
    /// change. One that has not begun stays: it may be our clock that is behind, and other replicas use it.
    pub(super) fn renewed(known: Option<Self>, now_ms: u64) -> Result<(Self, bool), tls::Error> {
        let mut all = known.map(|known| known.0).unwrap_or_default();
        let before = all.len();
        all.retain(|known| now_ms <= known.authority.pair.validity.not_after_ms);
        let due = all
            .last()
            .is_none_or(|youngest| youngest.authority.pair.validity.is_due(now_ms));
        let changed = due || all.len() != before;
        if due {
            let authority = Authority::generate(NAME, Validity::starting(now_ms, LIFE))?;
            all.push(Known {
                authority,
                born_ms: now_ms,
            });
        }
        Ok((Self(all), changed))
    }

    /// The certificates to trust, as PEM.
    pub(super) fn trust(&self, now_ms: u64) -> String {
        let lasting = self
            .0
            .iter()
            .filter(|known| now_ms <= known.authority.pair.validity.not_after_ms);
        lasting
            .map(|known| known.authority.pair.certificate_pem.trim_end().to_owned() + "\n")
            .collect()
    }

    /// The one that signs: the youngest that has settled, else the oldest that holds.
    pub(super) fn signer(&self, now_ms: u64) -> &Authority {
        let holds = |known: &&Known| known.authority.pair.validity.holds(now_ms);
        let settled = |known: &&Known| holds(known) && now_ms >= known.born_ms.saturating_add(SETTLING_MS);
        let known = self.0.iter().rev().find(settled);
        let known = known.or_else(|| self.0.iter().find(holds)).or_else(|| self.0.first());
        &known.expect("there is always one").authority
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let stored: Vec<Stored> = serde_json::from_slice(bytes)?;
        let known = stored.into_iter().map(
            |Stored {
                 certificate_pem,
                 key_pem,
                 validity,
                 born_ms,
             }| Known {
                authority: Authority {
                    name: NAME.to_owned(),
                    pair: Pair {
                        certificate_pem,
                        key_pem,
                        validity,
                    },
                },
                born_ms,
            },
        );
        Ok(Self(known.collect()))
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let stored: Vec<Stored> = self
            .0
            .iter()
            .map(|Known { authority, born_ms }| Stored {
                certificate_pem: authority.pair.certificate_pem.clone(),
                key_pem: authority.pair.key_pem.clone(),
                validity: authority.pair.validity,
                born_ms: *born_ms,
            })
            .collect();
        serde_json::to_vec(&stored).expect("texts and numbers are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_790_000_000_000;
    const DAY_MS: u64 = 24 * 3_600 * 1_000;

    #[test]
    fn authorities_survive_the_secret() {
        let (authorities, changed) = Authorities::renewed(None, NOW_MS).unwrap();
        assert!(changed);
        let read = Authorities::from_json(&authorities.to_json()).unwrap();
        assert_eq!(read, authorities);
        assert_eq!(Authorities::renewed(Some(read), NOW_MS).unwrap(), (authorities, false));
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_signs_and_the_old_one_after() {
        let (first, _) = Authorities::renewed(None, NOW_MS).unwrap();
        let old = first.signer(NOW_MS).clone();
        let due_ms = NOW_MS + 250 * DAY_MS;
        let (both, changed) = Authorities::renewed(Some(first), due_ms).unwrap();
        assert!(changed);
        assert_eq!(both.trust(due_ms).matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(both.signer(due_ms), &old);
        let settled_ms = due_ms + SETTLING_MS;
        assert_ne!(both.signer(settled_ms), &old);
        assert!(both.trust(settled_ms).contains(old.pair.certificate_pem.trim_end()));
        let (one, changed) = Authorities::renewed(Some(both), NOW_MS + 366 * DAY_MS).unwrap();
        assert!(changed);
        assert_eq!(one.trust(NOW_MS + 366 * DAY_MS).matches("BEGIN CERTIFICATE").count(), 1);
    }

    #[test]
    fn a_clock_set_back_makes_another_authority_and_keeps_the_one_in_use() {
        let (first, _) = Authorities::renewed(None, NOW_MS).unwrap();
        let old = first.signer(NOW_MS).clone();
        let back_ms = NOW_MS - 10 * DAY_MS;
        let (both, changed) = Authorities::renewed(Some(first), back_ms).unwrap();
        assert!(changed);
        assert_ne!(both.signer(back_ms), &old, "it has not begun");
        assert!(both.trust(back_ms).contains(old.pair.certificate_pem.trim_end()));
        let (again, changed) = Authorities::renewed(Some(both.clone()), back_ms).unwrap();
        assert!(!changed && again == both, "one is enough");
    }

    #[test]
    fn a_clock_set_forward_makes_an_authority_that_signs_at_once() {
        let (first, _) = Authorities::renewed(None, NOW_MS).unwrap();
        let later_ms = NOW_MS + 400 * DAY_MS;
        let (next, changed) = Authorities::renewed(Some(first), later_ms).unwrap();
        assert!(changed && next.signer(later_ms).pair.validity.holds(later_ms));
        // Set right again: what was made meanwhile has not begun.
        let (right, _) = Authorities::renewed(Some(next), NOW_MS + DAY_MS).unwrap();
        assert!(right.signer(NOW_MS + DAY_MS).pair.validity.holds(NOW_MS + DAY_MS));
    }

    #[test]
    fn garbage_in_the_secret_is_an_error_not_a_new_authority() {
        assert!(Authorities::from_json(b"garbage").is_err());
    }

    #[test]
    fn an_empty_list_is_replaced() {
        let known = Authorities::from_json(b"[]").unwrap();
        let (authorities, changed) = Authorities::renewed(Some(known), NOW_MS).unwrap();
        assert!(changed && !authorities.trust(NOW_MS).is_empty());
    }
}
