//! Crashes, lost room, dead nodes, failed writes, other planners.

use kompass_core::names::GANG_GATE;
use kompass_core::wait::WaitCode;
use kompass_core::{GangPlan, Resources};
use kompass_planner::{Action, Failure, FilterAnswer, GangState, Planner};

use crate::job::Job;
use crate::world::{GIB, World};

pub(crate) fn others(world: &World, node: &str) -> Vec<String> {
    world.nodes.keys().filter(|name| *name != node).cloned().collect()
}

#[test]
fn a_node_of_the_plan_dies_before_the_driver_is_bound() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let app = world.submit(Job::new("app", 2));
    world.decide();
    let (node, _) = world.plan(&app);
    world.kill_node(&node);
    world.settle();
    assert_eq!(world.node_of(&app), Some(others(&world, &node)[0].clone()));
    assert_eq!(world.pods[&app].plan.as_ref().map(GangPlan::executor_count), Some(2));
    assert_eq!(
        world.pods[&app].plan.as_ref().map(|plan| plan.driver.clone()),
        world.node_of(&app)
    );
}

#[test]
fn a_node_of_the_plan_dies_before_its_executors_come() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 2, 64), ("n3", 2, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 3));
    world.settle();
    let bare = others(&world, &world.node_of(&app).unwrap())
        .into_iter()
        .find(|node| world.plan(&app).1.iter().any(|(planned, _)| planned == node))
        .unwrap();
    world.spark_only(&app, 1);
    world.kill_node(&bare);
    world.settle();
    assert_eq!(world.gang(&app).slots_missing, 0);
    assert!(world.plan(&app).1.iter().all(|(node, _)| *node != bare));
    assert_eq!(world.pods[&app].plan, world.gang(&app).plan, "the new plan is written");
    world.spark();
    world.settle();
    world.tick(3_000);
    world.settle();
    world.spark();
    world.settle();
    assert_eq!(world.gang(&app).executors_bound, 3);
}

#[test]
fn a_gang_that_lost_a_node_goes_on_with_less_and_has_the_first_claim() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 2, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.settle();
    world.spark();
    world.settle();
    world.tick(1_000);
    let next = world.submit(Job::new("next", 1));
    let dead = others(&world, &world.node_of(&app).unwrap())[0].clone();
    world.kill_node(&dead);
    world.settle();
    assert_eq!(
        (world.gang(&app).slots_missing, world.gang(&app).executors_bound),
        (2, 1)
    );
    assert_eq!(world.gang(&app).state, GangState::Running);
    world.tick(1_000);
    world.decide();
    assert_eq!(world.stand_ins(&app).len(), 2, "what is missing is asked for");
    world.add_node("n3", 2, 64);
    world.settle();
    assert_eq!(world.gang(&app).slots_missing, 0);
    assert!(world.stand_ins(&app).is_empty());
    assert!(world.node_of(&next).is_none());
    world.spark();
    world.settle();
    assert_eq!(world.gang(&app).executors_bound, 3);
}

#[test]
fn a_foreign_pod_takes_reserved_room_and_the_slots_move() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 4, 8), ("n3", 4, 8)]);
    let app = world.submit(Job::new("app", 3).driver(2_000, 10 * GIB));
    world.settle();
    let (_, executors) = world.plan(&app);
    let (node, count) = executors[0].clone();
    assert_eq!(count, 3);
    world.foreign(&node, 2_000, GIB);
    world.check();
    assert_eq!((world.gang(&app).slots_free, world.gang(&app).slots_missing), (3, 0));
    assert_eq!(
        world
            .plan(&app)
            .1
            .iter()
            .find(|(on, _)| *on == node)
            .map(|(_, count)| *count),
        Some(2)
    );
    world.spark();
    world.settle();
    assert_eq!(world.gang(&app).executors_bound, 3);
}

