//! Faults that the model has found, in few steps.

use kompass_core::names::SCHEDULER;
use kompass_core::wait::WaitCode;
use kompass_core::{Node, Pod, Resources};
use kompass_planner::{Backfill, BindRefusal, BindResult, Config, FilterAnswer, GangState, Planner};

use crate::job::Job;
use crate::world::World;

/// A gang of a driver and three executors on one node of four CPUs, its Bind under way.
fn being_bound() -> (World, String) {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    world.planner.bind_started(&app, "n1", world.now_ms).unwrap();
    (world, app)
}

#[test]
fn a_driver_bound_to_a_node_that_was_gone_counts_when_the_node_returns() {
    let (mut world, app) = being_bound();
    let node = world.nodes["n1"].clone();
    world.kill_node("n1");
    world.decide();
    world.planner.bind_done(&app, "n1", &BindResult::Bound, world.now_ms);
    world.planner.apply_node(node);
    world.planner.decide(world.now_ms);
    world.planner.check_invariants(true).unwrap();
    assert_eq!(world.planner.charged().1, 4);
}

#[test]
fn an_executor_bound_to_a_node_that_was_gone_counts_when_the_node_returns() {
    let mut world = World::new(&[("n1", 1, 64), ("n2", 1, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    let executor = world.executor(&app);
    let at = world.plan(&app).1[0].0.clone();
    let node = world.nodes[&at].clone();
    // Another planner has bound it; the watches tell of the node first.
    world.planner.delete_node(&at);
    world.change(&executor, |pod| pod.node = Some(at.clone()));
    world.planner.apply_node(node);
    world.planner.decide(world.now_ms);
    world.planner.check_invariants(true).unwrap();
    assert_eq!(world.planner.charged().1, 2);
}

#[test]
fn a_gang_whose_bind_fails_after_it_lost_room_is_planned_again_as_a_whole() {
    for checked in [false, true] {
        let (mut world, app) = being_bound();
        world.foreign("n1", 1_000, 1);
        world.decide();
        if checked {
            world.planner.bind_done(&app, "n1", &BindResult::Unknown, world.now_ms);
            let pod = world.pods[&app].clone();
            world.planner.checked(&app, Some(&pod), world.now_ms);
        } else {
            world.planner.bind_done(&app, "n1", &BindResult::Failed, world.now_ms);
        }
        world.check();
        assert_eq!(world.gang(&app).state, GangState::Unplanned, "checked: {checked}");
        world.add_node("n2", 4, 64);
        world.settle();
        assert_eq!(world.node_of(&app).as_deref(), Some("n2"));
        assert_eq!((world.gang(&app).slots_free, world.gang(&app).slots_missing), (3, 0));
    }
}

#[test]
fn a_driver_is_not_bound_a_second_time_while_part_of_its_gang_has_no_room() {
    let (mut world, app) = being_bound();
    world.planner.bind_done(&app, "n1", &BindResult::Unknown, world.now_ms);
    world.foreign("n1", 1_000, 1);
    assert_eq!(
        world.planner.bind_started(&app, "n1", world.now_ms),
        Err(BindRefusal::NoRoomKept)
    );
}

#[test]
fn a_driver_that_nobody_asks_this_planner_about_is_planned_again_after_a_while() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let (node, _) = world.plan(&app);
    // The kube-scheduler that works is beside another planner, and can't use this node.
    world.tick(60_000);
    world.decide();
    assert_eq!(world.gang(&app).state, GangState::Unplanned);
    world.kill_node(&node);
    world.tick(60_000);
    world.decide();
    assert_eq!(world.gang(&app).state, GangState::Reserved);
    assert_eq!(
        world.pods[&app].plan,
        world.gang(&app).plan,
        "the other planner is told by the new plan"
    );
}

#[test]
fn a_plan_that_was_given_up_and_made_again_is_written_again() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let first = world.pods[&app].plan.clone().unwrap();
    world.change_node("n1", |node| node.cordoned = true);
    world.decide();
    assert_eq!(world.gang(&app).state, GangState::Unplanned);
    world.change_node("n1", |node| node.cordoned = false);
    world.tick(1_000);
    world.decide();
    let second = world.pods[&app].plan.clone().unwrap();
    assert_eq!((&second.driver, &second.executors), (&first.driver, &first.executors));
    assert!(
        second.planned_ms > first.planned_ms,
        "a planner that has given the first one up does not believe it again"
    );
}

#[test]
fn an_executor_whose_bind_fails_is_not_bound_to_room_that_was_taken_meanwhile() {
    for checked in [false, true] {
        let mut world = World::new(&[("n1", 1, 64), ("n2", 1, 64)]);
        let app = world.submit(Job::new("app", 1));
        world.settle();
        let executor = world.executor(&app);
        let node = world.plan(&app).1[0].0.clone();
        assert_eq!(
            world.filter(&executor, std::slice::from_ref(&node)),
            FilterAnswer::Node(node.clone())
        );
        world.planner.bind_started(&executor, &node, world.now_ms).unwrap();
        world.foreign(&node, 1_000, 1);
        world.decide();
        if checked {
            world
                .planner
                .bind_done(&executor, &node, &BindResult::Unknown, world.now_ms);
            let pod = world.pods[&executor].clone();
            world.planner.checked(&executor, Some(&pod), world.now_ms);
        } else {
            world
                .planner
                .bind_done(&executor, &node, &BindResult::Failed, world.now_ms);
        }
        assert_eq!(
            world.planner.bind_started(&executor, &node, world.now_ms),
            Err(BindRefusal::NoRoomKept),
            "checked: {checked}"
        );
        world.check();
    }
}

#[test]
fn a_plan_of_another_planner_is_not_kept_on_a_node_that_was_closed_since() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let (node, _) = world.plan(&app);
    let mut other = Planner::new(world.config.clone());
    other.synced(world.now_ms);
    other.take_over(0);
    let closed = |node: &Node| Node {
        cordoned: true,
        ..node.clone()
    };
    other.apply_node(closed(&world.nodes[&node]));
    other.decide(world.now_ms);
    other.apply_pod(&world.pods[&app], world.now_ms);
    other.decide(world.now_ms);
    assert_eq!(other.gangs()[0].state, GangState::Unplanned);
}

