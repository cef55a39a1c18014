//! The clock: the one place that reads wall time and monotonic time.
//!
//! Deciding code takes the time as an argument; the edge asks a [`Clock`] and hands the number in. Tests hold a
//! [`Manual`] clock and move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads the time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { origin: Instant },
    Manual(Manual),
}

impl Clock {
    /// The machine's clock. Its monotonic side begins at zero now.
    pub fn system() -> Self {
        Self(Source::System { origin: Instant::now() })
    }

    /// A clock that stands still at `unix_ms` until the returned handle moves it.
    pub fn manual(unix_ms: u64) -> (Self, Manual) {
        let manual = Manual {
            unix_ms: Arc::new(AtomicU64::new(unix_ms)),
            elapsed_ms: Arc::new(AtomicU64::new(0)),
        };
        (Self(Source::Manual(manual.clone())), manual)
    }

    /// Wall time in milliseconds since the Unix epoch; zero if the machine's clock is set before it.
    ///
    /// For stamps that people or other programs read. It can jump: never measure a wait with it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
            }
            Source::Manual(manual) => manual.unix_ms.load(Ordering::Acquire),
        }
    }

    /// Time since the clock was made; never goes back. For waits and time-outs.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System { origin } => origin.elapsed(),
            Source::Manual(manual) => Duration::from_millis(manual.elapsed_ms.load(Ordering::Acquire)),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// The hand that moves a manual [`Clock`].
#[derive(Clone, Debug)]
pub struct Manual {
    unix_ms: Arc<AtomicU64>,
    elapsed_ms: Arc<AtomicU64>,
}

impl Manual {
    /// Lets time pass: both the wall and the monotonic side go on by `by`.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.unix_ms.fetch_add(ms, Ordering::AcqRel);
        self.elapsed_ms.fetch_add(ms, Ordering::AcqRel);
    }

    /// Sets the wall side alone, forward or back, as an administrator or NTP would.
    pub fn set_wall(&self, unix_ms: u64) {
        self.unix_ms.store(unix_ms, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_when_told() {
        let (clock, hand) = Clock::manual(5_000);
        assert_eq!((clock.now_ms(), clock.monotonic()), (5_000, Duration::ZERO));
        hand.advance(Duration::from_millis(250));
        assert_eq!((clock.now_ms(), clock.monotonic()), (5_250, Duration::from_millis(250)));
    }

    #[test]
    fn wall_time_set_back_leaves_monotonic_time_alone() {
        let (clock, hand) = Clock::manual(5_000);
        hand.advance(Duration::from_secs(1));
        hand.set_wall(10);
        assert_eq!((clock.now_ms(), clock.monotonic()), (10, Duration::from_secs(1)));
    }

    #[test]
    fn system_clock_is_after_the_year_2020() {
        assert!(Clock::system().now_ms() > 1_577_836_800_000);
    }
}