#[test]
fn the_youngest_plan_gives_way_and_what_is_not_bound_before_what_is() {
    let mut world = World::new(&[("n1", 8, 64)]);
    let bound = world.submit(Job::new("bound", 1));
    world.settle();
    let mut opened = Vec::new();
    for name in ["older", "younger"] {
        world.tick(1_000);
        opened.push(world.submit(Job::new(name, 1)));
        world.decide();
    }
    world.foreign("n1", 3_000, GIB);
    world.check();
    assert_eq!(
        (world.gang(&bound).slots_free, world.gang(&bound).slots_missing),
        (1, 0)
    );
    assert_eq!(world.gang(&opened[0]).state, GangState::Reserved);
    assert_eq!(world.gang(&opened[1]).state, GangState::Unplanned);
    world.foreign("n1", 2_000, GIB);
    world.check();
    assert_eq!(world.gang(&opened[0]).state, GangState::Unplanned);
    assert_eq!(
        (world.gang(&bound).slots_free, world.gang(&bound).slots_missing),
        (1, 0)
    );
    world.foreign("n1", 2_000, GIB);
    world.check();
    assert_eq!(
        (world.gang(&bound).slots_free, world.gang(&bound).slots_missing),
        (0, 1)
    );
}

#[test]
fn room_lost_between_plan_and_filter_makes_the_driver_the_head() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let next = world.submit(Job::new("next", 0));
    let intruder = world.foreign("n1", 1_000, GIB);
    let all = vec!["n1".to_string()];
    let FilterAnswer::Unresolvable(text) = world.filter(&app, &all) else {
        panic!()
    };
    world.foreign("n1", 1, 1);
    assert_eq!(
        world.filter(&app, &all),
        FilterAnswer::Unresolvable(text),
        "the text is always the same"
    );
    world.settle();
    assert_eq!(world.gang(&app).state, GangState::Unplanned);
    assert_eq!(
        world.gang(&app).waiting.map(|reason| (reason.code, reason.position)),
        Some((WaitCode::TooLarge, 1))
    );
    assert!(world.node_of(&app).is_none());
    // It does not fit while the foreign pods are there, so it holds nobody up.
    assert!(world.node_of(&next).is_some());
    world.end(&next);
    world.delete(&intruder);
    let rest: Vec<String> = world
        .pods
        .keys()
        .filter(|uid| uid.starts_with("foreign"))
        .cloned()
        .collect();
    for uid in rest {
        world.delete(&uid);
    }
    world.settle();
    assert!(world.node_of(&app).is_some());
}

#[test]
fn an_ungated_driver_without_a_plan_goes_before_its_queue() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let running = world.submit(Job::new("running", 2));
    world.settle();
    let waiting = world.submit(Job::new("waiting", 1));
    // The webhook was down: no gate.
    let bare = world.submit(Job::new("bare", 1));
    world.change(&bare, |pod| pod.gates.clear());
    world.settle();
    assert_eq!(world.gang(&bare).state, GangState::Unplanned);
    world.end(&running);
    world.settle();
    assert!(world.node_of(&bare).is_some());
    assert_eq!(
        world.pods[&bare].plan.as_ref().map(GangPlan::executor_count),
        Some(1),
        "the Binding carries the plan"
    );
    assert!(world.node_of(&waiting).is_some());
}

#[test]
fn too_many_unplanned_drivers_close_their_queue() {
    let mut world = World::new(&[("n1", 4, 64)]);
    for number in 0..8 {
        let bare = world.submit(Job::new(&format!("bare-{number}"), 50));
        world.change(&bare, |pod| pod.gates.clear());
    }
    let waiting = world.submit(Job::new("waiting", 1));
    world.settle();
    assert_eq!(
        world.gang(&waiting).waiting.map(|reason| reason.code),
        Some(WaitCode::QueueLimit)
    );
    world.delete("bare-0");
    world.settle();
    assert!(world.node_of(&waiting).is_some());
}

/// `YuniKorn`, recovery of two gangs.
#[test]
fn a_planner_killed_between_driver_and_executors_keeps_every_promise() {
    for seed in 0..20 {
        let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
        let first = world.submit(Job::new("first", 4));
        let opened = world.submit(Job::new("opened", 2));
        let waiting = world.submit(Job::new("waiting", 2));
        world.settle();
        world.spark_only(&first, 2);
        world.settle();
        let promises = |world: &World| {
            let gangs = world.planner.gangs().into_iter();
            gangs
                .map(|gang| (gang.uid, (gang.slots_free, gang.plan)))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        let before = promises(&world);
        world.restart(seed);
        assert_eq!(promises(&world), before);
        world.spark();
        world.settle();
        assert_eq!(world.gang(&first).executors_bound, 4);
        assert_eq!(world.gang(&opened).executors_bound, 2);
        assert!(world.node_of(&waiting).is_none());
    }
}

#[test]
fn a_planner_killed_between_gate_and_bind_believes_the_written_plan() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let plan = world.plan(&app);
    world.restart(1);
    assert_eq!(world.plan(&app), plan);
    assert_eq!(world.gang(&app).state, GangState::Reserved);
    world.settle();
    assert_eq!(world.node_of(&app), Some(plan.0));
}

