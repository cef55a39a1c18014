#![expect(clippy::float_cmp, reason = "whole seconds")]

use kompass_capacity::{Ended, Members, Shape, Submitted};

use super::*;

const TIMING: Timing = Timing::new(150_000);
const MINUTE_MS: i64 = 60_000;

fn shape() -> Shape {
    Shape::new(1_000, 1_000).unwrap()
}

/// Gangs of one pod that takes a whole node, each ended after so long.
fn past(gangs: &[(i64, i64)]) -> (Vec<Submitted>, Vec<Ended>) {
    let members = [
        Members {
            count: 1,
            cpu_milli: 1_000,
            memory_mib: 1,
        },
        Members::default(),
    ];
    let submitted = gangs.iter().map(|&(at_ms, _)| Submitted {
        at_ms,
        profile: 0,
        members,
        size: shape().size(&members),
    });
    let ended = gangs.iter().enumerate().map(|(gang, &(at_ms, run_ms))| Ended {
        at_ms: at_ms + TIMING.ready_ms + run_ms,
        gang,
        run_ms,
    });
    (submitted.collect(), ended.collect())
}

fn lesson(gangs: &[(i64, i64)], now_ms: i64) -> Lesson {
    let (submitted, ended) = past(gangs);
    let past = Past {
        shape: shape(),
        submitted: &submitted,
        ended: &ended,
    };
    Replays::new(&past, TIMING, now_ms).lesson(now_ms)
}

#[test]
fn a_node_saves_the_boot_of_those_that_come_alone() {
    // Hours apart: the node of the one is given back before the next.
    let at_ms = |hour: i64| hour * 60 * MINUTE_MS + 3 * MINUTE_MS;
    let gangs: Vec<(i64, i64)> = (1..6).map(|hour| (at_ms(hour), MINUTE_MS)).collect();
    let lesson = lesson(&gangs, at_ms(7));
    let first = &lesson.steps[0];
    assert_eq!((first.nodes, first.instead), (1, 0));
    let others = lesson.steps[1..].iter().flat_map(|step| &step.saved_s);
    assert!(
        others.into_iter().all(|saved_s| *saved_s == 0.0),
        "nobody needs a second one"
    );
    let saved: Vec<(i64, f64)> = lesson
        .ticks_ms
        .iter()
        .copied()
        .zip(first.saved_s.iter().copied())
        .collect();
    let when: Vec<i64> = saved.iter().filter(|tick| tick.1 > 0.0).map(|tick| tick.0).collect();
    // They come 3 minutes after a tick, later than half a boot.
    let expected: Vec<i64> = (1..6).map(|hour| hour * 60 * MINUTE_MS).collect();
    assert_eq!(when, expected);
    assert!(saved.iter().all(|tick| tick.1 == 0.0 || tick.1 == 160.0), "{saved:?}");
}

#[test]
fn what_comes_within_half_a_boot_of_a_tick_is_for_the_tick_before() {
    let hour_ms = 60 * MINUTE_MS;
    let gangs = [(hour_ms, MINUTE_MS), (3 * hour_ms + MINUTE_MS, MINUTE_MS)];
    let lesson = lesson(&gangs, 5 * hour_ms);
    let saved = lesson.ticks_ms.iter().zip(&lesson.steps[0].saved_s);
    let when: Vec<i64> = saved.filter(|tick| *tick.1 > 0.0).map(|tick| *tick.0).collect();
    assert_eq!(when, [3 * hour_ms - 5 * MINUTE_MS]);
}

#[test]
fn two_at_once_need_two_nodes() {
    let hour_ms = 60 * MINUTE_MS;
    let gangs = [
        (hour_ms, MINUTE_MS),
        (3 * hour_ms, 10 * MINUTE_MS),
        (3 * hour_ms, 10 * MINUTE_MS),
    ];
    let lesson = lesson(&gangs, 5 * hour_ms);
    let saved: Vec<f64> = lesson.steps.iter().map(|step| step.saved_s.iter().sum()).collect();
    assert_eq!(saved[..2], [160.0, 160.0], "one each");
}

#[test]
fn a_gang_that_has_not_ended_runs_on() {
    let hour_ms = 60 * MINUTE_MS;
    let (submitted, mut ended) = past(&[(hour_ms, MINUTE_MS), (3 * hour_ms, MINUTE_MS)]);
    ended.truncate(0);
    let past = Past {
        shape: shape(),
        submitted: &submitted,
        ended: &ended,
    };
    let known: Vec<i64> = jobs(&past, 4 * hour_ms).iter().map(|job| job.run_ms).collect();
    assert_eq!(known, [3 * hour_ms, hour_ms]);
}

#[test]
fn a_moment_knows_nothing_of_what_came_later() {
    let hour_ms = 60 * MINUTE_MS;
    let gangs: Vec<(i64, i64)> = (0..400_i64)
        .map(|number| (hour_ms + number * 17 * MINUTE_MS, 1 + (number * 7_919 % 90) * MINUTE_MS))
        .collect();
    let (submitted, ended) = past(&gangs);
    // Told at once, so that what is known does not depend on when it is told.
    let mut ended: Vec<Ended> = ended;
    for end in &mut ended {
        end.at_ms -= TIMING.ready_ms;
    }
    ended.sort_by_key(|end| end.at_ms);
    let whole = Past {
        shape: shape(),
        submitted: &submitted,
        ended: &ended,
    };
    let all = Replays::new(&whole, TIMING, 150 * hour_ms);
    for hours in [5, 48, 111] {
        let now_ms = hours * hour_ms;
        let known = Past {
            shape: shape(),
            submitted: &submitted[..submitted.partition_point(|gang| gang.at_ms <= now_ms)],
            ended: &ended[..ended.partition_point(|end| end.at_ms <= now_ms)],
        };
        let then = Replays::new(&known, TIMING, now_ms).lesson(now_ms);
        assert!(then == all.lesson(now_ms), "at {hours} h");
        assert!(then.steps[0].saved_s.iter().any(|saved_s| *saved_s > 0.0));
    }
}

#[test]
fn nothing_teaches_nothing() {
    let lesson = lesson(&[], 5);
    assert!(lesson.ticks_ms.is_empty() && lesson.steps.is_empty());
}
