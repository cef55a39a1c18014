//! Writes that are lost or seen late, and what is done again after a while.

use kompass_core::wait::WaitCode;
use kompass_planner::{Action, Failure, FilterAnswer, GangState};

use crate::job::Job;
use crate::world::World;

fn count(world: &World, is: impl Fn(&Action) -> bool) -> usize {
    world.orders.iter().filter(|order| is(order)).count()
}

fn replans(world: &World) -> usize {
    count(world, |order| matches!(order, Action::Replan { .. }))
}

/// A driver of two CPUs on a node of its own, its executors on nodes that take two each.
fn apart() -> (World, String) {
    let mut world = World::new(&[("n1", 3, 64), ("n2", 2, 64), ("n3", 2, 64), ("n4", 2, 64)]);
    let app = world.submit(Job::new("app", 2).driver(3_000, 1_024));
    world.settle();
    assert_eq!(world.plan(&app).1.len(), 1);
    (world, app)
}

#[test]
fn what_filter_promised_is_taken_back_in_time_though_nothing_is_fed() {
    let mut world = World::new(&[("n1", 2, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    let executor = world.executor(&app);
    for _ in 0..3 {
        world.decide();
        world.tick(60_000);
    }
    let due_ms = world.now_ms + world.config.assume_ms;
    let wakes = |world: &World| world.planner.next_wake().is_some_and(|at_ms| at_ms <= due_ms);
    assert!(!wakes(&world));
    assert_eq!(world.filter(&executor, &["n1".into()]), FilterAnswer::Node("n1".into()));
    assert_eq!(world.gang(&app).slots_free, 0);
    assert!(wakes(&world));
    world.now_ms = due_ms;
    world.planner.decide(world.now_ms);
    assert_eq!(world.gang(&app).slots_free, 1);
}

#[test]
fn a_demand_of_which_nobody_knows_whether_it_was_written_is_made_again() {
    let mut world = World::new(&[("n1", 1, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.settle();
    world.tick(1_000);
    (world.failure, world.lost_answer) = (Some(Failure::Unknown), false);
    world.decide();
    world.failure = None;
    world.tick(9_000);
    world.decide();
    assert!(world.stand_ins(&app).is_empty(), "it may still come");
    world.tick(1_000);
    world.decide();
    assert_eq!(world.stand_ins(&app).len(), 4);
}

#[test]
fn a_demand_ends_with_its_gang_though_no_stand_in_was_seen() {
    let mut world = World::new(&[("n1", 1, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.settle();
    world.tick(1_000);
    (world.failure, world.lost_answer) = (Some(Failure::Unknown), false);
    world.decide();
    world.failure = None;
    world.delete(&app);
    world.decide();
    assert_eq!(count(&world, |order| matches!(order, Action::ReleaseDemand { .. })), 1);
}

#[test]
fn a_demand_waits_from_when_room_began_to_lack_whatever_happens_meanwhile() {
    let mut world = World::new(&[("n1", 2, 64)]);
    let foreign = world.foreign("n1", 500, 1);
    let large = world.submit(Job::new("large", 12));
    world.settle();
    world.tick(600);
    world.delete(&foreign);
    world.decide();
    assert!(world.stand_ins(&large).is_empty());
    world.tick(600);
    world.decide();
    assert_eq!(world.stand_ins(&large).len(), 13);
}

#[test]
fn a_gang_that_found_its_room_again_asks_for_nodes_only_after_another_while() {
    let (mut world, app) = apart();
    for node in ["n2", "n3", "n4"] {
        world.kill_node(node);
    }
    world.settle();
    world.tick(1_000);
    world.decide();
    assert_eq!(world.stand_ins(&app).len(), 2);
    world.add_node("n5", 2, 64);
    world.settle();
    assert!(world.stand_ins(&app).is_empty());
    world.kill_node("n5");
    world.settle();
    assert!(world.stand_ins(&app).is_empty());
    world.tick(1_000);
    world.decide();
    assert_eq!(world.stand_ins(&app).len(), 2);
}

#[test]
fn what_is_left_of_slots_that_found_room_in_part_is_looked_at_at_once() {
    let (mut world, app) = apart();
    for node in ["n2", "n3", "n4"] {
        world.kill_node(node);
    }
    world.settle();
    world.add_node("n5", 1, 64);
    let decision = world.planner.decide(world.now_ms);
    assert_eq!(world.gang(&app).slots_missing, 1);
    assert!(decision.again);
}

#[test]
fn a_plan_that_changes_twice_is_written_twice() {
    let (mut world, app) = apart();
    for _ in 0..2 {
        let node = world.plan(&app).1[0].0.clone();
        world.kill_node(&node);
        world.decide();
        assert_eq!(world.pods[&app].plan, world.gang(&app).plan);
    }
}

#[test]
fn an_event_of_an_older_plan_does_not_have_the_new_one_written_twice() {
    let (mut world, app) = apart();
    let node = world.plan(&app).1[0].0.clone();
    (world.failure, world.lost_answer) = (Some(Failure::Unknown), false);
    world.kill_node(&node);
    world.decide();
    world.change(&app, |pod| pod.priority = 0);
    world.decide();
    assert_eq!(replans(&world), 1);
}

#[test]
fn a_gate_refused_three_times_holds_up_its_queue_no_more() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 1));
    for refusals in 1..=3 {
        world.failure = Some(Failure::Refused);
        world.decide();
        world.failure = None;
        assert_eq!(
            count(
                &world,
                |order| matches!(order, Action::OpenGate { driver, .. } if driver.uid == app)
            ),
            refusals
        );
        let next = world.submit(Job::new(&format!("next-{refusals}"), 0));
        world.decide();
        assert_eq!(world.gang(&app).waiting.unwrap().code, WaitCode::Replanning);
        assert_eq!(world.gang(&next).state == GangState::Reserved, refusals == 3);
        world.delete(&next);
        world.tick(60_000);
    }
}

#[test]
fn a_gang_back_in_its_queue_has_no_claim_before_its_turn_comes() {
    let mut world = World::new(&[("n1", 5, 64)]);
    world.submit(Job::new("staying", 0));
    let running = world.submit(Job::new("running", 3));
    world.settle();
    let app = world.submit(Job::new("app", 3));
    world.settle();
    assert_eq!(world.gang(&app).waiting.unwrap().code, WaitCode::NoRoom);
    world.end(&running);
    let decision = world.planner.decide(world.now_ms);
    let open = decision
        .orders
        .iter()
        .find(|order| matches!(order.action, Action::OpenGate { .. }));
    world
        .planner
        .action_failed(open.unwrap().id, Failure::Refused, world.now_ms);
    let urgent = world.submit(Job::new("urgent", 4).priority(5));
    world.planner.decide(world.now_ms);
    assert_eq!(world.gang(&urgent).waiting.unwrap().code, WaitCode::NoRoom);
    assert_eq!(world.gang(&app).waiting.unwrap().code, WaitCode::BehindOthers);
}

#[test]
fn a_driver_whose_only_node_the_scheduler_can_not_use_leaves_it_to_others() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let rest = ["n2".to_owned(), "n3".to_owned()];
    for _ in 0..4 {
        assert_eq!(world.filter(&app, &rest), FilterAnswer::NotInList);
        world.tick(5_000);
        world.decide();
        if world.gang(&app).state == GangState::Unplanned {
            break;
        }
    }
    assert_eq!(world.gang(&app).state, GangState::Unplanned);
    assert_eq!(world.planner.charged().1, 0);
}

#[test]
fn a_planner_that_holds_back_asks_for_nodes_only_for_those_that_still_wait() {
    let mut world = World::new(&[("n1", 1, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.submit(Job::new("other", 4));
    world.settle();
    world.planner.step_down();
    world.delete(&app);
    world.planner.take_over(world.now_ms + 3_000);
    world.tick(1_000);
    world.decide();
    assert_eq!(world.planner.demands(), ["other"]);
}
