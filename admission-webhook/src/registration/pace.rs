//! How fast others' changes are undone: a single edit at once, a quarrel ever more slowly. Pure.

use std::time::Duration;

/// After a change that was undone, and after every round.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause in a quarrel.
const LONGEST: Duration = Duration::from_mins(1);
/// Without a change for so long, the quarrel is over.
const QUIET: Duration = Duration::from_mins(5);

/// Doubles the pause with each change undone: no more than six in a minute at first, then one.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The pause after the last change that was undone, and when that was.
    last: Option<(Duration, Duration)>,
}

impl Pace {
    /// The pause after a round at `now` (monotonic) that undid a change or did not.
    pub(super) fn next(&mut self, repaired: bool, now: Duration) -> Duration {
        self.last.take_if(|(_, at)| now.saturating_sub(*at) >= QUIET);
        if !repaired {
            return FIRST;
        }
        let pause = self.last.map_or(FIRST, |(pause, _)| (pause * 2).min(LONGEST));
        self.last = Some((pause, now));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarrel_slows_down() {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        let mut rounds = Vec::new();
        while now < Duration::from_mins(10) {
            rounds.push(now);
            now += pace.next(true, now);
        }
        for minute in 0..10 {
            let (from, to) = (Duration::from_mins(minute), Duration::from_mins(minute + 1));
            let count = rounds.iter().filter(|at| (from..to).contains(*at)).count();
            assert!(count <= if minute == 0 { 6 } else { 1 }, "{count} in minute {minute}");
        }
    }

    #[test]
    fn a_single_edit_is_undone_at_once_and_quiet_forgives() {
        let mut pace = Pace::default();
        assert_eq!(pace.next(true, Duration::ZERO), FIRST);
        assert_eq!(pace.next(false, FIRST), FIRST);
        assert_eq!(pace.next(true, FIRST), FIRST * 2, "the quarrel goes on");
        assert_eq!(pace.next(true, FIRST + QUIET), FIRST);
    }
}