#[test]
fn a_forged_or_outdated_plan_is_not_believed() {
    let uid = "app";
    let plan = |uid: &str, executors: &[(&str, u64)]| GangPlan {
        version: 1,
        uid: uid.into(),
        driver: "n1".into(),
        executors: executors.iter().map(|&(node, count)| (node.into(), count)).collect(),
        planned_ms: 999_999,
        unclaimed: 0,
    };
    for forged in [
        plan("other", &[("n2", 1)]),
        plan(uid, &[("n2", 30)]),
        plan(uid, &[("n2", u64::MAX), ("n1", u64::MAX)]),
        plan(uid, &[("n2", 0), ("n1", 1)]),
        plan(uid, &[("n2", 1), ("n2", 0)]),
        plan(uid, &[("n9", 1)]),
    ] {
        let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
        world.submit(Job::new(uid, 1));
        world.change(uid, |pod| (pod.plan, pod.gates) = (Some(forged.clone()), vec![]));
        world.restart(0);
        world.planner.step_down();
        assert_eq!(world.gang(uid).state, GangState::Unplanned, "{forged:?}");
        world.planner.take_over(0);
        world.settle();
        assert_eq!(
            (world.gang(uid).slots_free, world.gang(uid).slots_missing),
            (1, 0),
            "{forged:?}"
        );
    }
    // A gated driver's plan means nothing at all.
    let mut world = World::new(&[("n1", 1, 64)]);
    world.submit(Job::new(uid, 1));
    world.change(uid, |pod| pod.plan = Some(plan(uid, &[("n1", 1)])));
    world.settle();
    assert_eq!(world.planner.charged().1, 0);
}

#[test]
fn two_planners_promised_the_same_room_and_the_bound_plan_wins() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let old = world.submit(Job::new("old", 3));
    // The planner before had opened the gate of `old`; this one has planned `new` before it knew.
    let plan = GangPlan {
        version: 1,
        uid: old.clone(),
        driver: "n1".into(),
        executors: vec![("n1".into(), 3)],
        planned_ms: 999_999,
        unclaimed: 0,
    };
    world.slow = true;
    world.change(&old, |pod| {
        (pod.gates, pod.plan, pod.node) = (vec![], Some(plan), Some("n1".into()));
    });
    world.delete(&old);
    world.slow = false;
    world.deliver(usize::MAX);
    assert_eq!(world.planner.charged().1, 0);

    let mut world = World::new(&[("n1", 4, 64)]);
    world.submit(Job::new("old", 3).queue("a"));
    let new = world.submit(Job::new("new", 3).queue("b"));
    world.slow = true;
    // `old` was let in by another planner and is bound; the watch is behind.
    let plan = GangPlan {
        version: 1,
        uid: "old".into(),
        driver: "n1".into(),
        executors: vec![("n1".into(), 3)],
        planned_ms: 999_999,
        unclaimed: 0,
    };
    world.change("old", |pod| {
        (pod.gates, pod.plan, pod.node) = (vec![], Some(plan), Some("n1".into()));
    });
    let decision = world.planner.decide(world.now_ms);
    let opened = decision
        .orders
        .iter()
        .filter(|order| matches!(order.action, Action::OpenGate { .. }));
    assert_eq!(opened.count(), 1);
    world.slow = false;
    world.deliver(usize::MAX);
    world.check();
    assert_eq!(
        (world.gang("old").slots_free, world.gang("old").state),
        (3, GangState::DriverBound)
    );
    assert!(world.gang(&new).plan.is_none());
}

