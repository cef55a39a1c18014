//! Kubernetes scheduler-plugins, Coscheduling: `test/integration/coscheduling_test.go`. Its group of pods is a gang here,
//! the driver one of the pods, and a regular pod is a gang of one.

use kompass_core::wait::WaitCode;

use super::{code, group, run, runs, waits};
use crate::job::Job;
use crate::world::World;

/// One node with 300 (MiB) of memory.
fn one_node() -> World {
    let mut world = World::new(&[("n1", 64, 64)]);
    world.change_node("n1", |node| {
        node.allocatable = kompass_core::Resources::from_mib(64_000, 300);
    });
    world
}

fn members(name: &str, pods: u64, memory_mib: u64) -> Job {
    group(name, pods, 100, memory_mib)
}

/// "equal priority, sequentially" and "interleaved", "with three groups", and the same with minResources: three pods of 50
/// run, four of 100 can't, and no part of them takes the room. What the groups need in all is never written by hand here, so
/// the cases with minResources are these.
#[test]
fn of_equal_priority_the_group_that_fits_runs_and_no_part_of_another_does() {
    for order in [
        &["pg1", "pg2"][..],
        &["pg2", "pg1"],
        &["pg1", "pg2", "pg3"],
        &["pg2", "pg3", "pg1"],
    ] {
        let mut world = one_node();
        for name in order {
            world.submit(if *name == "pg1" {
                members(name, 3, 50)
            } else {
                members(name, 4, 100)
            });
        }
        run(&mut world);
        for name in order {
            assert_eq!(runs(&world, name), *name == "pg1", "{order:?}: {name}");
            assert_eq!(waits(&world, name), *name != "pg1", "{order:?}: {name}");
        }
    }
}

/// "different priority, with three regular pods": three important pods of 100 fill the node, and nothing of the group runs.
#[test]
fn more_important_single_pods_go_before_a_group_that_came_between_them() {
    let mut world = one_node();
    for number in 0..3 {
        world.submit(members(&format!("p{number}"), 1, 100).priority(10));
        if number == 0 {
            world.submit(members("pg1", 3, 50));
        }
    }
    run(&mut world);
    assert!((0..3).all(|number| runs(&world, &format!("p{number}"))));
    assert!(waits(&world, "pg1"));
}

/// "pg1 not meet min and three regular pods", equal priority: the group lacks a member, so the pods run. There its members
/// don't exist; here it is their number that does not fit, and the group is passed because it never can.
#[test]
fn single_pods_pass_a_group_that_can_not_be_complete() {
    let mut world = one_node();
    let large = world.submit(members("pg1", 7, 50));
    for number in 0..3 {
        world.submit(members(&format!("p{number}"), 1, 100));
    }
    run(&mut world);
    assert!(waits(&world, &large));
    assert!((0..3).all(|number| runs(&world, &format!("p{number}"))));
}

/// "different priority, two groups", sequentially and interleaved: the more important one runs, whichever came first.
#[test]
fn the_more_important_group_runs_whichever_came_first() {
    for first in ["low", "high"] {
        let mut world = one_node();
        let second = if first == "low" { "high" } else { "low" };
        for name in [first, second] {
            world.submit(members(name, 3, 100).priority(if name == "high" { 10 } else { 0 }));
        }
        run(&mut world);
        assert!(runs(&world, "high") && waits(&world, "low"), "{first} first");
    }
}

/// "minMember 6, one succeeded and five new": five pods are not six. A member that has ended well counts as gone here too:
/// its slot is kept for another, and the gang is never planned with fewer.
#[test]
fn a_member_that_has_ended_does_not_count() {
    let mut world = World::new(&[("n1", 6, 64)]);
    let gang = world.submit(group("gang", 6, 1_000, 1));
    run(&mut world);
    let ended = world.executors(&gang)[0].clone();
    world.change(&ended, |pod| pod.phase = kompass_core::Phase::Succeeded);
    world.settle();
    assert!(!runs(&world, &gang));
    assert_eq!(
        (world.gang(&gang).slots_free, world.gang(&gang).executors_bound),
        (1, 4)
    );
}

/// "Backoff": on nodes of 6, 2, 2 and 2 CPUs six pods of 4 CPUs never fit; a pod of 2 CPUs behind them is not held up.
#[test]
fn a_group_that_never_fits_holds_up_nobody() {
    let mut world = World::new(&[("n1", 6, 64), ("n2", 2, 64), ("n3", 2, 64), ("n4", 2, 64)]);
    let large = world.submit(group("pg1", 6, 4_000, 1));
    let small = world.submit(group("pg2", 1, 2_000, 1));
    run(&mut world);
    assert_eq!(code(&world, &large), Some(WaitCode::TooLarge));
    assert!(waits(&world, &large) && runs(&world, &small));
}

/// `PostFilter`: with 9 of 10 pods placeable the group goes on waiting with what it has, with 8 of 10 it is rejected. There the
/// pods that have their place hold it meanwhile; here nothing is held for a gang that does not fit as a whole.
#[test]
fn a_group_that_nearly_fits_holds_nothing() {
    for cpus in [9, 8] {
        let mut world = World::new(&[("n1", cpus, 64)]);
        let gang = world.submit(group("gang", 10, 1_000, 1));
        run(&mut world);
        assert!(waits(&world, &gang));
        assert_eq!(world.planner.charged().1, 0, "{cpus} CPUs");
        world.add_node("n2", 10 - cpus, 64);
        run(&mut world);
        assert!(runs(&world, &gang));
    }
}

/// Gated pods don't count: a member behind a gate takes no place. Here executors above the minimum are gated, and leave
/// theirs to a group that waits.
#[test]
fn gated_members_take_no_place() {
    let mut world = World::new(&[("n1", 3, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 1).dynamic(4));
    let busy = world.foreign("n1", 1_000, 1);
    run(&mut world);
    assert_eq!(world.gang(&app).executors_gated, 3);
    let next = world.submit(group("next", 1, 1_000, 1));
    world.decide();
    world.delete(&busy);
    run(&mut world);
    assert!(runs(&world, &next));
}
