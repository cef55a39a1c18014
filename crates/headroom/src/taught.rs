//! The policy: holds the nodes that are worth more than a price, by what the past has taught.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kompass_capacity::{Family, Past, Policy, Shape};
use kompass_simulation::capacity::Timing;
use kompass_simulation::capacity::input::{JITTER_MS, Job, Seen};

use crate::features::{Record, Rows};
use crate::lesson::Replays;
use crate::worth::Worth;

/// It is taught anew once a day.
pub const TAUGHT_EVERY_MS: i64 = 24 * 3_600_000;
/// The dearest node that is held, root of the seconds saved from one tick to the next.
const DEAREST: f64 = 8.0;
/// Each price is so much of the one before.
const CHEAPER: f64 = 0.87;
const PRICES: usize = 38;

/// The family of a backtest. `jobs` are those of the trace as recorded.
///
/// What is learned is the same in all replays: it is learned from the trace as recorded, from what was submitted longer ago
/// than replays move submissions, so that no replay knows of a submission before it has come there.
pub fn family(jobs: &[Job], shape: Shape, timing: Timing) -> Family {
    let school = Arc::new(School {
        shape,
        timing,
        seen: Seen::new(jobs, timing),
        all: OnceLock::new(),
        taught: Mutex::default(),
    });
    let parameters = std::iter::once(0.0).chain(prices().map(|price| (1_000.0 / price).round() / 1_000.0));
    Family {
        name: "learned",
        meaning: "holds a node while the root of the seconds that it is expected to save until the next tick is above 1/p",
        parameters: parameters.collect(),
        make: Box::new(move || Box::new(Taught::new(Arc::clone(&school)))),
    }
}

fn prices() -> impl Iterator<Item = f64> {
    (0..PRICES).map(|step| DEAREST * CHEAPER.powf(step as f64))
}

/// Where all replays are taught.
#[derive(Debug)]
struct School {
    shape: Shape,
    timing: Timing,
    /// As recorded.
    seen: Seen,
    /// Its replays, and what was known at each tick. At a moment only what is before it is taken.
    all: OnceLock<(Replays, Rows)>,
    /// By the time at which it was taught.
    taught: Mutex<BTreeMap<i64, Arc<OnceLock<Option<Worth>>>>>,
}

impl School {
    /// What is learned up to a moment; the first who asks learns for all.
    fn teach(&self, until_ms: i64) -> Arc<OnceLock<Option<Worth>>> {
        let mut taught = self.taught.lock().unwrap_or_else(PoisonError::into_inner);
        let worth = Arc::clone(taught.entry(until_ms).or_default());
        drop(taught);
        worth.get_or_init(|| {
            let (replays, rows) = self.all();
            // Without one nothing is held: reactive is never wrong.
            Worth::fit(&replays.lesson(until_ms), rows).ok()
        });
        worth
    }

    fn all(&self) -> &(Replays, Rows) {
        self.all.get_or_init(|| {
            let past = Past {
                shape: self.shape,
                submitted: &self.seen.submitted,
                ended: &self.seen.ended,
            };
            // All are known to have ended.
            let replays = Replays::new(&past, self.timing, i64::MAX);
            let rows = Rows::new(&past, self.timing, replays.ticks_ms());
            (replays, rows)
        })
    }
}

#[derive(Debug)]
struct Taught {
    school: Arc<School>,
    prices: Vec<f64>,
    record: Record,
    /// What was learned last and up to when.
    worth: Option<(i64, Arc<OnceLock<Option<Worth>>>)>,
}

impl Taught {
    fn new(school: Arc<School>) -> Self {
        Self {
            prices: std::iter::once(f64::INFINITY).chain(prices()).collect(),
            record: Record::new(school.shape, school.timing),
            worth: None,
            school,
        }
    }
}

impl Policy for Taught {
    fn headroom(&mut self, now_ms: i64, past: &Past<'_>, nodes: &mut [u32]) {
        let until_ms = now_ms - JITTER_MS.cast_signed();
        if self
            .worth
            .as_ref()
            .is_none_or(|(last_ms, _)| until_ms - last_ms >= TAUGHT_EVERY_MS)
        {
            self.worth = Some((until_ms, self.school.teach(until_ms)));
        }
        let row = self.record.row(past, now_ms);
        let worth = self.worth.as_ref().and_then(|(_, worth)| worth.get()?.as_ref());
        match worth {
            Some(worth) => worth.nodes(&row, &self.prices, nodes),
            None => nodes.fill(0),
        }
    }

    fn fit_until_ms(&self) -> Option<i64> {
        let (until_ms, worth) = self.worth.as_ref()?;
        worth.get()?.as_ref().map(|_| *until_ms)
    }
}
