//! How long jobs are expected to run, as the predictor tells it.
//!
//! Nothing waits for it. The predictor is asked when a driver is looked at, most often before its configuration is there;
//! a profile takes what has been told by the time it is written. Whatever the predictor does (it is gone, hangs, or says
//! nonsense), jobs have no estimate then, and planning goes by the runs that it has seen itself.

mod book;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::uri::Authority;
use kompass_core::profile::RuntimeEstimate;
use kompass_service::client;
use kompass_service::clock::Clock;
use kompass_service::logging::chain;
use kompass_service::metrics::CounterVec;
use kompass_spark::profile_key::Keys;

use self::book::{Answer, Book, Lie};
use super::monotonic_ms;

/// For a whole question and its answer.
const LIMIT: Duration = Duration::from_millis(300);
/// An answer is some eighty bytes.
const MAX_BYTES: usize = 4 << 10;

/// The estimates; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Estimates(Option<Arc<Asking>>);

#[derive(Debug)]
struct Asking {
    predictor: Authority,
    clock: Clock,
    /// Answers by what they were.
    answers: CounterVec<1>,
    book: Mutex<Book>,
}

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to ask the predictor")]
    Client(#[from] client::Error),
    #[error("failed to use the predictor's answer: status {0}")]
    Status(StatusCode),
    #[error("failed to use the predictor's answer")]
    Lie(#[from] Lie),
}

impl Estimates {
    /// Those of a predictor, or none ever.
    pub(super) fn new(predictor: Option<Authority>, clock: Clock, answers: CounterVec<1>) -> Self {
        Self(predictor.map(|predictor| {
            Arc::new(Asking {
                predictor,
                clock,
                answers,
                book: Mutex::default(),
            })
        }))
    }

    /// Asks for the job with these keys, if it makes sense now, and does not wait for the answer.
    pub(super) fn ask(&self, keys: &Keys) {
        if let Some(question) = self.question(keys) {
            // It ends by itself within its limit, and nobody misses it.
            tokio::spawn(question);
        }
    }

    /// The estimate of a job, if one is known now.
    pub(super) fn of(&self, profile_key: &str) -> Option<RuntimeEstimate> {
        let asking = self.0.as_ref()?;
        asking.book().of(profile_key, monotonic_ms(&asking.clock))
    }

    fn question(&self, keys: &Keys) -> Option<impl Future<Output = ()> + Send + use<>> {
        let asking = Arc::clone(self.0.as_ref()?);
        let path = path(keys)?;
        if !asking.book().ask(&keys.own, monotonic_ms(&asking.clock)) {
            return None;
        }
        let keys = keys.clone();
        Some(async move {
            let answer = asking.answer(&path, &keys).await;
            let result = match &answer {
                Ok(Answer::Runtime(_)) => "told",
                Ok(Answer::Unknown) => "unknown",
                Err(Error::Lie(_)) => "refused",
                Err(_) => "failed",
            };
            asking.answers.with([result]).inc();
            let pauses = asking
                .book()
                .answered(keys.own, answer.as_ref().ok().copied(), monotonic_ms(&asking.clock));
            if let Err(error) = &answer
                && pauses
            {
                tracing::warn!(error = chain(error), "the predictor is left alone for a while");
            }
        })
    }
}

impl Asking {
    async fn answer(&self, path: &str, keys: &Keys) -> Result<Answer, Error> {
        let (status, body) = client::get(&self.predictor, path, LIMIT, MAX_BYTES).await?;
        match status {
            StatusCode::NO_CONTENT => Ok(Answer::Unknown),
            StatusCode::OK => Ok(Answer::Runtime(book::read(&body, keys)?)),
            other => Err(Error::Status(other)),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // What is behind it is never left half changed.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The question for a job; `None` for keys that are none of ours.
fn path(keys: &Keys) -> Option<String> {
    let all: Vec<&str> = std::iter::once(&keys.own)
        .chain(&keys.wider)
        .map(String::as_str)
        .collect();
    // They go into the address as they are: so much is allowed in the value of a label.
    let is_plain = |key: &&str| key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    all.iter()
        .all(is_plain)
        .then(|| format!("/v1/runtime?key={}", all.join("&key=")))
}

#[cfg(test)]
mod tests;