#[test]
fn a_conflict_is_tried_again_on_the_new_version() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.slow = true;
    world.change(&app, |pod| pod.priority = 0);
    world.decide();
    assert!(world.pods[&app].has_gate(GANG_GATE), "the version was old");
    assert_eq!(world.gang(&app).state, GangState::Waiting);
    world.slow = false;
    world.settle();
    assert!(world.node_of(&app).is_some());
}

#[test]
fn a_refused_gate_does_not_hold_up_others_for_ever() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.failure = Some(Failure::Refused);
    for _ in 0..5 {
        world.decide();
        world.tick(60_000);
    }
    world.failure = None;
    assert_eq!(world.planner.charged().1, 0);
    let opened = |world: &World| {
        world
            .orders
            .iter()
            .filter(|order| matches!(order, Action::OpenGate { .. }))
            .count()
    };
    assert!(opened(&world) <= 6, "not again and again on the spot");
    world.settle();
    assert!(world.node_of(&app).is_some());
}

#[test]
fn an_unknown_outcome_is_looked_up_and_nothing_is_planned_twice() {
    for lost_answer in [true, false] {
        let mut world = World::new(&[("n1", 4, 64)]);
        let app = world.submit(Job::new("app", 3));
        let next = world.submit(Job::new("next", 3));
        world.failure = Some(Failure::Unknown);
        world.lost_answer = lost_answer;
        world.slow = true;
        world.decide();
        world.slow = false;
        world.failure = None;
        world.decide();
        assert_ne!(
            world.gang(&app).state,
            GangState::Waiting,
            "the plan is kept until it is known"
        );
        world.tick(10_000);
        world.settle();
        assert!(world.node_of(&app).is_some(), "written: {lost_answer}");
        assert!(world.node_of(&next).is_none());
    }
}

#[test]
fn a_driver_that_the_scheduler_cannot_place_gives_its_room_to_others() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 2, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    assert_eq!(world.plan(&app).0, "n1");
    // Some rule of the scheduler's own keeps it off every node: Filter is never called for it.
    world.tick(10_000);
    world.decide();
    assert_eq!(world.gang(&app).state, GangState::Reserved);
    let other = world.submit(Job::new("other", 1));
    world.decide();
    assert!(world.schedule(&other), "the scheduler lives");
    world.tick(10_000);
    world.decide();
    let next = world.submit(Job::new("next", 3));
    world.decide();
    assert_eq!(world.gang(&app).state, GangState::Unplanned);
    assert!(world.schedule(&next));
    // Whatever was in the way is gone: it asks again, and is the first that gets room.
    assert_eq!(
        world.filter(&app, &["n1".into(), "n2".into()]),
        FilterAnswer::Unresolvable(kompass_planner::filter::GANG_WAITS)
    );
    world.end(&next);
    world.settle();
    assert!(world.node_of(&app).is_some());
}

#[test]
fn a_driver_is_planned_elsewhere_when_its_node_is_never_in_the_list() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let (node, _) = world.plan(&app);
    let rest = [others(&world, &node), vec!["unknown".into()]].concat();
    for _ in 0..4 {
        assert_eq!(world.filter(&app, &rest), FilterAnswer::NotInList);
        world.tick(5_000);
        world.decide();
    }
    assert_eq!(world.plan(&app).0, rest[0]);
    assert_eq!(world.filter(&app, &rest), FilterAnswer::Node(rest[0].clone()));
}

#[test]
fn executors_seen_before_their_driver_find_their_slots() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.settle();
    world.spark();
    world.settle();
    let mut planner = Planner::new(world.config.clone());
    for uid in world.executors(&app) {
        planner.apply_pod(&world.pods[&uid], world.now_ms);
    }
    planner.synced(world.now_ms);
    planner.apply_pod(&world.pods[&app], world.now_ms);
    planner.apply_node(world.nodes["n1"].clone());
    planner.take_over(0);
    planner.decide(world.now_ms);
    planner.check_invariants(true).unwrap();
    let gang = &planner.gangs()[0];
    assert_eq!((gang.executors_bound, gang.slots_free, gang.slots_missing), (3, 0, 0));
}

