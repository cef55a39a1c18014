//! How often AWS is asked: a token bucket. An account's limits are shared with everybody in it, autoscalers first.
//!
//! Pure: the time is an argument.

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests at once, after a pause.
    pub burst: u32,
    /// Requests in a minute, lasting.
    pub per_minute: u32,
}

/// A bucket of turns.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    /// In 60,000ths of a turn: so many come in a millisecond as turns in a minute. Below zero where turns were given out
    /// that are still to come.
    filled: i64,
    filled_at_ms: i64,
}

/// A turn in 60,000ths.
const TURN: i64 = 60_000;

impl Bucket {
    /// A full one. A rate of zero counts as one.
    pub fn new(rate: Rate, now_ms: i64) -> Self {
        let rate = Rate {
            burst: rate.burst.max(1),
            per_minute: rate.per_minute.max(1),
        };
        Self {
            rate,
            filled: i64::from(rate.burst) * TURN,
            filled_at_ms: now_ms,
        }
    }

    /// Takes the next turn, and tells in how many milliseconds it is; none is taken if that is longer than `patience_ms`.
    /// Turns come in the order in which they were asked for.
    pub fn take(&mut self, now_ms: i64, patience_ms: i64) -> Option<i64> {
        let passed_ms = now_ms.saturating_sub(self.filled_at_ms).max(0);
        let per_ms = i64::from(self.rate.per_minute);
        let full = i64::from(self.rate.burst) * TURN;
        self.filled = passed_ms.saturating_mul(per_ms).saturating_add(self.filled).min(full);
        self.filled_at_ms = self.filled_at_ms.max(now_ms);
        let left = self.filled - TURN;
        let wait_ms = if left >= 0 {
            0
        } else {
            (-left).div_euclid(per_ms) + i64::from(-left % per_ms != 0)
        };
        if wait_ms > patience_ms {
            return None;
        }
        self.filled = left;
        Some(wait_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn after_a_burst_turns_come_one_by_one() {
        let rate = Rate {
            burst: 2,
            per_minute: 60,
        };
        let mut bucket = Bucket::new(rate, 0);
        let taken: Vec<_> = (0..4).map(|_| bucket.take(0, 2_000)).collect();
        assert_eq!(taken, [Some(0), Some(0), Some(1_000), Some(2_000)]);
        assert_eq!(bucket.take(0, 2_000), None);
        // Who was refused has taken nothing.
        assert_eq!(bucket.take(1_000, 2_000), Some(2_000));
        // A clock that goes back gives nothing.
        assert_eq!(bucket.take(0, 10_000), Some(3_000));
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_the_burst_and_the_rate(
            burst in 0_u32..20, per_minute in 0_u32..200,
            steps in prop::collection::vec((0_i64..3_000, 0_i64..5_000), 1..300),
        ) {
            let mut bucket = Bucket::new(Rate { burst, per_minute }, 0);
            let (mut now_ms, mut turns) = (0, Vec::new());
            for (pause_ms, patience_ms) in steps {
                now_ms += pause_ms;
                if let Some(wait_ms) = bucket.take(now_ms, patience_ms) {
                    prop_assert!((0..=patience_ms).contains(&wait_ms));
                    turns.push(now_ms + wait_ms);
                }
            }
            prop_assert!(turns.is_sorted());
            for (index, first_ms) in turns.iter().enumerate() {
                let within = turns[index..].iter().take_while(|at_ms| *at_ms - first_ms < 60_000).count();
                let most = burst.max(1) + per_minute.max(1);
                prop_assert!(within <= usize::try_from(most).unwrap_or(0), "{within} > {most}");
            }
        }
    }
}
