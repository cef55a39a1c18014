//! When those that wait are expected to start.

use kompass_core::Outcome;
use kompass_planner::Config;

use crate::job::Job;
use crate::world::World;

const SECOND: i64 = 1_000;

/// From now until the expected start, median and 90th percentile in seconds; `None` where it can't be told.
fn expected(world: &World, uid: &str) -> Option<(i64, i64)> {
    let starts = world.planner.expected_starts(world.now_ms);
    let from_now = |at_ms: i64| (at_ms - world.now_ms) / SECOND;
    starts
        .get(uid)
        .map(|start| (from_now(start.p50_ms), from_now(start.p90_ms)))
}

/// One node of eight CPUs, and a gang of six on it that runs 100 s, or 200 s in one of ten cases.
fn busy() -> World {
    let mut world = World::new(&[("n1", 8, 64)]);
    world.submit(Job::new("running", 5).runs(100, 200));
    world.settle();
    world.spark();
    world.settle();
    world
}

#[test]
fn a_head_starts_when_those_that_run_have_ended_and_the_others_after_it() {
    let mut world = busy();
    world.tick(40 * SECOND);
    world.submit(Job::new("head", 7).runs(10, 30));
    world.tick(SECOND);
    world.submit(Job::new("second", 3).runs(1_000, 1_000));
    world.tick(SECOND);
    world.submit(Job::new("third", 3).runs(1, 1));
    world.tick(SECOND);
    world.submit(Job::new("fourth", 7).runs(1, 1));
    world.settle();
    assert_eq!(expected(&world, "head"), Some((57, 157)));
    assert_eq!(expected(&world, "second"), Some((67, 187)));
    assert_eq!(
        expected(&world, "third"),
        Some((67, 187)),
        "both have room beside each other"
    );
    assert_eq!(expected(&world, "fourth"), Some((1_067, 1_187)));
    assert_eq!(expected(&world, "running"), None);
    let told = world.planner.gangs_with_starts(world.now_ms);
    let head = told.iter().find(|gang| gang.uid == "head").unwrap();
    let reason = head.waiting.as_ref().unwrap();
    assert_eq!(reason.start_p50, Some(world.now_ms + 57 * SECOND));
}

#[test]
fn it_comes_true_when_everybody_runs_as_long_as_was_expected() {
    let mut world = busy();
    world.submit(Job::new("head", 7).runs(10, 10));
    world.submit(Job::new("next", 7).runs(10, 10));
    world.settle();
    let (head_s, next_s) = (expected(&world, "head").unwrap().0, expected(&world, "next").unwrap().0);
    let begin_ms = world.now_ms;
    world.tick(100 * SECOND);
    world.end("running");
    world.settle();
    assert!(world.node_of("head").is_some());
    assert_eq!((world.now_ms - begin_ms) / SECOND, head_s);
    world.tick(10 * SECOND);
    world.end("head");
    world.settle();
    assert!(world.node_of("next").is_some());
    assert_eq!((world.now_ms - begin_ms) / SECOND, next_s);
}

#[test]
fn queues_take_turns_and_what_does_not_wait_for_room_is_not_told() {
    let mut world = busy();
    for (name, queue) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        world.submit(Job::new(name, 7).queue(queue).runs(10, 10));
        world.tick(SECOND);
    }
    world.submit(Job::new("huge", 99).queue("c").runs(10, 10));
    let bare = world.submit_bare(Job::new("bare", 1));
    world.settle();
    let starts = ["a1", "b1", "a2"].map(|uid| expected(&world, uid).unwrap().0);
    assert!(
        starts.is_sorted() && starts[1] - starts[0] == 10 && starts[2] - starts[1] == 10,
        "{starts:?}"
    );
    assert_eq!(expected(&world, "huge"), None);
    assert_eq!(expected(&world, &bare), None);
}

#[test]
fn one_forecast_looks_at_a_bounded_number_of_gangs() {
    let mut world = busy();
    for number in 0..100 {
        world.submit(Job::new(&format!("job-{number:03}"), 7).runs(1, 1));
    }
    world.settle();
    assert_eq!(world.planner.expected_starts(world.now_ms).len(), 32);
    assert_eq!(expected(&world, "job-099"), None);
}

#[test]
fn a_run_that_was_cut_off_counts_where_it_is_longer_than_those_that_are_known() {
    use Outcome::{Deleted, Failed, Succeeded};
    // What gangs like the one that runs did, outcome and seconds; when the head behind it is expected to start.
    for (runs, start) in [
        (&[(Succeeded, 100)][..], (100, 100)),
        (&[(Succeeded, 100), (Failed, 5), (Failed, 5), (Deleted, 5)], (100, 100)),
        (&[(Succeeded, 100), (Failed, 300)], (100, 300)),
        (&[(Succeeded, 100), (Deleted, 300), (Deleted, 200)], (100, 300)),
        // Nothing is known but an hour that is taken for it.
        (&[(Failed, 5), (Deleted, 5)], (3_600, 3_600)),
        (&[(Failed, 4_000)], (4_000, 4_000)),
    ] {
        let mut world = World::new(&[("n1", 8, 64)]);
        for (number, &(outcome, run_s)) in runs.iter().enumerate() {
            let name = format!("past-{number}");
            world.submit(Job::new(&name, 5).key("etl"));
            world.settle();
            world.spark();
            world.settle();
            world.tick(run_s * SECOND);
            world.end_as(&name, outcome);
            world.settle();
        }
        world.submit(Job::new("running", 5).key("etl"));
        world.settle();
        world.submit(Job::new("head", 7).runs(10, 10));
        world.settle();
        assert_eq!(expected(&world, "head"), Some(start), "{runs:?}");
    }
}

#[test]
fn a_forecast_made_in_slices_is_made_again_without_any_news() {
    let config = Config {
        backfill_nodes_per_decide: 1,
        forecast_ms: Some(5_000),
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 4, 64), ("n2", 4, 64)]);
    for number in 0..6 {
        world.submit(Job::new(&format!("gang-{number}"), 3));
        world.settle();
    }
    let wake_ms = world.planner.next_wake().unwrap();
    assert!(wake_ms <= world.now_ms + 5_000, "{wake_ms}");
}

#[test]
fn who_does_not_decide_is_asked_after_gangs_have_gone() {
    let mut world = busy();
    world.submit(Job::new("head", 7).runs(10, 30));
    world.settle();
    // A replica that does not lead hears of this and decides nothing.
    assert!(expected(&world, "head").is_some_and(|(p50, _)| p50 > 50));
    world.planner.delete_pod("running", world.now_ms);
    assert!(world.planner.gangs().iter().all(|gang| gang.uid != "running"));
    // Its executors still run, so that nobody knows when there is room.
    assert_eq!(expected(&world, "head"), None);
}
