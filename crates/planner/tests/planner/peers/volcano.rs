//! Volcano: its end-to-end tests of gangs. KOMPASS evicts nobody, so those of eviction become what happens instead.

use kompass_core::wait::WaitCode;

use super::{code, group, run, runs, waits};
use crate::job::Job;
use crate::world::World;

/// "Gang scheduling": half of the cluster and one more, while a replica set has half; once that is gone, the gang runs.
#[test]
fn a_gang_waits_whole_while_others_have_half_of_the_cluster() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let replicas: Vec<String> = ["n1", "n1", "n2", "n2"]
        .map(|node| world.foreign(node, 1_000, 1))
        .into();
    let gang = world.submit(group("gang", 5, 1_000, 1));
    run(&mut world);
    assert!(waits(&world, &gang));
    assert_eq!(
        code(&world, &gang),
        Some(WaitCode::TooLarge),
        "nobody knows whether these pods ever go"
    );
    for uid in &replicas {
        world.delete(uid);
    }
    run(&mut world);
    assert!(runs(&world, &gang));
}

/// "Gang Full Occupied": the first gang fills the cluster, and nothing of the second one starts.
#[test]
fn a_second_gang_waits_whole_when_the_first_fills_the_cluster() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let first = world.submit(group("first", 8, 1_000, 1));
    run(&mut world);
    let second = world.submit(group("second", 8, 1_000, 1));
    run(&mut world);
    assert!(runs(&world, &first) && waits(&world, &second));
    world.end(&first);
    run(&mut world);
    assert!(runs(&world, &second));
}

/// Gang eviction GP-1: four nodes of one CPU, a gang of four that could do with two, and a more important one of two. There
/// two tasks of the first are evicted; here a gang that runs keeps all it has, and the other is the next.
#[test]
fn a_more_important_gang_evicts_nobody_and_is_the_next() {
    let mut world = World::new(&[("n1", 1, 8), ("n2", 1, 8), ("n3", 1, 8), ("n4", 1, 8)]);
    let victim = world.submit(Job::new("victim", 1).dynamic(3));
    run(&mut world);
    assert_eq!(world.gang(&victim).executors_bound, 3);
    let other = world.submit(group("other", 2, 1_000, 1));
    let important = world.submit(group("important", 2, 1_000, 1).priority(10));
    run(&mut world);
    assert_eq!(world.gang(&victim).executors_bound, 3, "nobody is evicted");
    // Dynamic allocation lets two go, and they are not replaced before those that wait.
    world.webhook = true;
    for executor in &world.executors(&victim)[1..] {
        world.delete(executor);
    }
    run(&mut world);
    assert!(runs(&world, &important) && waits(&world, &other));
    assert_eq!(world.gang(&victim).executors_bound, 1, "its minimum");
}

/// Scheduling gates: a pod with a gate of somebody else's is no part of any decision until it is removed.
#[test]
fn a_gang_behind_a_foreign_gate_is_passed_and_starts_when_it_is_opened() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let gated = world.submit(group("gated", 4, 1_000, 1));
    world.change(&gated, |pod| pod.gates.push("example.com/gate".into()));
    let other = world.submit(group("other", 4, 1_000, 1));
    run(&mut world);
    assert!(waits(&world, &gated) && runs(&world, &other));
    world.end(&other);
    world.change(&gated, |pod| pod.gates.retain(|gate| gate != "example.com/gate"));
    run(&mut world);
    assert!(runs(&world, &gated));
}
