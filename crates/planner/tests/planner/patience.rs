//! Drivers that are given up by whoever has submitted them unless they run in time.

use kompass_core::wait::WaitCode;
use kompass_planner::Config;

use crate::job::Job;
use crate::world::World;

fn code(world: &World, uid: &str) -> Option<WaitCode> {
    world.gang(uid).waiting.map(|reason| reason.code)
}

fn text(world: &World, uid: &str) -> String {
    world.gang(uid).waiting.map(|reason| reason.text).unwrap_or_default()
}

/// A large gang waits for room in a queue of its own, beside small ones that fit.
fn beside_small_ones(large: Job) -> (World, String) {
    let mut world = World::with(Config::default(), &[("n1", 8, 64)]);
    world.submit(Job::new("running", 3));
    world.settle();
    let large = world.submit(large.queue("large"));
    world.settle();
    assert_eq!(code(&world, &large), Some(WaitCode::NoRoom));
    (world, large)
}

#[test]
fn a_gang_with_little_time_left_goes_before_other_queues() {
    let (mut world, large) = beside_small_ones(Job::new("large", 5).start_within(300_000));
    let first = world.submit(Job::new("first", 0).queue("small"));
    world.settle();
    assert!(world.node_of(&first).is_some(), "there is time enough");
    assert!(
        world.planner.next_wake().is_some_and(|at_ms| at_ms <= 1_240_000),
        "{:?}",
        world.planner.next_wake()
    );
    world.tick(239_000);
    let second = world.submit(Job::new("second", 0).queue("small"));
    world.settle();
    assert!(world.node_of(&second).is_some());
    world.tick(1_000);
    let third = world.submit(Job::new("third", 0).queue("small"));
    world.settle();
    assert_eq!(code(&world, &third), Some(WaitCode::BehindOthers));
    assert!(
        text(&world, &third).contains("has little time left to start"),
        "{}",
        text(&world, &third)
    );
    for uid in ["running", "first", "second"] {
        world.end(uid);
    }
    world.settle();
    assert!(world.node_of(&large).is_some());
    assert!(world.node_of(&third).is_some(), "it fits beside it");
}

#[test]
fn whoever_waits_without_end_is_not_hurried() {
    let (mut world, _) = beside_small_ones(Job::new("large", 5));
    world.tick(86_400_000);
    let small = world.submit(Job::new("small", 0).queue("small"));
    world.settle();
    assert!(world.node_of(&small).is_some());
}

#[test]
fn a_gang_that_was_passed_too_often_goes_before_one_with_little_time() {
    let mut world = World::with(
        Config {
            overtakes_max: 1,
            ..Config::default()
        },
        &[("n1", 8, 64)],
    );
    let running = world.submit(Job::new("running", 5));
    world.settle();
    let passed = world.submit(Job::new("passed", 3).queue("passed"));
    world.settle();
    let passing = world.submit(Job::new("passing", 0).queue("small"));
    world.settle();
    assert!(world.node_of(&passing).is_some());
    // By its priority it would be the first.
    let pressed = world.submit(
        Job::new("pressed", 5)
            .queue("pressed")
            .priority(9)
            .start_within(300_000),
    );
    world.tick(300_000);
    world.settle();
    world.end(&running);
    world.settle();
    assert!(world.node_of(&passed).is_some());
    assert!(world.node_of(&pressed).is_none());
}

#[test]
fn the_reason_says_what_will_happen_and_what_helps() {
    let (world, large) = beside_small_ones(Job::new("large", 5).start_within(300_000));
    let text = text(&world, &large);
    for words in ["300 s", "240 s", "driverStartTimeoutMillis", "kompass.dev/start-within"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
