//! What moving a whole past does to decisions: by weeks nothing, by days only what goes by days of the week.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

#[path = "../../simulation/tests/generated/mod.rs"]
mod generated;

use kompass_capacity::{Shape, policy};
use kompass_simulation::capacity::Timing;
use kompass_simulation::capacity::altered::Altered;
use kompass_simulation::capacity::decide::{Decisions, decide};
use kompass_simulation::capacity::input::{Seen, jobs};

use generated::DAY_S;

const DAYS: i64 = 12;
const TIMING: Timing = Timing::new(150_000);
const DAY_MS: i64 = DAY_S * 1_000;

/// Of every family, with its name, when all is so many days later.
fn decisions(days: u32) -> Vec<(&'static str, Decisions)> {
    let shape = Shape::new(8_000, 32_768).unwrap();
    let gangs = Altered::Later { days }.gangs(&generated::trace(DAYS, 300), 1);
    let jobs = jobs(&gangs, shape).0;
    let mut families = policy::families(shape);
    families.push(kompass_headroom::family(&jobs, shape, TIMING));
    let seen = Seen::new(&jobs, TIMING);
    let from_ms = (5 + i64::from(days)) * DAY_MS;
    let span_ms = (from_ms, from_ms + (DAYS - 5) * DAY_MS);
    let each = families.iter();
    each.map(|family| (family.name, decide(family, shape, &seen, TIMING, span_ms)))
        .collect()
}

#[test]
fn a_past_that_is_weeks_later_gives_the_same() {
    let recorded = decisions(0);
    let later = decisions(7);
    for ((name, one), (_, other)) in recorded.iter().zip(&later) {
        assert!(one.headroom == other.headroom, "{name}");
        assert!(
            one.headroom.iter().flatten().any(|nodes| *nodes > 0),
            "{name} holds nothing"
        );
    }
    // The learned policy, the last one, knows weekends: on other days of the week it may decide otherwise, and does here.
    for ((name, one), (_, other)) in recorded.iter().zip(&decisions(3)) {
        assert_eq!(one.headroom == other.headroom, *name != "learned", "{name}");
    }
}
