//! Waiting for a condition, with a deadline and a last word.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Polls `probe` until it gives `Ok`; what it gave last as `Err` is the message when `limit` has passed.
///
/// # Errors
/// The last `Err` of the probe, with what was waited for.
pub async fn wait_for<T, E, F, P>(what: &str, limit: Duration, mut probe: F) -> anyhow::Result<T>
where
    E: Debug,
    F: FnMut() -> P,
    P: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(last) if started.elapsed() >= limit => {
                anyhow::bail!("waited {limit:?} for {what}; last seen: {last:?}")
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}