#[test]
fn a_closed_queue_does_not_hold_up_the_others() {
    let config = Config {
        overtakes_max: 1,
        unplanned_max: 1,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 6, 64)]);
    let running = world.submit(Job::new("running", 3));
    world.settle();
    world.submit(Job::new("overdue", 5).queue("closed"));
    world.settle();
    let small = world.submit(Job::new("small", 0).queue("other"));
    world.settle();
    assert!(world.node_of(&small).is_some(), "once it may be overtaken");
    let next = world.submit(Job::new("next", 0).queue("other"));
    world.settle();
    assert!(world.node_of(&next).is_none());
    let lost = world.submit(Job::new("lost", 50).queue("closed"));
    world.change(&lost, |pod| pod.gates.clear());
    world.settle();
    assert_eq!(
        world.gang("overdue").waiting.map(|reason| reason.code),
        Some(WaitCode::QueueLimit)
    );
    assert!(
        world.node_of(&next).is_some(),
        "whoever can't start itself holds up nobody"
    );
    world.delete(&lost);
    for uid in [running, small, next] {
        world.end(&uid);
    }
    world.settle();
    assert!(world.node_of("overdue").is_some());
}

#[test]
fn a_head_that_nobody_may_overtake_leaves_the_time_to_other_queues() {
    let config = Config {
        backfill: Backfill::Easy,
        packs_per_decide: 1,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 6, 64)]);
    // When the head could start can't be told: what stands in its way is no gang.
    let plain = Pod {
        uid: "plain".into(),
        namespace: "spark".into(),
        name: "plain".into(),
        scheduler: SCHEDULER.into(),
        node: Some("n1".into()),
        requests: Resources::from_mib(1_000, 1),
        ..Pod::default()
    };
    world.put(plain);
    world.submit(Job::new("head", 5));
    world.submit(Job::new("behind", 1));
    let other = world.submit(Job::new("other", 0).queue("other"));
    world.settle();
    assert!(world.node_of(&other).is_some());
    assert!(world.node_of("behind").is_none());
}

#[test]
fn an_executor_keeps_its_slot_when_its_driver_turns_out_to_be_bound_elsewhere() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 2, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.decide();
    let (node, executors) = world.plan(&app);
    let executor = world.executor(&app);
    let slot = executors[0].0.clone();
    assert_eq!(
        world.filter(&executor, std::slice::from_ref(&slot)),
        FilterAnswer::Node(slot)
    );
    // Another planner has bound the driver, before the last plan was written.
    let other = if node == "n1" { "n2" } else { "n1" };
    world.change(&app, |pod| pod.node = Some(other.into()));
    world.check();
    assert_eq!((world.gang(&app).slots_free, world.gang(&app).slots_missing), (0, 0));
}

#[test]
fn a_pod_that_is_read_while_its_bind_is_under_way_keeps_its_room() {
    let (mut world, app) = being_bound();
    let pod = world.pods[&app].clone();
    world.tick(60_000);
    world.planner.checked(&app, Some(&pod), world.now_ms);
    world.planner.decide(world.now_ms);
    assert_eq!(
        world.planner.charged().1,
        4,
        "the Bind may be written in the next moment"
    );
    world.planner.bind_done(&app, "n1", &BindResult::Failed, world.now_ms);
    world.planner.decide(world.now_ms);
    assert_eq!(world.planner.charged().1, 0);
}

#[test]
fn filter_settles_at_once_what_a_slot_given_back_takes_from_others() {
    let mut world = World::new(&[("n1", 5, 64)]);
    let app = world.submit(Job::new("app", 2));
    world.settle();
    // The first executor tells that slots are of two CPUs, and the second one needs less.
    world.jobs.get_mut(&app).unwrap().executor.cpu_milli = 2_000;
    world.executor(&app);
    world.jobs.get_mut(&app).unwrap().executor.cpu_milli = 1_000;
    let small = world.executor(&app);
    assert_eq!(world.filter(&small, &["n1".into()]), FilterAnswer::Node("n1".into()));
    let other = world.submit(Job::new("other", 0));
    world.decide();
    assert_eq!(world.gang(&other).state, GangState::Reserved);
    // Looking elsewhere it gives its slot back, of two CPUs.
    let elsewhere = ["n2".to_owned()];
    let answer = world.filter(&small, &elsewhere);
    let gangs = world.planner.gangs();
    assert_eq!(world.filter(&small, &elsewhere), answer);
    assert_eq!(world.planner.gangs(), gangs);
}
