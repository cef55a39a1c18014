//! Whose turn it is, and when.

use kompass_core::Phase;
use kompass_core::wait::WaitCode;
use kompass_planner::{Config, Limits, Quota};

use crate::job::Job;
use crate::world::World;

#[test]
fn room_that_other_schedulers_pods_held_is_used_at_once() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64)]);
    let foreign = world.foreign("n1", 7_000, 1_024);
    let last = world.foreign("n2", 8_000, 1_024);
    let gangs: Vec<String> = (0..50)
        .map(|number| world.submit(Job::new(&format!("gang-{number}"), 3)))
        .collect();
    world.settle();
    assert_eq!(world.gang(&gangs[0]).waiting.unwrap().code, WaitCode::TooLarge);
    // Behind them one of another size.
    let small = world.submit(Job::new("small", 1));
    world.settle();
    world.delete(&last);
    world.settle();
    let started = gangs.iter().filter(|gang| world.node_of(gang).is_some()).count();
    assert_eq!(started, 2, "both that have room now, without any time having passed");
    assert!(world.node_of(&small).is_none());
    world.delete(&foreign);
    world.settle();
    assert!(world.node_of(&gangs[2]).is_some());
}

#[test]
fn whoever_an_overdue_gang_held_up_has_its_turn_as_soon_as_that_has_started() {
    let config = Config {
        overtakes_max: 1,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 16, 64)]);
    let running = world.submit(Job::new("running", 7).queue("c"));
    world.submit(Job::new("of-a", 2).queue("a"));
    world.settle();
    let large = world.submit(Job::new("large", 7).queue("a"));
    world.settle();
    world.submit(Job::new("passes", 0).queue("b"));
    world.settle();
    let next_of_a = world.submit(Job::new("next-of-a", 3).queue("a"));
    let next_of_b = world.submit(Job::new("next-of-b", 3).queue("b"));
    world.settle();
    assert!(
        world.node_of(&next_of_b).is_none(),
        "the large one was passed once already"
    );
    world.end(&running);
    world.settle();
    assert!(world.node_of(&large).is_some());
    assert!(
        world.node_of(&next_of_b).is_some(),
        "the share of its queue is the smaller one"
    );
    assert!(world.node_of(&next_of_a).is_none());
}

fn code(world: &World, uid: &str) -> Option<WaitCode> {
    world.gang(uid).waiting.map(|reason| reason.code)
}

/// Gangs may be passed so often.
fn passed_at_most(overtakes_max: u64, cpus: u64) -> World {
    let config = Config {
        overtakes_max,
        ..Config::default()
    };
    World::with(config, &[("n1", cpus, 64)])
}

#[test]
fn of_two_running_gangs_that_lost_slots_the_older_is_first() {
    let mut world = World::new(&[("n1", 8, 64)]);
    let older = world.submit(Job::new("older", 1));
    world.tick(1_000);
    let younger = world.submit(Job::new("younger", 1));
    world.settle();
    world.foreign("n1", 6_000, 1_024);
    world.check();
    let missing = |world: &World| (world.gang(&older).slots_missing, world.gang(&younger).slots_missing);
    assert_eq!(missing(&world), (1, 1));
    world.add_node("n2", 1, 64);
    world.check();
    assert_eq!(missing(&world), (0, 1));
}

#[test]
fn of_two_drivers_that_lost_their_plan_the_older_is_first() {
    let mut world = World::new(&[("n1", 2, 64)]);
    let running = world.submit(Job::new("running", 1));
    world.settle();
    let older = world.submit(Job::new("older", 1));
    world.change(&older, |pod| pod.gates.clear());
    world.tick(1_000);
    let younger = world.submit(Job::new("younger", 1));
    world.change(&younger, |pod| pod.gates.clear());
    world.settle();
    world.end(&running);
    world.settle();
    assert!(world.node_of(&older).is_some());
    assert!(world.node_of(&younger).is_none());
}

