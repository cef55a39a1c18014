//! The users' clock by the name of its time zone, and their holidays.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::calendar::Calendar;
use crate::model::History;
use crate::series::Series;

/// Holidays in a file at most: those of 50 countries for a century.
const HOLIDAYS_MAX: usize = 100_000;

/// A clock on the wall, and a calendar below it. Without a zone it shows UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wall {
    zone: Option<TimeZone>,
    /// Days since 1970-01-01.
    holidays: BTreeSet<i64>,
}

/// Why there is no clock or calendar.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such zone.
    #[error("failed to find the time zone {0:?}: write a name such as Europe/Berlin or UTC")]
    Zone(String, #[source] jiff::Error),
    /// A line that is no date.
    #[error(
        "failed to read line {line} of the holidays, {text:?}: write one date a line, such as 2026-12-25, and after # what you like"
    )]
    Holiday {
        /// From 1.
        line: usize,
        /// It.
        text: String,
        /// Why it is none.
        #[source]
        source: jiff::Error,
    },
    /// Too long a file.
    #[error("failed to read the holidays: there are more than {HOLIDAYS_MAX}")]
    Many,
}

impl Wall {
    /// By the name of a time zone of the IANA database.
    pub fn in_zone(name: &str) -> Result<Self, Error> {
        let zone = TimeZone::get(name).map_err(|error| Error::Zone(name.to_owned(), error))?;
        Ok(Self {
            zone: Some(zone),
            holidays: BTreeSet::new(),
        })
    }

    /// With holidays: a text of one date a line. What follows `#` is a remark, and empty lines are none.
    pub fn with_holidays(self, text: &str) -> Result<Self, Error> {
        let mut holidays = BTreeSet::new();
        for (line, text) in (1..).zip(text.lines()) {
            let date = text.split('#').next().unwrap_or_default().trim();
            if date.is_empty() {
                continue;
            }
            let date: Date = date.parse().map_err(|source| Error::Holiday {
                line,
                text: text.chars().take(80).collect(),
                source,
            })?;
            holidays.insert(days_since_1970(date));
            if holidays.len() > HOLIDAYS_MAX {
                return Err(Error::Many);
            }
        }
        Ok(Self { holidays, ..self })
    }

    /// By how many seconds the clock is ahead of UTC at a time, milliseconds since 1970 UTC.
    pub fn offset_s(&self, time_ms: u64) -> i32 {
        let time = i64::try_from(time_ms)
            .ok()
            .and_then(|time_ms| Timestamp::from_millisecond(time_ms).ok());
        match (&self.zone, time) {
            (Some(zone), Some(time)) => zone.to_offset(time).seconds(),
            _ => 0,
        }
    }

    /// What a model may know: a series by this clock, and what of it was or will be certain, as in [`History`].
    pub fn history<T>(&self, series: &Series, certain: &[f64], f: impl FnOnce(&History<'_>) -> T) -> T {
        let calendar = Calendar {
            offset_s: &|time_ms| self.offset_s(time_ms),
            holidays: &self.holidays,
        };
        f(&History {
            series,
            certain,
            calendar,
        })
    }
}

fn days_since_1970(date: Date) -> i64 {
    let since = date.since(Date::constant(1970, 1, 1));
    // Both are dates, within 20,000 years.
    since.map_or(0, |span| i64::from(span.get_days()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_in_march_and_back_in_october() {
        let wall = Wall::in_zone("Europe/Berlin").unwrap();
        // 2026-03-29 and 2026-10-25, 01:00 UTC.
        for (change_ms, before_s, after_s) in [(1_774_746_000_000, 3_600, 7_200), (1_792_890_000_000, 7_200, 3_600)] {
            assert_eq!(
                (wall.offset_s(change_ms - 1), wall.offset_s(change_ms)),
                (before_s, after_s)
            );
        }
        assert_eq!(
            (Wall::default().offset_s(1_774_746_000_000), wall.offset_s(u64::MAX)),
            (0, 0)
        );
    }

    #[test]
    fn holidays_are_days_with_remarks() {
        let text = "# Berlin\n2026-12-25 # Christmas\n\n 2027-01-01\n1970-01-02#\n2026-12-25\n";
        let wall = Wall::default().with_holidays(text).unwrap();
        assert_eq!(wall.holidays, BTreeSet::from([1, 20_812, 20_819]));
    }

    #[test]
    fn what_is_neither_zone_nor_date_is_told() {
        let error = Wall::in_zone("Mars/Phobos").unwrap_err().to_string();
        assert!(error.contains("\"Mars/Phobos\": write a name such as"), "{error}");
        let error = Wall::default()
            .with_holidays("2026-12-25\n25.12.2026")
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2") && error.contains("25.12.2026"), "{error}");
        assert!(Wall::default().with_holidays("2026-02-30").is_err());
    }
}
