//! When a group is left alone: after calls that failed, refusals, and what went wrong.

use crate::rules::Refusal;

const MINUTE_MS: i64 = 60_000;
/// After a call that failed; twice as long each further time.
const RETRY_MS: i64 = 15_000;
const RETRY_MAX_MS: i64 = 8 * MINUTE_MS;
/// What was refused is asked for again after so long, or after a minute if it passes by itself; twice as long each further
/// time, up to the longest.
const REFUSED_MS: i64 = 5 * MINUTE_MS;
const REFUSED_MAX_MS: i64 = 60 * MINUTE_MS;
const SHORT_MAX_MS: i64 = 4 * MINUTE_MS;
/// The first back-off; each further one is twice as long.
const BACK_OFF_MS: i64 = 10 * MINUTE_MS;
const BACK_OFF_MAX_MS: i64 = 120 * MINUTE_MS;

/// With one group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patience {
    /// A call has failed: nothing before then.
    retry_ms: Option<i64>,
    failures: u32,
    refusal: Option<Refusal>,
    /// How often in a row it was refused for the same reason.
    refused_times: u32,
    /// What was refused is not tried before then.
    refused_until_ms: Option<i64>,
    strikes: u32,
    left_alone_until_ms: Option<i64>,
}

impl Patience {
    /// Why there is no floor, or not the wanted one.
    pub(crate) const fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Whether calls may be made at all.
    pub(crate) fn may_call(&self, now_ms: i64) -> bool {
        passed(self.retry_ms, now_ms)
    }

    /// Whether it may be tried to raise the floor.
    pub(crate) fn may_raise(&self, now_ms: i64) -> bool {
        passed(self.refused_until_ms, now_ms) && passed(self.left_alone_until_ms, now_ms)
    }

    /// Whether a floor is likely to be had now or soon.
    pub(crate) fn is_open(&self, now_ms: i64) -> bool {
        let is_short = self.refusal.as_ref().is_some_and(Refusal::is_short);
        passed(self.left_alone_until_ms, now_ms) && (is_short || passed(self.refused_until_ms, now_ms))
    }

    /// Until when it is left alone because something went wrong.
    pub(crate) fn left_alone_until_ms(&self, now_ms: i64) -> Option<i64> {
        self.left_alone_until_ms.filter(|&until_ms| now_ms < until_ms)
    }

    /// It was looked at.
    pub(crate) const fn looked(&mut self) {
        self.retry_ms = None;
    }

    /// A call has failed.
    pub(crate) fn failed(&mut self, now_ms: i64) {
        self.retry_ms = Some(now_ms + (RETRY_MS << self.failures.min(6)).min(RETRY_MAX_MS));
        self.failures = self.failures.saturating_add(1);
    }

    /// A call has come through.
    pub(crate) const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// All instances of a floor are there.
    pub(crate) const fn fulfilled(&mut self) {
        self.strikes = 0;
    }

    /// Nothing can be done with it at all for a while.
    pub(crate) const fn rest(&mut self, now_ms: i64) {
        self.retry_ms = Some(now_ms + REFUSED_MS);
    }

    /// What came of a look: it was refused, or it was not.
    pub(crate) fn judged(&mut self, now_ms: i64, refusal: Option<Refusal>) -> Option<Refusal> {
        let Some(refusal) = refusal else {
            (self.refusal, self.refused_times, self.refused_until_ms) = (None, 0, None);
            return None;
        };
        if refusal.is_strike() {
            let back_off_ms = (BACK_OFF_MS << self.strikes.min(8)).min(BACK_OFF_MAX_MS);
            self.left_alone_until_ms = Some(now_ms + back_off_ms);
            self.strikes = self.strikes.saturating_add(1);
        }
        let is_same = self.refusal.as_ref().is_some_and(|last| last.code() == refusal.code());
        self.refused_times = if is_same {
            self.refused_times.saturating_add(1)
        } else {
            0
        };
        let (pause_ms, longest_ms) = if refusal.is_short() {
            (MINUTE_MS, SHORT_MAX_MS)
        } else {
            (REFUSED_MS, REFUSED_MAX_MS)
        };
        let pause_ms = (pause_ms << self.refused_times.min(6)).min(longest_ms);
        self.refused_until_ms = Some(now_ms + pause_ms);
        self.refusal = Some(refusal.clone());
        Some(refusal)
    }
}

fn passed(until_ms: Option<i64>, now_ms: i64) -> bool {
    until_ms.is_none_or(|until_ms| now_ms >= until_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_further_time_takes_longer_up_to_a_bound() {
        let mut patience = Patience::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            patience.failed(0);
            waits.push(patience.retry_ms.unwrap() / 1_000);
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 480, 480]);
        patience.succeeded();
        patience.failed(0);
        assert_eq!(patience.retry_ms, Some(RETRY_MS));
    }

    #[test]
    fn another_reason_begins_anew_and_strikes_add_up() {
        let mut patience = Patience::default();
        let minutes = |patience: &mut Patience, refusal: Refusal| {
            patience.judged(0, Some(refusal));
            patience.refused_until_ms.unwrap() / MINUTE_MS
        };
        assert_eq!(minutes(&mut patience, Refusal::Eks), 5);
        assert_eq!(minutes(&mut patience, Refusal::Eks), 10);
        assert_eq!([(); 3].map(|()| minutes(&mut patience, Refusal::Pending)), [1, 2, 4]);
        for left_alone in [10, 20, 40, 80, 120, 120] {
            patience.judged(0, Some(Refusal::Overdue));
            assert_eq!(patience.left_alone_until_ms(0), Some(left_alone * MINUTE_MS));
        }
        assert!(!patience.may_raise(0) && !patience.is_open(0));
        patience.fulfilled();
        patience.judged(0, Some(Refusal::Tampered));
        assert_eq!(patience.left_alone_until_ms(0), Some(10 * MINUTE_MS));
    }
}
