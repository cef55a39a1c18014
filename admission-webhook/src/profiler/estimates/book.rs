//! What the predictor has told, and whether to ask it: pure, all times are monotonic milliseconds.

use kompass_core::profile::RuntimeEstimate;
use kompass_spark::profile_key::Keys;
use rustc_hash::FxHashSet;
use serde::Deserialize;

use crate::profiler::recent::Recent;

/// Jobs whose answer is kept, and for how long: also the answer that nothing is known.
const MAX_JOBS: usize = 10_000;
const KEPT_MS: u64 = 10 * 60 * 1_000;
/// Questions on their way at a time; a job beyond them goes without an estimate.
const MAX_ASKING: usize = 16;
/// After so many failures in a row the predictor is left alone for a while, and then asked one question.
const MAX_FAILURES: u32 = 3;
const PAUSE_MS: u64 = 30_000;
/// No job is expected to run longer than a year.
const MAX_SECONDS: u64 = 366 * 24 * 3_600;

/// Answers and failures.
#[derive(Debug)]
pub(super) struct Book {
    /// Until when an answer counts, and what it was.
    answers: Recent<(u64, Answer)>,
    asking: FxHashSet<String>,
    failures: u32,
    paused_until_ms: u64,
}

/// What the predictor told of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Runtime(RuntimeEstimate),
    Unknown,
}

/// Why an answer can't be true.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lie {
    #[error("failed to read it as an estimate of a run time")]
    Malformed(#[source] serde_json::Error),
    #[error("failed to believe it: it is about another job")]
    OtherJob,
    #[error("failed to believe it: times out of order, or of no run")]
    Numbers,
}

/// The answer to `GET /v1/runtime?key=…`.
#[derive(Debug, Deserialize)]
struct Body {
    p50_s: u64,
    p90_s: u64,
    samples: u64,
    /// The one of the keys that it was learned from.
    key: String,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            answers: Recent::new(MAX_JOBS),
            asking: FxHashSet::default(),
            failures: 0,
            paused_until_ms: 0,
        }
    }
}

impl Book {
    /// The estimate of a job.
    pub(super) fn of(&self, key: &str, now_ms: u64) -> Option<RuntimeEstimate> {
        match self.fresh(key, now_ms)? {
            Answer::Runtime(estimate) => Some(estimate),
            Answer::Unknown => None,
        }
    }

    /// Whether to ask for a job now. If so, [`Book::answered`] must follow.
    pub(super) fn ask(&mut self, key: &str, now_ms: u64) -> bool {
        let max_asking = if self.failures < MAX_FAILURES { MAX_ASKING } else { 1 };
        let ask = now_ms >= self.paused_until_ms
            && self.asking.len() < max_asking
            && !self.asking.contains(key)
            && self.fresh(key, now_ms).is_none();
        if ask {
            self.asking.insert(key.to_owned());
        }
        ask
    }

