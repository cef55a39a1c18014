//! What is told of where the gangs are from: the past that was looked at, what is not known of it, what was not used.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kompass_history::{Dropped, Gap, History, Why};
use kompass_simulation::capacity::Split;
use kompass_simulation::capacity::split::{DAY_MS, Part};
use serde::Serialize;

use crate::table;

/// Days with gaps that are named; the results in JSON have all gaps.
const DAYS_NAMED: usize = 7;

/// Where the gangs are from.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Origin {
    /// A file.
    Trace {
        /// Its name.
        file: String,
    },
    /// A Prometheus.
    Prometheus(Box<Past>),
}

/// A past, as a Prometheus told it.
#[derive(Debug, Serialize)]
pub(super) struct Past {
    server: String,
    selector: String,
    /// The trace begins then.
    from: String,
    to: String,
    gaps: Vec<Unknown>,
    /// Seconds of all gaps, and of those in each part.
    unknown_s: i64,
    unknown_validation_s: i64,
    unknown_test_s: i64,
    left_out: Vec<Counted>,
    warnings: Vec<String>,
    #[serde(skip)]
    first_known_ms: Option<i64>,
    /// Time of each day (UTC, since 1970) that is not known, milliseconds; without what is before the first sample.
    #[serde(skip)]
    days: BTreeMap<i64, i64>,
}

#[derive(Debug, Serialize)]
struct Unknown {
    from: String,
    to: String,
    why: &'static str,
}

/// What was not used, or is not quite what it seems.
#[derive(Debug, Serialize)]
struct Counted {
    count: u64,
    what: &'static str,
}

impl Past {
    pub(super) fn new(server: &str, selector: &str, history: &History, left_out: &[Dropped], split: Split) -> Self {
        let within = |part: Part| {
            let from_ms = history.window.from_ms;
            let (start_ms, end_ms) = (from_ms + part.start_ms, from_ms + part.end_ms);
            let gaps = history.gaps.iter();
            gaps.map(|gap| (gap.to_ms.min(end_ms) - gap.from_ms.max(start_ms)).max(0))
                .sum::<i64>()
                / 1_000
        };
        Self {
            server: server.to_owned(),
            selector: selector.trim().to_owned(),
            from: moment(history.window.from_ms),
            to: moment(history.window.to_ms),
            gaps: history.gaps.iter().map(unknown).collect(),
            unknown_s: history.unknown_ms() / 1_000,
            unknown_validation_s: within(split.validation),
            unknown_test_s: within(split.test),
            left_out: history.dropped.iter().chain(left_out).map(counted).collect(),
            warnings: history.warnings.clone(),
            first_known_ms: first_known_ms(history),
            days: days(&history.gaps),
        }
    }
}

impl Origin {
    /// What is worth knowing before the results are believed, a sentence or two each.
    pub(super) fn notes(&self) -> Vec<String> {
        let Self::Prometheus(past) = self else {
            return Vec::new();
        };
        let mut notes = Vec::new();
        if let Some(first_ms) = past.first_known_ms {
            notes.push(format!("Nothing was measured before {}.", minute(first_ms)));
        }
        if !past.days.is_empty() {
            notes.push(past.holes());
        }
        let left_out = past.left_out.iter();
        notes.extend(left_out.map(|line| format!("{} {}.", table::grouped(line.count as f64), line.what)));
        notes.extend(
            past.warnings
                .iter()
                .map(|warning| format!("Prometheus warns: {warning}")),
        );
        notes
    }

    /// For a terminal.
    pub(super) fn told(&self) -> String {
        let Self::Prometheus(past) = self else {
            return String::new();
        };
        let head = format!("From {}, {} to {}.\n", past.server, past.from, past.to);
        let notes = self.notes().into_iter().map(|note| format!("- {note}\n"));
        head + &notes.collect::<String>()
    }

    /// For a table of settings.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Trace { file } => vec![("Trace", file.clone())],
            Self::Prometheus(past) => {
                let mut settings = vec![
                    ("Prometheus", past.server.clone()),
                    ("From", past.from.clone()),
                    ("To", past.to.clone()),
                ];
                if !past.selector.is_empty() {
                    settings.push(("Selector", past.selector.clone()));
                }
                settings
            }
        }
    }
}

impl Past {
    /// Days of which something is not known.
    fn holes(&self) -> String {
        let named = self.days.iter().take(DAYS_NAMED);
        let mut days: Vec<String> = named
            .map(|(&day, &unknown_ms)| format!("{} ({})", date(day), milliseconds(unknown_ms)))
            .collect();
        if self.days.len() > DAYS_NAMED {
            days.push(format!("and {} more days", self.days.len() - DAYS_NAMED));
        }
        format!(
            "Nothing is known of some time on {}; {} of it where policies are chosen, {} in the test. Jobs may have come then: \
             waits and costs of these days may be too low.",
            days.join(", "),
            milliseconds(self.unknown_validation_s * 1_000),
            milliseconds(self.unknown_test_s * 1_000),
        )
    }
}