#[test]
fn of_two_gangs_that_were_passed_too_often_the_older_is_first() {
    let mut world = passed_at_most(1, 10);
    let ending = world.submit(Job::new("ending", 1).queue("d"));
    world.submit(Job::new("staying", 1).queue("d"));
    world.settle();
    let older = world.submit(Job::new("older", 8).queue("a"));
    world.tick(1_000);
    let younger = world.submit(Job::new("younger", 6).queue("b"));
    world.settle();
    let small = world.submit(Job::new("small", 0).queue("c"));
    world.settle();
    assert!(world.node_of(&small).is_some());
    world.end(&small);
    world.end(&ending);
    world.settle();
    assert!(
        world.node_of(&older).is_none(),
        "eight CPUs are free, and it needs nine"
    );
    assert!(world.node_of(&younger).is_none(), "it has room, and is not the first");
}

#[test]
fn whoever_goes_before_a_gang_in_its_own_queue_has_not_overtaken_it() {
    let mut world = passed_at_most(1, 6);
    world.submit(Job::new("running", 1));
    world.settle();
    world.submit(Job::new("head", 5));
    world.settle();
    let urgent = world.submit(Job::new("urgent", 0).priority(5));
    world.settle();
    assert!(world.node_of(&urgent).is_some());
    let other = world.submit(Job::new("other", 0).queue("other"));
    world.settle();
    assert!(world.node_of(&other).is_some());
}

#[test]
fn a_gang_that_is_not_the_head_is_not_overtaken_by_other_queues() {
    let mut world = passed_at_most(2, 6);
    world.submit(Job::new("running", 2));
    world.settle();
    world.submit(Job::new("first", 4));
    world.settle();
    let urgent = world.submit(Job::new("urgent", 5).priority(5));
    world.settle();
    for name in ["small-0", "small-1"] {
        let small = world.submit(Job::new(name, 0).queue("small"));
        world.settle();
        assert!(world.node_of(&small).is_some());
    }
    world.delete(&urgent);
    let small = world.submit(Job::new("small-2", 0).queue("small"));
    world.settle();
    assert!(
        world.node_of(&small).is_some(),
        "the first has just become the head again"
    );
}

#[test]
fn a_head_that_can_no_longer_fit_holds_up_nobody() {
    let mut world = World::new(&[("n1", 5, 64)]);
    world.submit(Job::new("running", 1));
    world.settle();
    let head = world.submit(Job::new("head", 3));
    let next = world.submit(Job::new("next", 0));
    world.settle();
    assert_eq!(code(&world, &head), Some(WaitCode::NoRoom));
    // Another scheduler's pod: nobody knows whether it ever goes.
    world.foreign("n1", 2_000, 1_024);
    world.settle();
    assert_eq!(code(&world, &head), Some(WaitCode::TooLarge));
    assert!(world.node_of(&next).is_some());
}

#[test]
fn whoever_an_overdue_gang_held_up_has_its_turn_as_soon_as_that_can_no_longer_fit() {
    let mut world = passed_at_most(1, 8);
    // So that the other queue is looked at first.
    world.submit(Job::new("of-b", 2).queue("b"));
    world.settle();
    let large = world.submit(Job::new("large", 5).queue("b"));
    world.settle();
    world.submit(Job::new("passes", 0).queue("a"));
    world.settle();
    let next = world.submit(Job::new("next", 0).queue("a"));
    world.settle();
    assert_eq!(code(&world, &next), Some(WaitCode::BehindOthers));
    world.foreign("n1", 3_000, 1_024);
    world.settle();
    assert_eq!(code(&world, &large), Some(WaitCode::TooLarge));
    assert!(world.node_of(&next).is_some());
}

