//! Owners of executors that are known to be no drivers: of a burst of executors, only the first one has to ask for its
//! owner.

use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;

/// For so long an answer is believed. A UID does not come back and a pod does not change its role, but a mistake must
/// not last.
pub const BELIEVED_MS: u64 = 5_000;
/// More owners at a time are not remembered: with a short name and a UID each, below a megabyte.
const OWNERS_MAX: usize = 4_096;

/// What is known of an owner that is no driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// A pod that is no driver: client mode.
    Other,
    /// No pod of that UID is there any more.
    Gone,
}

/// All of them, by namespace and UID; shared.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<FxHashMap<(String, String), (Stranger, u64)>>);

impl Strangers {
    /// What is known of the pod with this UID; `None` if it has to be asked for. `now_ms` is monotonic.
    pub fn get(&self, namespace: &str, uid: &str, now_ms: u64) -> Option<Stranger> {
        let owner = (namespace.to_owned(), uid.to_owned());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stranger, at_ms) = known.get(&owner)?;
        is_fresh(*at_ms, now_ms).then_some(*stranger)
    }

    /// Remembers what was found. `now_ms` is monotonic.
    pub fn learn(&self, namespace: &str, uid: &str, stranger: Stranger, now_ms: u64) {
        let owner = (namespace.to_owned(), uid.to_owned());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= OWNERS_MAX {
            known.retain(|_, (_, at_ms)| is_fresh(*at_ms, now_ms));
        }
        if known.len() < OWNERS_MAX {
            known.insert(owner, (stranger, now_ms));
        }
    }
}

const fn is_fresh(at_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) < BELIEVED_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_for_a_while_and_for_its_pod_only() {
        let strangers = Strangers::default();
        strangers.learn("a", "u", Stranger::Other, 1_000);
        assert_eq!(strangers.get("a", "u", 1_000 + BELIEVED_MS - 1), Some(Stranger::Other));
        assert_eq!(strangers.get("a", "u", 1_000 + BELIEVED_MS), None);
        assert_eq!(strangers.get("b", "u", 1_000), None, "of another namespace");
        assert_eq!(strangers.get("a", "v", 1_000), None);
    }

    #[test]
    fn they_are_bounded_and_the_old_ones_make_room() {
        let strangers = Strangers::default();
        for number in 0..2 * OWNERS_MAX {
            strangers.learn("a", &number.to_string(), Stranger::Gone, 0);
        }
        assert_eq!(strangers.0.lock().unwrap().len(), OWNERS_MAX);
        strangers.learn("a", "new", Stranger::Gone, BELIEVED_MS);
        assert_eq!(strangers.get("a", "new", BELIEVED_MS), Some(Stranger::Gone));
        assert_eq!(strangers.0.lock().unwrap().len(), 1);
    }
}