#[test]
fn pinned_executors_that_can_run_nowhere_are_deleted() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 2, 64), ("n3", 2, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 2).driver(2_000, GIB));
    world.settle();
    let (node, _) = world.plan(&app).1[0].clone();
    let stuck = world.executor(&app);
    assert!(world.pods[&stuck].constraints.required_terms.is_some());
    world.kill_node(&node);
    world.settle();
    assert!(world.pods.contains_key(&stuck));
    world.tick(3_000);
    world.settle();
    assert!(!world.pods.contains_key(&stuck));
    world.spark();
    world.settle();
    assert_eq!(world.gang(&app).executors_bound, 2);
}

#[test]
fn executors_larger_than_planned_are_let_in_and_the_slots_grow() {
    let mut world = World::new(&[("n1", 3, 64), ("n2", 8, 64)]);
    let app = world.submit(Job::new("app", 2));
    world.settle();
    assert_eq!(world.plan(&app).1, vec![("n1".into(), 2)]);
    for _ in 0..2 {
        let executor = world.executor(&app);
        world.change(&executor, |pod| pod.requests = Resources::from_mib(1_500, GIB));
    }
    world.settle();
    assert_eq!(
        (world.gang(&app).executors_bound, world.gang(&app).slots_missing),
        (2, 0)
    );
}

#[test]
fn a_cordoned_node_is_left_and_a_shrunk_one_sheds() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64)]);
    let app = world.submit(Job::new("app", 5));
    world.settle();
    let node = world.node_of(&app).unwrap();
    assert_eq!(world.plan(&app).1, vec![(node.clone(), 5)]);
    world.change_node(&node, |node| node.allocatable = Resources::from_mib(3_000, 64 * GIB));
    world.check();
    assert_eq!(world.plan(&app).1[0], (node.clone(), 2));
    world.change_node(&node, |node| node.cordoned = true);
    world.check();
    assert_eq!(world.plan(&app).1, vec![(others(&world, &node)[0].clone(), 5)]);
}

#[test]
fn a_planner_holds_back_until_its_time_and_a_follower_says_nothing() {
    let mut world = World::new(&[("n1", 4, 64)]);
    world.planner.step_down();
    let app = world.submit(Job::new("app", 1));
    assert!(world.planner.decide(world.now_ms).orders.is_empty());
    world.planner.take_over(world.now_ms + 3_000);
    world.decide();
    assert_eq!(
        world.gang(&app).waiting.map(|reason| reason.code),
        Some(WaitCode::TakingOver)
    );
    assert_eq!(world.planner.next_wake(), Some(world.now_ms + 3_000));
    let bare = world.submit(Job::new("bare", 1));
    world.change(&bare, |pod| pod.gates.clear());
    assert!(matches!(world.filter(&bare, &["n1".into()]), FilterAnswer::NotReady(_)));
    world.tick(3_000);
    world.settle();
    assert!(world.node_of(&app).is_some());
}

#[test]
fn a_deleted_driver_leaves_nothing_behind_at_any_stage() {
    for stage in 0..5 {
        let mut world = World::new(&[("n1", 4, 64)]);
        let app = world.submit(Job::new("app", 3));
        if stage >= 1 {
            world.slow = stage == 1;
            world.decide();
            world.slow = false;
        }
        if stage >= 3 {
            world.settle();
        }
        if stage >= 4 {
            world.spark();
            world.settle();
        }
        world.delete(&app);
        world.settle();
        assert!(world.planner.gangs().is_empty());
        assert_eq!(world.planner.charged().1, 0, "stage {stage}");
        assert_eq!(world.finished.len(), 1, "stage {stage}");
    }
}

#[test]
fn an_executor_with_another_gate_is_not_let_in() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    let executor = world.executor(&app);
    world.change(&executor, |pod| {
        pod.gates = vec![GANG_GATE.into(), "example.com/gate".into()];
    });
    world.settle();
    assert!(world.pods[&executor].has_gate(GANG_GATE));
    world.change(&executor, |pod| pod.gates = vec![GANG_GATE.into()]);
    world.settle();
    assert!(world.node_of(&executor).is_some());
}

#[test]
fn a_gang_that_ended_under_an_earlier_lead_is_not_told_of_again() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    world.end(&app);
    world.planner.step_down();
    world.planner.take_over(world.now_ms);
    world.decide();
    assert!(world.finished.is_empty());
}