#[test]
fn a_gang_that_changes_its_queue_leaves_its_claim_behind() {
    let mut world = World::new(&[("n1", 4, 64)]);
    world.submit(Job::new("running", 1));
    world.submit(Job::new("head-of-b", 3).queue("b"));
    world.tick(1_000);
    let moved = world.submit(Job::new("moved", 3).queue("a"));
    world.settle();
    assert_eq!(code(&world, &moved), Some(WaitCode::NoRoom));
    world.change(&moved, |pod| pod.queue = Some("b".into()));
    world.settle();
    assert_eq!(code(&world, &moved), Some(WaitCode::BehindOthers));
}

#[test]
fn a_waiting_gang_that_asks_for_something_else_is_looked_at_anew() {
    let mut world = World::new(&[("n1", 4, 64)]);
    world.submit(Job::new("running", 1));
    world.settle();
    let head = world.submit(Job::new("head", 3));
    world.settle();
    assert_eq!(code(&world, &head), Some(WaitCode::NoRoom));
    world.change(&head, |pod| {
        pod.constraints.node_selector = [("pool".into(), "gpu".into())].into();
    });
    world.settle();
    assert_eq!(code(&world, &head), Some(WaitCode::NoMatchingNode));
    let large = world.submit(Job::new("large", 12));
    world.settle();
    assert_eq!(code(&world, &large), Some(WaitCode::TooLarge));
    world.jobs.get_mut(&large).unwrap().executors = 1;
    world.profile(&large);
    world.settle();
    assert!(world.node_of(&large).is_some());
}

#[test]
fn between_queues_of_equal_shares_the_one_that_started_last_comes_last() {
    let mut world = World::new(&[("n1", 2, 64)]);
    let first = world.submit(Job::new("first", 1).queue("a"));
    world.settle();
    world.end(&first);
    world.delete(&first);
    world.settle();
    let of_a = world.submit(Job::new("of-a", 1).queue("a"));
    world.tick(1_000);
    let of_b = world.submit(Job::new("of-b", 1).queue("b"));
    world.settle();
    assert!(world.node_of(&of_b).is_some());
    assert!(world.node_of(&of_a).is_none());
}

#[test]
fn an_executor_that_has_ended_is_still_to_come_for_the_quota() {
    let mut world = World::new(&[("n1", 64, 64)]);
    let quota = Quota {
        hard: Limits {
            cpu_milli: Some(7_000),
            ..Limits::default()
        },
        used: Limits::default(),
    };
    world.planner.apply_quota("spark", "q", quota);
    let first = world.submit(Job::new("first", 3));
    world.settle();
    world.spark();
    world.settle();
    let second = world.submit(Job::new("second", 3));
    world.settle();
    assert_eq!(code(&world, &second), Some(WaitCode::ResourceQuota));
    let ended = world.executors(&first)[0].clone();
    world.change(&ended, |pod| pod.phase = Phase::Failed);
    world.settle();
    assert_eq!(
        code(&world, &second),
        Some(WaitCode::ResourceQuota),
        "another one comes for it"
    );
}

#[test]
fn a_gang_that_changes_its_queue_is_not_told_who_went_before_it_in_the_other() {
    let mut world = passed_at_most(1, 8);
    world.submit(Job::new("running", 3));
    world.submit(Job::new("of-b", 0).queue("b"));
    world.settle();
    world.submit(Job::new("overdue", 5));
    world.tick(1_000);
    world.settle();
    world.submit(Job::new("small", 0).queue("a"));
    world.settle();
    world.submit(Job::new("head-of-b", 4).queue("b"));
    world.tick(1_000);
    let moved = world.submit(Job::new("moved", 0).queue("a"));
    world.settle();
    let text = |world: &World| world.gang(&moved).waiting.unwrap().text;
    assert!(text(&world).contains("was passed"), "{}", text(&world));
    world.change(&moved, |pod| pod.queue = Some("b".into()));
    world.settle();
    assert_eq!(code(&world, &moved), Some(WaitCode::BehindOthers));
    assert!(!text(&world).contains("was passed"), "{}", text(&world));
}
