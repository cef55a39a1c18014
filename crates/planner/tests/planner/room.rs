//! Room that is lost, given back, or needed by another: whose it is then.

use kompass_core::names::GANG_GATE;
use kompass_core::{Phase, Resources};
use kompass_planner::{Action, BindResult, FilterAnswer, GangState, filter};

use crate::job::Job;
use crate::world::{GIB, World};

/// A job with dynamic allocation and one executor reserved, others beside its slot, and the slot free again. `n2` has two
/// CPUs free.
fn beside_a_free_slot() -> (World, String, String) {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 1).dynamic(5));
    world.settle();
    world.spark();
    world.settle();
    assert_eq!(world.gang(&app).executors_bound, 5);
    let slot = world.plan(&app).1[0].0.clone();
    // The first one came to the slot.
    let first = world.executors(&app)[0].clone();
    assert_eq!(world.node_of(&first), Some(slot.clone()));
    world.delete(&first);
    world.check();
    assert_eq!(slots(&world, &app), (1, 0));
    (world, app, slot)
}

/// Free slots, and missing ones.
fn slots(world: &World, uid: &str) -> (u64, u64) {
    (world.gang(uid).slots_free, world.gang(uid).slots_missing)
}

#[test]
fn a_pod_resized_in_place_is_charged_anew_before_and_after_it_is_bound() {
    let mut world = World::new(&[("n1", 8, 64)]);
    let app = world.submit(Job::new("app", 2));
    world.decide();
    assert_eq!(world.gang(&app).state, GangState::Reserved);
    world.change(&app, |pod| pod.requests = Resources::from_mib(2_000, GIB));
    assert_eq!(world.planner.charged().0.cpu_milli, 4_000);
    world.settle();
    world.change(&app, |pod| pod.requests = Resources::from_mib(3_000, GIB));
    assert_eq!(world.planner.charged().0.cpu_milli, 5_000);
    world.check();
}

#[test]
fn a_slot_of_a_node_that_is_gone_is_missing_and_charged_nowhere() {
    let mut world = World::new(&[("n1", 1, 64), ("n2", 1, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    world.spark();
    world.settle();
    let executor = world.executors(&app)[0].clone();
    let node = world.node_of(&executor).unwrap();
    world.planner.delete_node(&node);
    world.delete(&executor);
    assert_eq!(slots(&world, &app), (0, 1));
    assert_eq!(world.planner.charged().1, 1, "the driver");
    world.planner.check_invariants(false).unwrap();
}

#[test]
fn an_executor_beside_the_slots_takes_over_one_that_lost_its_room() {
    let (mut world, app, slot) = beside_a_free_slot();
    world.foreign(&slot, 1_000, GIB);
    world.check();
    assert_eq!(slots(&world, &app), (0, 0), "no other room is kept for it");
}

#[test]
fn the_same_where_an_executor_was_on_its_way_to_it() {
    let (mut world, app, slot) = beside_a_free_slot();
    let coming = world.executor(&app);
    world.decide();
    assert_eq!(
        world.filter(&coming, std::slice::from_ref(&slot)),
        FilterAnswer::Node(slot.clone())
    );
    assert_eq!(slots(&world, &app), (0, 0));
    world.foreign(&slot, 1_000, GIB);
    world.check();
    assert_eq!(slots(&world, &app), (0, 0), "no other room is kept for it");
}

#[test]
fn the_same_where_its_node_is_gone() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 1, 64), ("n3", 1, 64)]);
    let app = world.submit(Job::new("app", 1).driver(2_000, GIB).dynamic(2));
    world.settle();
    let slot = world.plan(&app).1[0].0.clone();
    world.spark();
    world.settle();
    assert_eq!(world.gang(&app).executors_bound, 2);
    let on_slot = world
        .executors(&app)
        .into_iter()
        .find(|uid| world.node_of(uid) == Some(slot.clone()));
    world.delete(&on_slot.unwrap());
    world.kill_node(&slot);
    world.check();
    assert_eq!(slots(&world, &app), (0, 0));
}

#[test]
fn an_executor_that_is_leaving_takes_over_no_slot() {
    let (mut world, app, slot) = beside_a_free_slot();
    for uid in world.executors(&app) {
        world.change(&uid, |pod| pod.deleting = true);
    }
    world.foreign(&slot, 1_000, GIB);
    world.check();
    assert_eq!(slots(&world, &app), (1, 0), "room for one that comes");
    assert_ne!(world.plan(&app).1[0].0, slot);
}

