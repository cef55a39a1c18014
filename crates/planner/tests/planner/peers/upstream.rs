//! Kubernetes itself (KEP-4671, gang scheduling) and Kueue.

use kompass_planner::GangState;

use super::{group, run, runs, waits};
use crate::job::Job;
use crate::world::World;

/// "gang is scheduled when minCount is satisfied", and all pods are pending while one lacks. There the pods must exist; here
/// they are known before, so it is room that lacks.
#[test]
fn all_of_a_gang_or_none() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 1, 64)]);
    let gang = world.submit(group("gang", 4, 1_000, 1));
    run(&mut world);
    assert!(waits(&world, &gang));
    assert_eq!(world.planner.charged().1, 0);
    world.add_node("n3", 1, 64);
    run(&mut world);
    assert!(runs(&world, &gang));
}

/// "timeout frees the resources of a gang that waits at Permit": room reserved for a driver that is never bound is given up.
#[test]
fn room_of_a_gang_that_is_never_bound_is_given_up() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let stuck = world.submit(group("stuck", 4, 1_000, 1));
    world.decide();
    assert_eq!(world.planner.charged().1, 4);
    let next = world.submit(group("next", 4, 1_000, 1));
    world.tick(60_000);
    world.decide();
    assert_eq!(world.gang(&stuck).state, GangState::Unplanned);
    assert_eq!(world.gang(&next).state, GangState::Reserved, "another has its room");
}

/// Kueue `waitForPodsReady`: a workload whose pods are not ready in time is evicted and queued again. KOMPASS evicts nobody:
/// the driver runs, and its slots are kept for executors that come late. Only where none has come for ten minutes (ten
/// times `unclaimed_after_ms`) others may have the room.
#[test]
fn executors_that_come_late_find_their_slots() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let late = world.submit(group("late", 4, 1_000, 1));
    world.settle();
    let other = world.submit(group("other", 1, 1_000, 1));
    for _ in 0..9 {
        world.tick(60_000);
        world.settle();
    }
    assert!(world.node_of(&other).is_none());
    run(&mut world);
    assert!(runs(&world, &late));
    assert!(waits(&world, &other));
}

/// Kueue, topology-aware placing of a Spark application: driver and executors within one domain where one takes all.
#[test]
fn driver_and_executors_share_a_zone_where_one_takes_all() {
    let mut world = World::new(&[]);
    for (name, zone) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b")] {
        world.add_node_in(name, 2, 64, zone);
    }
    let app = world.submit(Job::new("app", 3));
    world.settle();
    let (driver, executors) = world.plan(&app);
    let zone = &driver[..1];
    assert!(
        executors.iter().all(|(node, _)| node.starts_with(zone)),
        "{driver}: {executors:?}"
    );
}
