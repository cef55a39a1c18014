use kompass_capacity::{Ended, Members, Shape, Submitted};

use super::*;
use crate::features::Record;

const TIMING: Timing = Timing::new(150_000);
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

struct History {
    submitted: Vec<Submitted>,
    ended: Vec<Ended>,
}

impl History {
    /// Of gangs that take a whole node for a minute.
    fn of(times_ms: impl Iterator<Item = i64>) -> Self {
        let shape = Shape::new(1_000, 1_000).unwrap();
        let whole = Members {
            count: 1,
            cpu_milli: 1_000,
            memory_mib: 1,
        };
        let members = [whole, Members::default()];
        let submitted: Vec<Submitted> = times_ms
            .map(|at_ms| Submitted {
                at_ms,
                profile: 0,
                members,
                size: shape.size(&members),
            })
            .collect();
        let ended = submitted.iter().enumerate().map(|(gang, of)| Ended {
            at_ms: of.at_ms + TIMING.ready_ms + MINUTE_MS,
            gang,
            run_ms: MINUTE_MS,
        });
        Self {
            ended: ended.collect(),
            submitted,
        }
    }

    fn past(&self) -> Past<'_> {
        Past {
            shape: Shape::new(1_000, 1_000).unwrap(),
            submitted: &self.submitted,
            ended: &self.ended,
        }
    }

    fn row(&self, now_ms: i64) -> [f64; COLUMNS] {
        Record::new(self.past().shape, TIMING).row(&self.past(), now_ms)
    }
}

/// Each hour at half past, by day only.
fn by_day(days: i64) -> History {
    let hours = (0..24 * days).filter(|hour| (8..18).contains(&(hour % 24)));
    History::of(hours.map(|hour| hour * HOUR_MS + 30 * MINUTE_MS))
}

#[test]
fn holds_a_node_by_day_and_none_by_night() {
    let history = by_day(14);
    let now_ms = 14 * DAY_MS;
    let worth = Worth::learn(&history.past(), TIMING, now_ms).unwrap();
    let nodes = |now_ms: i64, price: f64| {
        let mut nodes = [9];
        worth.nodes(&history.row(now_ms), &[price], &mut nodes);
        nodes[0]
    };
    let day = 13 * DAY_MS + 13 * HOUR_MS + 25 * MINUTE_MS;
    let night = 13 * DAY_MS + 2 * HOUR_MS;
    // The mean tick saves √160 · 10/288; a price between day and night tells them apart.
    let prices: Vec<f64> = (1..40).map(|step| 0.05 * f64::from(step)).collect();
    assert!(
        prices
            .iter()
            .any(|&price| nodes(day, price) == 1 && nodes(night, price) == 0),
        "no price holds a node by day alone"
    );
    assert!(prices.iter().all(|&price| nodes(day, price) >= nodes(night, price)));
    assert_eq!((nodes(day, 1e9), nodes(night, 0.0)), (0, 1), "too dear and for nothing");
}

#[test]
fn cheaper_nodes_are_more_nodes() {
    let history = by_day(14);
    let worth = Worth::learn(&history.past(), TIMING, 14 * DAY_MS).unwrap();
    let prices: Vec<f64> = (0..50).map(|step| 5.0 * 0.9_f64.powi(step)).collect();
    let mut nodes = vec![0; prices.len()];
    for tick in 0..288 {
        worth.nodes(&history.row(13 * DAY_MS + tick * 5 * MINUTE_MS), &prices, &mut nodes);
        assert!(nodes.is_sorted(), "{nodes:?}");
    }
}

#[test]
fn what_teaches_nothing_is_an_error() {
    let learn = |history: &History, days: i64| Worth::learn(&history.past(), TIMING, days * DAY_MS);
    assert_eq!(learn(&History::of([].into_iter()), 5), Err(Error::NothingToSave(0)));
    let few = History::of((1..10).map(|day| day * DAY_MS));
    assert!(matches!(learn(&few, 12), Err(Error::NothingToSave(1..20))));
    assert!(
        matches!(learn(&by_day(4), 4), Err(Error::Fit(ridge::Error::FewRows { .. }))),
        "{:?}",
        learn(&by_day(4), 4)
    );
}

#[test]
fn a_model_that_is_read_is_the_one_that_was_written() {
    let worth = Worth::learn(&by_day(10).past(), TIMING, 10 * DAY_MS).unwrap();
    let text = serde_json::to_string(&worth).unwrap();
    assert_eq!(serde_json::from_str::<Worth>(&text).unwrap(), worth);
}