#[test]
fn a_pinned_executor_waits_for_one_that_is_leaving_its_node() {
    let mut world = World::new(&[("n1", 3, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 2));
    world.settle();
    world.spark();
    world.settle();
    let leaving = world.executors(&app)[0].clone();
    world.change(&leaving, |pod| pod.deleting = true);
    let next = world.executor(&app);
    world.change(&next, |pod| {
        pod.gates.clear();
        crate::objects::pin(pod, vec!["n1".into()]);
    });
    for _ in 0..4 {
        world.settle();
        world.tick(3_000);
    }
    assert!(world.pods.contains_key(&next), "it is not deleted for want of room");
    world.delete(&leaving);
    world.settle();
    assert!(world.node_of(&next).is_some());
}

#[test]
fn a_pinned_executor_behind_another_gate_is_left_alone() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 2, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 2).driver(2_000, GIB));
    world.settle();
    let node = world.plan(&app).1[0].0.clone();
    let held = world.executor(&app);
    world.change(&held, |pod| pod.gates = vec!["example.com/gate".into()]);
    world.kill_node(&node);
    for _ in 0..4 {
        world.settle();
        world.tick(3_000);
    }
    assert!(world.pods.contains_key(&held));
}

#[test]
fn an_executor_on_its_way_to_a_slot_stays_where_a_plan_can_give_way() {
    let mut world = World::new(&[("n1", 5, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    let coming = world.executor(&app);
    assert_eq!(world.filter(&coming, &["n1".into()]), FilterAnswer::Node("n1".into()));
    let other = world.submit(Job::new("other", 0));
    world.decide();
    assert_eq!(world.gang(&other).state, GangState::Reserved);
    world.foreign("n1", 3_000, GIB);
    world.check();
    assert_eq!(world.gang(&other).state, GangState::Unplanned);
    assert_eq!(slots(&world, &app), (0, 0));
}

#[test]
fn a_gang_whose_driver_is_leaving_gets_no_new_slots() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 2, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.settle();
    let driver = world.node_of(&app);
    let dead = ["n1", "n2"]
        .into_iter()
        .find(|name| driver.as_deref() != Some(*name))
        .unwrap();
    world.kill_node(dead);
    world.check();
    assert_eq!(world.gang(&app).slots_missing, 2);
    world.change(&app, |pod| pod.deleting = true);
    world.add_node("n3", 2, 64);
    world.check();
    assert_eq!(world.gang(&app).slots_missing, 2);
}

#[test]
fn an_ungated_driver_that_is_leaving_gets_no_plan() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let bare = world.submit(Job::new("bare", 1));
    world.change(&bare, |pod| {
        pod.gates.clear();
        pod.deleting = true;
    });
    world.check();
    assert_eq!(world.planner.charged().1, 0);
}

#[test]
fn an_executor_that_is_leaving_is_not_let_in_and_holds_up_nobody() {
    let mut world = World::new(&[("n1", 2, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 1).dynamic(3));
    world.settle();
    // On its way to the slot, and given up before it came there.
    let given_up = world.executor(&app);
    assert!(!world.pods[&given_up].has_gate(GANG_GATE));
    world.change(&given_up, |pod| pod.deleting = true);
    let gated = |world: &mut World, deleting| {
        let uid = world.executor(&app);
        world.change(&uid, |pod| {
            pod.gates = vec![GANG_GATE.into()];
            pod.deleting = deleting;
        });
        uid
    };
    let leaving = gated(&mut world, true);
    world.decide();
    assert!(world.pods[&leaving].has_gate(GANG_GATE));
    let next = gated(&mut world, false);
    world.decide();
    assert!(!world.pods[&next].has_gate(GANG_GATE), "the slot is for it");
}

#[test]
fn an_executor_of_another_namespace_has_no_slot() {
    let mut world = World::new(&[("n1", 2, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    let mut stranger = crate::objects::executor(&world.jobs[&app], &app, 99, world.now_ms);
    stranger.namespace = "other".into();
    let uid = stranger.uid.clone();
    world.put(stranger);
    assert!(!world.schedule(&uid));
    assert_eq!(world.gang(&app).slots_free, 1);
}

#[test]
fn an_executor_left_behind_by_its_gang_gets_no_room() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    let executor = world.executor(&app);
    let now_ms = world.now_ms;
    world.change(&app, |pod| {
        (pod.phase, pod.ended) = (Phase::Failed, Some((kompass_core::Outcome::Failed, now_ms)));
    });
    assert_eq!(
        world.filter(&executor, &["n1".into()]),
        FilterAnswer::Unresolvable(filter::GANG_ENDED)
    );
}

#[test]
fn an_executor_that_ended_before_its_bind_is_told_takes_no_room() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    let executor = world.executor(&app);
    assert_eq!(world.filter(&executor, &["n1".into()]), FilterAnswer::Node("n1".into()));
    world.planner.bind_started(&executor, "n1", world.now_ms).unwrap();
    world.change(&executor, |pod| {
        (pod.node, pod.phase) = (Some("n1".into()), Phase::Failed);
    });
    world
        .planner
        .bind_done(&executor, "n1", &BindResult::Bound, world.now_ms);
    assert_eq!(slots(&world, &app), (1, 0));
    world.check();
}

#[test]
fn an_executor_bound_beside_the_slots_of_a_job_of_fixed_size_takes_a_free_one_at_once() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 1, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    let executor = world.executor(&app);
    let node = world.plan(&app).1[0].0.clone();
    let other = if node == "n1" { "n2" } else { "n1" };
    assert_eq!(
        world.filter(&executor, std::slice::from_ref(&node)),
        FilterAnswer::Node(node.clone())
    );
    world.planner.bind_started(&executor, &node, world.now_ms).unwrap();
    world
        .planner
        .bind_done(&executor, &node, &BindResult::Elsewhere(other.into()), world.now_ms);
    assert_eq!(slots(&world, &app), (0, 0));
}

#[test]
fn a_driver_started_without_a_profile_keeps_its_executors_once_that_comes() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 2, 64)]);
    let app = world.submit_bare(Job::new("app", 1));
    world.settle();
    world.tick(200_000);
    world.settle();
    world.spark_only(&app, 1);
    world.settle();
    assert_eq!(world.gang(&app).executors_bound, 1);
    world.profile(&app);
    assert_eq!(slots(&world, &app), (0, 0), "the executor is its minimum");
}