/// When anything was measured first, if that is later than the past begins.
pub(super) fn first_known_ms(history: &History) -> Option<i64> {
    let before = history.gaps.iter().find(|gap| gap.why == Why::BeforeFirst);
    before.map(|gap| gap.to_ms)
}

/// A moment for people, to the minute.
pub(super) fn minute(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn days(gaps: &[Gap]) -> BTreeMap<i64, i64> {
    let mut days = BTreeMap::new();
    for gap in gaps.iter().filter(|gap| gap.why != Why::BeforeFirst) {
        let mut from_ms = gap.from_ms;
        while from_ms < gap.to_ms {
            let day = from_ms.div_euclid(DAY_MS);
            let to_ms = gap.to_ms.min((day + 1) * DAY_MS);
            *days.entry(day).or_default() += to_ms - from_ms;
            from_ms = to_ms;
        }
    }
    days
}

fn unknown(gap: &Gap) -> Unknown {
    Unknown {
        from: moment(gap.from_ms),
        to: moment(gap.to_ms),
        why: match gap.why {
            Why::NoSamples => "no_samples",
            Why::NoLeader => "no_leader",
            Why::BeforeFirst => "before_first",
        },
    }
}

const fn counted(line: &Dropped) -> Counted {
    Counted {
        count: line.count,
        what: line.reason.words(),
    }
}

/// A moment, RFC 3339.
fn moment(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or_default().to_string()
}

fn date(day: i64) -> String {
    let at = Timestamp::from_millisecond(day.saturating_mul(DAY_MS)).unwrap_or_default();
    at.strftime("%Y-%m-%d").to_string()
}

fn milliseconds(ms: i64) -> String {
    match ms {
        0 => "nothing".to_owned(),
        _ => table::span(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use kompass_history::{Bins, Reason, Window};

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// From the second day of 1970 on, 20 days: the test is the last 8, the validation the 8 before.
    fn origin(gaps: Vec<Gap>) -> Origin {
        let history = History {
            window: Window {
                from_ms: DAY_MS,
                to_ms: 21 * DAY_MS,
            },
            gangs: Vec::new(),
            ended: Bins::default(),
            gaps,
            dropped: vec![Dropped {
                reason: Reason::Before,
                count: 1_234,
            }],
            kin: kompass_history::Kin::new(),
            warnings: vec!["a store is away".to_owned()],
        };
        let part = |day: i64| Part {
            start_ms: day * DAY_MS,
            end_ms: (day + 8) * DAY_MS,
        };
        let split = Split {
            validation: part(4),
            test: part(12),
            dense_days: 20,
        };
        let left_out = [Dropped {
            reason: Reason::NotEnded,
            count: 7,
        }];
        Origin::Prometheus(Box::new(Past::new("http://p", " ", &history, &left_out, split)))
    }

    const fn gap(from_ms: i64, to_ms: i64, why: Why) -> Gap {
        Gap { from_ms, to_ms, why }
    }

    #[test]
    fn what_is_not_known_is_told_by_day_and_part() {
        let told = origin(vec![
            gap(DAY_MS, DAY_MS + HOUR_MS, Why::BeforeFirst),
            // The test begins at the end of the 13th day.
            gap(13 * DAY_MS - HOUR_MS, 13 * DAY_MS + 2 * HOUR_MS, Why::NoSamples),
            gap(14 * DAY_MS, 14 * DAY_MS + 120_000, Why::NoLeader),
        ])
        .told();
        let expected = "From http://p, 1970-01-02T00:00:00Z to 1970-01-22T00:00:00Z.\n\
            - Nothing was measured before 1970-01-02 01:00 UTC.\n\
            - Nothing is known of some time on 1970-01-13 (1 h 0 min), 1970-01-14 (2 h 0 min), 1970-01-15 (2 min 0 s); \
            1 h 0 min of it where policies are chosen, 2 h 2 min in the test. Jobs may have come then: waits and costs of \
            these days may be too low.\n\
            - 1,234 gangs were submitted before the window.\n\
            - 7 gangs have not ended.\n\
            - Prometheus warns: a store is away\n";
        assert_eq!(told, expected);
    }

    #[test]
    fn many_days_are_counted_and_all_gaps_are_in_the_results() {
        let gaps = (2..12).map(|day| gap(day * DAY_MS, day * DAY_MS + HOUR_MS, Why::NoSamples));
        let origin = origin(gaps.collect());
        let notes = origin.notes();
        assert!(
            notes[0].contains("1970-01-09 (1 h 0 min), and 3 more days"),
            "{notes:?}"
        );
        let json = serde_json::to_value(&origin).unwrap();
        assert_eq!(
            (
                &json["kind"],
                json["gaps"].as_array().unwrap().len(),
                &json["unknown_s"]
            ),
            (&"prometheus".into(), 10, &36_000.into())
        );
        assert_eq!(json["gaps"][0]["why"], "no_samples");
        assert_eq!(
            (&json["unknown_validation_s"], &json["unknown_test_s"]),
            (&(7 * 3_600).into(), &0.into())
        );
    }
}
