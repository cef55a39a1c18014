//! What the clock on the wall shows, and which days people do not work.

use std::collections::BTreeSet;

/// A day, milliseconds.
pub const DAY_MS: u64 = 86_400_000;
const DAY_S: i64 = 86_400;

/// The users' clock and holidays.
#[derive(Clone, Copy)]
pub struct Calendar<'a> {
    /// By how many seconds the clock on the wall is ahead of UTC at a time (milliseconds since 1970 UTC).
    pub offset_s: &'a (dyn Fn(u64) -> i32 + Sync),
    /// Days on which people do not work besides weekends: days since 1970-01-01 by the users' clock.
    pub holidays: &'a BTreeSet<i64>,
}

impl std::fmt::Debug for Calendar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calendar")
            .field("holidays", &self.holidays)
            .finish_non_exhaustive()
    }
}

/// A time by the users' clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Local {
    /// Days since 1970-01-01.
    pub(crate) day: i64,
    /// Seconds since midnight.
    pub(crate) second: i64,
}

impl Local {
    /// 0 is Monday.
    pub(crate) fn weekday(self) -> i64 {
        // 1970-01-01 was a Thursday.
        (self.day + 3).rem_euclid(7)
    }
}

impl Calendar<'_> {
    /// What the users' clock shows.
    pub(crate) fn local(&self, time_ms: u64) -> Local {
        let seconds = i64::try_from(time_ms / 1_000).unwrap_or(i64::MAX / 2) + i64::from((self.offset_s)(time_ms));
        Local {
            day: seconds.div_euclid(DAY_S),
            second: seconds.rem_euclid(DAY_S),
        }
    }

    /// When the users' clock showed the same, `days` days before; `None` before 1970.
    pub(crate) fn days_before(&self, time_ms: u64, days: u32) -> Option<u64> {
        let then_ms = time_ms.checked_sub(u64::from(days) * DAY_MS)?;
        let turned_s = (self.offset_s)(time_ms) - (self.offset_s)(then_ms);
        then_ms.checked_add_signed(i64::from(turned_s) * 1_000)
    }

    pub(crate) fn is_holiday(&self, day: i64) -> bool {
        self.holidays.contains(&day)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Central European time around its change on 2026-03-29 01:00 UTC.
    pub(crate) fn berlin(time_ms: u64) -> i32 {
        if time_ms < 1_774_746_000_000 { 3_600 } else { 7_200 }
    }

    #[test]
    fn the_same_clock_time_is_23_hours_before_when_clocks_go_forward() {
        let holidays = BTreeSet::new();
        let calendar = Calendar {
            offset_s: &berlin,
            holidays: &holidays,
        };
        // 2026-03-29 12:00 by the clock, a Sunday.
        let noon_ms = 1_774_778_400_000;
        let noon = calendar.local(noon_ms);
        assert_eq!((noon.second, noon.weekday()), (12 * 3_600, 6));
        let before_ms = calendar.days_before(noon_ms, 1).unwrap();
        assert_eq!(noon_ms - before_ms, 23 * 3_600_000);
        assert_eq!(calendar.local(before_ms).second, noon.second);
        assert_eq!(calendar.days_before(5, 1), None);
    }
}