#[test]
fn a_profile_that_comes_while_the_driver_is_being_bound_takes_nothing_from_it() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit_bare(Job::new("app", 1));
    world.decide();
    world.tick(200_000);
    world.decide();
    world.planner.bind_started(&app, "n1", world.now_ms).unwrap();
    world.profile(&app);
    assert_eq!(world.planner.charged().1, 1, "the driver's room is kept");
}

#[test]
fn a_gang_that_has_a_plan_keeps_its_shape() {
    let mut world = World::new(&[("n1", 8, 64)]);
    let app = world.submit(Job::new("app", 2));
    world.settle();
    world.jobs.get_mut(&app).unwrap().executors = 5;
    world.profile(&app);
    world.check();
    assert_eq!(world.gang(&app).executors_min, Some(2));
}

#[test]
fn only_the_first_executor_tells_how_large_slots_are() {
    let mut world = World::new(&[("n1", 8, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.settle();
    let first = world.executor(&app);
    world.delete(&first);
    world.jobs.get_mut(&app).unwrap().executor.cpu_milli = 1_500;
    world.executor(&app);
    world.settle();
    assert_eq!(world.planner.charged().0.cpu_milli, 1_000 + 1_500 + 2 * 1_000);
}

#[test]
fn a_slot_is_given_up_only_once_it_has_been_free_for_a_while_without_pause() {
    let (mut world, app, _) = beside_a_free_slot();
    world.tick(30_000);
    world.spark();
    world.settle();
    assert_eq!(slots(&world, &app), (0, 0));
    let plan = world.plan(&app).1[0].0.clone();
    let newest = world.executors(&app).pop().unwrap();
    assert_eq!(world.node_of(&newest), Some(plan));
    world.tick(20_000);
    world.delete(&newest);
    world.check();
    world.tick(59_000);
    world.check();
    assert_eq!(slots(&world, &app), (1, 0));
    world.tick(1_000);
    world.check();
    assert_eq!(slots(&world, &app), (0, 0), "an executor beside it is the minimum");
}

#[test]
fn a_restarted_planner_counts_from_when_pods_started() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 2));
    world.settle();
    world.spark();
    world.settle();
    world.tick(5_000);
    world.restart(3);
    world.tick(1_000);
    world.end(&app);
    world.settle();
    let gang = world.finished.last().unwrap();
    assert_eq!((gang.wait_ms, gang.executor_ms), (0, 12_000));
}

#[test]
fn a_plan_too_long_to_be_written_is_not_made() {
    let mut world = World::new(&[]);
    for number in 0..300 {
        world.add_node(&format!("{number:0240}"), 1, 64);
    }
    let wide = world.submit(Job::new("wide", 280));
    let other = world.submit(Job::new("other", 200));
    world.decide();
    assert_eq!(world.gang(&wide).state, GangState::Waiting);
    assert_eq!(world.gang(&other).state, GangState::Reserved);
    let opened = |order: &&Action| matches!(order, Action::OpenGate { .. });
    assert_eq!(world.orders.iter().filter(opened).count(), 1);
}

#[test]
fn where_a_plan_is_taken_over_slots_go_to_bound_executors_first() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 1).dynamic(3));
    world.settle();
    let coming = world.executor(&app);
    assert_eq!(world.filter(&coming, &["n1".into()]), FilterAnswer::Node("n1".into()));
    let bound = world.executor(&app);
    world.change(&bound, |pod| pod.node = Some("n1".into()));
    assert_eq!(slots(&world, &app), (0, 0));
    // Another planner has written the same plan again.
    world.change(&app, |pod| pod.plan.as_mut().unwrap().planned_ms += 1);
    world.tick(world.config.assume_ms);
    world.decide();
    assert_eq!(slots(&world, &app), (0, 0), "the one that never came had no slot");
}
