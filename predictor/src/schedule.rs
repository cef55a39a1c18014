//! When a schedule starts a job next. Pure.

use cronexpr::{Crontab, MakeTimestamp};
use kompass_kube::schedules::Scheduled;

/// Short forms, as Kubernetes reads them.
const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// Times that are told at once at most.
pub const FIRES_MAX: usize = 100;

/// A schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// What it starts.
    pub name: String,
    /// Nothing is started while the run before still runs.
    pub is_exclusive: bool,
    crontab: Crontab,
}

/// Why a schedule is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It starts nothing now.
    #[error("failed to use the schedule of {0}: it is suspended")]
    Suspended(String),
    /// Not five fields or a short form; `@every` begins when its controller does, which nobody knows.
    #[error("failed to use the schedule of {0}: it is none of five fields such as \"0 3 * * *\"")]
    Form(String),
    /// A field or the time zone is wrong.
    #[error("failed to use the schedule of {name}: {reason}")]
    Malformed {
        /// What it starts.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl Schedule {
    /// Without a time zone it goes by UTC, as controllers do in most clusters.
    pub fn new(scheduled: &Scheduled) -> Result<Self, Error> {
        let name = scheduled.name.clone();
        if scheduled.is_suspended {
            return Err(Error::Suspended(name));
        }
        let text = scheduled.schedule.trim();
        let text = MACROS
            .iter()
            .find(|(short, _)| *short == text)
            .map_or(text, |(_, long)| long);
        // More fields would be seconds or a time zone, which Kubernetes does not allow there.
        if text.split_whitespace().count() != 5 {
            return Err(Error::Form(name));
        }
        let zone = scheduled.time_zone.as_deref().unwrap_or("UTC");
        match cronexpr::parse_crontab(&format!("{text} {zone}")) {
            Ok(crontab) => Ok(Self {
                name,
                is_exclusive: scheduled.is_exclusive,
                crontab,
            }),
            Err(error) => {
                let reason = error.to_string();
                Err(Error::Malformed { name, reason })
            }
        }
    }

    /// When it starts something after one moment until another, milliseconds since 1970 UTC; the first [`FIRES_MAX`] times.
    pub fn fires(&self, after_ms: i64, until_ms: i64) -> Vec<i64> {
        let mut fires = Vec::new();
        let mut at_ms = after_ms;
        while fires.len() < FIRES_MAX {
            let next = MakeTimestamp::from_millisecond(at_ms).and_then(|at| self.crontab.find_next(at));
            let Ok(next) = next else { break };
            let next_ms = next.timestamp().as_millisecond();
            // It must go on, whatever clocks are set to.
            if next_ms > until_ms || next_ms <= at_ms {
                break;
            }
            fires.push(next_ms);
            at_ms = next_ms;
        }
        fires
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    pub(crate) fn scheduled(schedule: &str, time_zone: Option<&str>) -> Scheduled {
        Scheduled {
            name: "jobs/etl".into(),
            schedule: schedule.into(),
            time_zone: time_zone.map(str::to_owned),
            is_suspended: false,
            is_exclusive: false,
        }
    }

    fn fires(schedule: &str, time_zone: Option<&str>, from: &str, hours: i64) -> Vec<String> {
        let from_ms = from.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let schedule = Schedule::new(&scheduled(schedule, time_zone)).unwrap();
        let fires = schedule.fires(from_ms, from_ms + hours * HOUR_MS);
        fires
            .iter()
            .map(|&at_ms| jiff::Timestamp::from_millisecond(at_ms).unwrap().to_string())
            .collect()
    }

    #[test]
    fn fires_by_the_clock_of_its_time_zone() {
        assert_eq!(
            fires("0 3 * * *", None, "2026-03-01T03:00:00Z", 24),
            ["2026-03-02T03:00:00Z"],
            "not now"
        );
        assert_eq!(
            fires("@hourly", None, "2026-03-01T03:30:00Z", 2),
            ["2026-03-01T04:00:00Z", "2026-03-01T05:00:00Z"]
        );
        // On 29 March clocks in Berlin are set forward.
        assert_eq!(
            fires("0 8 * * *", Some("Europe/Berlin"), "2026-03-28T00:00:00Z", 48),
            ["2026-03-28T07:00:00Z", "2026-03-29T06:00:00Z"]
        );
        // Either day will do where both are given.
        assert_eq!(
            fires("0 0 13 * FRI", None, "2026-03-09T00:00:00Z", 24 * 7),
            ["2026-03-13T00:00:00Z"]
        );
        assert_eq!(fires("0 0 10 * FRI", None, "2026-03-09T00:00:00Z", 24 * 7).len(), 2);
        assert_eq!(fires("* * * * *", None, "2026-03-09T00:00:00Z", 24).len(), FIRES_MAX);
        assert_eq!(fires("0 0 30 2 *", None, "2026-03-09T00:00:00Z", 24), [""; 0]);
    }

    #[test]
    fn what_can_not_be_used_is_told() {
        let error = |schedule: &str, zone| Schedule::new(&scheduled(schedule, zone)).unwrap_err();
        for form in ["@every 1h", "", "0 0 3 * * *", "CRON_TZ=UTC 0 3 * * *"] {
            assert!(matches!(error(form, None), Error::Form(_)), "{form}");
        }
        for (wrong, zone) in [
            ("61 * * * *", None),
            ("0 3 * * *", Some("Europe/Nowhere")),
            ("a b c d e", None),
        ] {
            assert!(matches!(error(wrong, zone), Error::Malformed { .. }), "{wrong}");
        }
        let suspended = Scheduled {
            is_suspended: true,
            ..scheduled("0 3 * * *", None)
        };
        assert_eq!(
            Schedule::new(&suspended).unwrap_err(),
            Error::Suspended("jobs/etl".into())
        );
    }

    proptest! {
        /// Against counting minutes, by UTC.
        #[test]
        fn fires_at_the_minutes_that_match_and_no_others(
            minute in 0_i64..60, hour in 0_i64..24, every in 1_i64..30, after_ms in 0_i64..2_000_000_000_000,
        ) {
            const MINUTE_MS: i64 = 60_000;
            let until_ms = after_ms + 26 * HOUR_MS;
            let minutes = (after_ms.div_euclid(MINUTE_MS) + 1)..=until_ms.div_euclid(MINUTE_MS);
            let daily = Schedule::new(&scheduled(&format!("{minute} {hour} * * *"), None)).unwrap();
            let expected: Vec<i64> =
                minutes.clone().filter(|at| at % 1_440 == hour * 60 + minute).map(|at| at * MINUTE_MS).collect();
            prop_assert_eq!(daily.fires(after_ms, until_ms), expected);
            let often = Schedule::new(&scheduled(&format!("*/{every} {hour} * * *"), None)).unwrap();
            let expected: Vec<i64> = minutes
                .filter(|at| at / 60 % 24 == hour && at % 60 % every == 0)
                .map(|at| at * MINUTE_MS)
                .take(FIRES_MAX)
                .collect();
            prop_assert_eq!(often.fires(after_ms, until_ms), expected);
        }

        #[test]
        fn no_text_is_a_panic_and_times_rise(
            text in "[ -~]{0,20}|([0-9*/,?LW#-]{1,4} ){4}[0-9*/,?LW#-]{1,4}", after_ms in -1_000_i64..4_000_000_000_000,
        ) {
            if let Ok(schedule) = Schedule::new(&scheduled(&text, Some("Europe/Berlin"))) {
                let fires = schedule.fires(after_ms, after_ms + 72 * HOUR_MS);
                prop_assert!(fires.is_sorted_by(|one, next| one < next));
                prop_assert!(fires.iter().all(|&at_ms| after_ms < at_ms && at_ms <= after_ms + 72 * HOUR_MS));
            }
        }
    }
}