    /// Takes over an answer; `None` is a failure. `true` if a pause begins.
    pub(super) fn answered(&mut self, key: String, answer: Option<Answer>, now_ms: u64) -> bool {
        self.asking.remove(&key);
        if let Some(answer) = answer {
            self.failures = 0;
            self.answers.insert(key, (now_ms.saturating_add(KEPT_MS), answer));
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let pauses = self.failures >= MAX_FAILURES && now_ms >= self.paused_until_ms;
        if pauses {
            self.paused_until_ms = now_ms.saturating_add(PAUSE_MS);
        }
        pauses
    }

    #[cfg(test)]
    pub(super) fn is_asking(&self, key: &str) -> bool {
        self.asking.contains(key)
    }

    fn fresh(&self, key: &str, now_ms: u64) -> Option<Answer> {
        let &(until_ms, answer) = self.answers.get(key)?;
        (now_ms < until_ms).then_some(answer)
    }
}

/// The estimate in an answer to a question for these keys.
pub(super) fn read(body: &[u8], keys: &Keys) -> Result<RuntimeEstimate, Lie> {
    let answer: Body = serde_json::from_slice(body).map_err(Lie::Malformed)?;
    if answer.key != keys.own && !keys.wider.contains(&answer.key) {
        return Err(Lie::OtherJob);
    }
    if answer.samples == 0 || answer.p50_s > answer.p90_s || answer.p90_s > MAX_SECONDS {
        return Err(Lie::Numbers);
    }
    Ok(RuntimeEstimate {
        p50_s: answer.p50_s,
        p90_s: answer.p90_s,
        samples: answer.samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: RuntimeEstimate = RuntimeEstimate {
        p50_s: 3_000,
        p90_s: 3_600,
        samples: 4,
    };

    fn fail(book: &mut Book, times: usize, now_ms: u64) {
        for n in 0..times {
            let key = n.to_string();
            assert!(book.ask(&key, now_ms), "{n}");
            book.answered(key, None, now_ms);
        }
    }

    #[test]
    fn an_answer_counts_for_its_time() {
        let mut book = Book::default();
        assert!(book.ask("job", 0));
        assert!(!book.ask("job", 0), "it is on its way");
        book.answered("job".into(), Some(Answer::Runtime(HOUR)), 5);
        assert!(!book.ask("job", KEPT_MS + 4));
        assert_eq!(book.of("job", KEPT_MS + 4), Some(HOUR));
        assert_eq!((book.of("job", KEPT_MS + 5), book.of("other", 5)), (None, None));
        assert!(book.ask("job", KEPT_MS + 5));
    }

    #[test]
    fn that_nothing_is_known_is_an_answer_too() {
        let mut book = Book::default();
        assert!(book.ask("job", 0));
        book.answered("job".into(), Some(Answer::Unknown), 0);
        assert_eq!(book.of("job", 1), None);
        assert!(!book.ask("job", 1));
    }

    #[test]
    fn a_predictor_that_fails_is_left_alone_and_tried_with_one_question() {
        let mut book = Book::default();
        fail(&mut book, 2, 0);
        assert!(book.ask("good", 0));
        book.answered("good".into(), Some(Answer::Unknown), 0);
        fail(&mut book, 3, 0);
        assert!(!book.ask("a", PAUSE_MS - 1));
        assert!(book.ask("a", PAUSE_MS));
        assert!(!book.ask("b", PAUSE_MS), "one question at first");
        assert!(book.answered("a".into(), None, PAUSE_MS));
        assert!(!book.ask("a", 2 * PAUSE_MS - 1));
        assert!(book.ask("a", 2 * PAUSE_MS));
        book.answered("a".into(), Some(Answer::Unknown), 2 * PAUSE_MS);
        assert!(book.ask("b", 2 * PAUSE_MS) && book.ask("c", 2 * PAUSE_MS));
    }

    #[test]
    fn questions_on_their_way_and_answers_are_bounded() {
        let mut book = Book::default();
        let asked = (0..1_000).filter(|n| book.ask(&n.to_string(), 0)).count();
        assert_eq!(asked, MAX_ASKING);
        for n in 0..=MAX_JOBS {
            book.answered(n.to_string(), Some(Answer::Unknown), 0);
        }
        assert!(book.answers.len() <= MAX_JOBS && book.asking.is_empty());
    }

    #[test]
    fn what_can_not_be_true_is_refused() {
        let keys = Keys {
            own: "job".into(),
            wider: vec!["name.job".into()],
        };
        let answer = |p50: &str, p90: &str, samples: &str, key: &str| {
            let body = format!(r#"{{"p50_s":{p50},"p90_s":{p90},"samples":{samples},"key":"{key}","more":1}}"#);
            read(body.as_bytes(), &keys)
        };
        assert_eq!(answer("3000", "3600", "4", "job").unwrap(), HOUR);
        assert_eq!(answer("3000", "3600", "4", "name.job").unwrap(), HOUR);
        let long = "9".repeat(1_000);
        for (p50, p90, samples, key) in [
            ("3000", "2999", "4", "job"),
            ("3000", "3600", "0", "job"),
            ("1", "31622401", "4", "job"),
            ("-1", "3600", "4", "job"),
            ("1", "1e9", "4", "job"),
            ("1", &long, "4", "job"),
            ("1", "NaN", "4", "job"),
            ("null", "1", "4", "job"),
            ("3000", "3600", "4", "other"),
        ] {
            let read = answer(p50, p90, samples, key);
            assert!(read.is_err(), "{p50} {p90} {samples} {key}: {read:?}");
        }
        for garbage in ["", "[]", "{}", "\u{0}", "<html>"] {
            assert!(
                matches!(read(garbage.as_bytes(), &keys), Err(Lie::Malformed(_))),
                "{garbage}"
            );
        }
    }
}
