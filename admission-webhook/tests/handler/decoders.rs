//! Whatever bytes come, a review is read or refused, and its answer can be read.

use kompass_admission_webhook::admit::{Outcome, Verdict};
use kompass_admission_webhook::review;
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::{DRIVER, EXECUTOR};

/// A recorded review with bytes replaced, taken out and put in.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..20);
    (prop_oneof![Just(DRIVER), Just(EXECUTOR)], edits).prop_map(|(review, edits)| {
        let mut bytes = review.as_bytes().to_vec();
        for (index, byte, what) in edits {
            let at = index.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_broken_review_is_read_or_refused(bytes in broken()) {
        if let Ok(request) = review::parse(&bytes) {
            prop_assert!(!request.uid.is_empty());
            prop_assert!(request.pod.is_none_or(|pod| pod.is_object()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = review::parse(&bytes);
    }

    #[test]
    fn an_answer_is_always_json(uid in any::<String>(), warning in any::<String>()) {
        let mut verdict = Verdict::unchanged(Outcome::NotOurs);
        verdict.warnings.push(warning);
        let answer: Value = serde_json::from_slice(&review::answer(&uid, &verdict)).unwrap();
        prop_assert_eq!(&answer["response"]["uid"], &Value::from(uid));
        prop_assert_eq!(&answer["response"]["allowed"], &Value::from(true));
    }
}
