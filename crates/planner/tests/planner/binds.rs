//! Binds under way, while all else goes on.

use kompass_planner::{BindRefusal, BindResult, FilterAnswer};

use crate::faults::others;
use crate::job::Job;
use crate::world::{GIB, World};

#[test]
fn a_bind_is_refused_when_the_plan_has_moved() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let (node, _) = world.plan(&app);
    assert_eq!(
        world.filter(&app, std::slice::from_ref(&node)),
        FilterAnswer::Node(node.clone())
    );
    world.foreign(&node, 4_000, GIB);
    let now_ms = world.now_ms;
    assert_eq!(
        world.planner.bind_started(&app, &node, now_ms),
        Err(BindRefusal::NoRoomKept)
    );
    world.decide();
    assert_eq!(world.plan(&app).0, others(&world, &node)[0]);
    assert_eq!(
        world.planner.bind_started(&app, &node, now_ms),
        Err(BindRefusal::NoRoomKept),
        "the plan is elsewhere"
    );
    assert_eq!(
        world.planner.bind_started("nobody", &node, now_ms),
        Err(BindRefusal::UnknownPod)
    );
    world.settle();
    assert_eq!(world.node_of(&app), Some(others(&world, &node)[0].clone()));
}

#[test]
fn a_bind_under_way_keeps_its_room() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let now_ms = world.now_ms;
    world.planner.bind_started(&app, "n1", now_ms).unwrap();
    world.planner.bind_done(&app, "n1", &BindResult::Unknown, now_ms);
    for _ in 0..10 {
        world.tick(9_000);
        world.planner.decide(world.now_ms);
        assert_eq!(world.planner.charged().1, 4);
    }
    // A check tells that it was never written.
    let pod = world.pods[&app].clone();
    world.planner.checked(&app, Some(&pod), world.now_ms);
    world.change_node("n1", |node| node.cordoned = true);
    world.decide();
    assert_eq!(world.planner.charged().1, 0, "it can be given up again");
    world.change_node("n1", |node| node.cordoned = false);
    world.settle();
    assert!(world.node_of(&app).is_some());
}

#[test]
fn a_late_event_does_not_unbind() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 1));
    world.settle();
    let executor = world.executor(&app);
    let old = world.pods[&executor].clone();
    world.settle();
    world.planner.apply_pod(&old, world.now_ms);
    assert_eq!(world.gang(&app).executors_bound, 1);
    world.delete(&executor);
    world.planner.apply_pod(&old, world.now_ms);
    assert_eq!(world.gang(&app).executors_bound, 0);
    assert_eq!(world.planner.summary().pods, 1, "what is gone does not come back");
    world.check();
}

#[test]
fn a_plan_is_kept_while_one_of_two_binds_is_under_way() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    for _ in 0..2 {
        world.planner.bind_started(&app, "n1", world.now_ms).unwrap();
    }
    world.change_node("n1", |node| node.cordoned = true);
    for kept in [4, 4, 0] {
        world.decide();
        assert_eq!(world.planner.charged().1, kept);
        world.planner.bind_done(&app, "n1", &BindResult::Failed, world.now_ms);
    }
}
