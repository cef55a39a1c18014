//! One request: its turn, its time, and what is told of it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};

use crate::error::Error;
use crate::judge::judge;
use crate::operation::Operation;
use crate::rate::{Bucket, Rate};

/// From a write's being asked for to its end, its turn and its credentials included. A lease that has been lost lasts 5 s
/// longer for others: what was not sent until then must not be sent at all.
pub const WRITE_LIMIT: Duration = Duration::from_secs(4);
/// The same for one attempt to read.
const READ_LIMIT: Duration = Duration::from_secs(4);
/// How often the same is read at most.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Is told of every attempt: `ok`, or the kind of the error.
pub type Observer = Arc<dyn Fn(Operation, &'static str) + Send + Sync>;

/// What the clients share.
pub(crate) struct Calls {
    bucket: Mutex<Bucket>,
    origin: Instant,
    observer: Option<Observer>,
}

impl Calls {
    pub(crate) fn new(rate: Rate, observer: Option<Observer>) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(rate, 0)),
            origin: Instant::now(),
            observer,
        }
    }

    /// Sends a write once, or not at all.
    pub(crate) async fn write<T, E>(
        &self,
        operation: Operation,
        group: &str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.attempt(operation, group, WRITE_LIMIT, request).await
    }

    /// Reads; what may go well a little later is tried again.
    pub(crate) async fn read<T, E, F>(
        &self,
        operation: Operation,
        group: &str,
        mut request: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt(operation, group, READ_LIMIT, request()).await {
                Err(error) if error.is_transient() && attempts < ATTEMPTS => {
                    tokio::time::sleep(pause(attempts)).await;
                }
                result => return result,
            }
        }
    }

    async fn attempt<T, E>(
        &self,
        operation: Operation,
        group: &str,
        limit: Duration,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let whole = async {
            self.turn(operation, limit).await?;
            let answer = request.await;
            answer.map_err(|error| judge(operation, group, limit, error))
        };
        let result = tokio::time::timeout(limit, whole)
            .await
            .unwrap_or(Err(Error::TimedOut { operation, limit }));
        let outcome = result.as_ref().map_or_else(Error::kind, |_| "ok");
        if let Some(observer) = &self.observer {
            observer(operation, outcome);
        }
        result
    }

    async fn turn(&self, operation: Operation, limit: Duration) -> Result<(), Error> {
        // Half of the time is the answer's.
        let patience_ms = milliseconds(limit / 2);
        let now_ms = milliseconds(self.origin.elapsed());
        let taken = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(now_ms, patience_ms)
        };
        match taken {
            Some(0) => Ok(()),
            Some(wait_ms) => {
                tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())).await;
                Ok(())
            }
            None => Err(Error::Busy { operation }),
        }
    }
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Calls").finish_non_exhaustive()
    }
}

/// Twice as long each time, by chance between half of that and all of it.
fn pause(attempts: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempts));
    let thousandths = u32::try_from(RandomState::new().hash_one(attempts) % 501).unwrap_or_default();
    longest / 2 + longest * thousandths / 1_000
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
