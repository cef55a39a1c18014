//! The learned policy knows no future: what comes after a moment changes no decision up to it, and it does decide.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

#[path = "../../simulation/tests/generated/mod.rs"]
mod generated;

use kompass_capacity::Shape;
use kompass_simulation::capacity::Timing;
use kompass_simulation::capacity::decide::{Decisions, decide};
use kompass_simulation::capacity::input::{JITTER_MS, Job, Seen, jobs, replay};

use generated::{DAY_S, Random};

const DAYS: i64 = 12;
const TIMING: Timing = Timing::new(150_000);
const DAY_MS: i64 = DAY_S * 1_000;

fn shape() -> Shape {
    Shape::new(8_000, 32_768).unwrap()
}

/// From the fifth day on, when there is something to learn from.
fn decisions(jobs: &[Job], number: u32) -> Decisions {
    let family = kompass_headroom::family(jobs, shape(), TIMING);
    let seen = Seen::new(&replay(jobs, 7, number), TIMING);
    decide(&family, shape(), &seen, TIMING, (5 * DAY_MS, DAYS * DAY_MS))
}

/// Decisions up to a time, byte for byte.
fn up_to(decisions: &Decisions, at_ms: i64) -> String {
    let ticks = usize::try_from((at_ms - 5 * DAY_MS) / TIMING.tick_ms + 1).unwrap();
    let rows: Vec<String> = (0..ticks)
        .map(|tick| {
            let nodes: Vec<u32> = decisions.headroom.iter().map(|all| all[tick]).collect();
            format!("{tick} {nodes:?} {:?}\n", decisions.fit_until_ms[tick])
        })
        .collect();
    rows.concat()
}

/// What is after a time comes in another order and other sizes, and what runs then runs otherwise long.
fn another_future(jobs: &[Job], at_ms: i64) -> Vec<Job> {
    let mut random = Random(5);
    let known = jobs.partition_point(|job| job.recorded_ms <= at_ms);
    let mut changed = jobs.to_vec();
    for job in &mut changed[..known] {
        let age_ms = at_ms - job.recorded_ms;
        if job.run_ms > age_ms {
            job.run_ms = age_ms + 1 + i64::from(random.below(10_000_000));
        }
    }
    for index in known..changed.len() {
        let count = u32::try_from(changed.len() - known).unwrap();
        let other = changed[known + random.below(count) as usize];
        let (recorded_ms, submit_ms) = (changed[index].recorded_ms, changed[index].submit_ms);
        changed[index] = Job {
            recorded_ms,
            submit_ms,
            run_ms: other.run_ms / 2 + 1,
            ..other
        };
    }
    changed
}

#[test]
fn what_comes_later_changes_no_decision() {
    let jobs = jobs(&generated::trace(DAYS, 300), shape()).0;
    for number in [0, 3] {
        let whole = decisions(&jobs, number);
        for hours in [150, 201, 262] {
            let at_ms = hours * 3_600_000 + 120_000;
            // In a replay what is recorded within a minute after may be submitted before.
            let until_ms = if number == 0 {
                at_ms
            } else {
                at_ms - JITTER_MS.cast_signed()
            };
            let cut: Vec<Job> = jobs.iter().filter(|job| job.recorded_ms <= at_ms).copied().collect();
            for other in [cut, another_future(&jobs, at_ms)] {
                let other = decisions(&other, number);
                assert!(
                    up_to(&whole, until_ms) == up_to(&other, until_ms),
                    "{hours} h, replay {number}"
                );
            }
        }
    }
}

#[test]
fn it_learns_every_day_from_the_past_and_holds_more_or_less() {
    let jobs = jobs(&generated::trace(DAYS, 300), shape()).0;
    let decisions = decisions(&jobs, 2);
    let fits: Vec<i64> = decisions.fit_until_ms.iter().flatten().copied().collect();
    assert_eq!(
        fits.len(),
        decisions.fit_until_ms.len(),
        "there is enough to learn from"
    );
    for (tick, fit_until_ms) in (0_i64..).zip(&fits) {
        let now_ms = 5 * DAY_MS + tick * TIMING.tick_ms;
        assert!((JITTER_MS.cast_signed()..=DAY_MS + JITTER_MS.cast_signed()).contains(&(now_ms - fit_until_ms)));
    }
    assert!(
        decisions.headroom[0].iter().all(|nodes| *nodes == 0),
        "the first parameter is reactive"
    );
    let varies = |all: &Vec<u32>| all.iter().any(|nodes| *nodes != all[0]);
    assert!(decisions.headroom.iter().filter(|all| varies(all)).count() > 5);
    for pair in decisions.headroom.windows(2) {
        assert!(
            pair[0].iter().zip(&pair[1]).all(|(less, more)| less <= more),
            "cheaper is more"
        );
    }
}
