//! Palantir k8s-spark-scheduler: the tests of its extender (`internal/extender`, nodes of 8 CPUs, 8 GiB and one GPU) and
//! of its packing library (`pkg/binpack`), as far as they don't ask for one of its packing policies.

use kompass_core::wait::WaitCode;
use kompass_core::{Phase, Resources};
use kompass_planner::FilterAnswer;

use super::{code, equip, run, runs, waits};
use crate::job::Job;
use crate::world::{GIB, World};

fn two_nodes() -> World {
    let mut world = World::new(&[]);
    world.add_node_in("node1", 8, 8, "zone1");
    world.add_node_in("node2", 8, 8, "zone2");
    equip(&mut world, "nvidia.com/gpu", 1);
    world
}

fn both() -> Vec<String> {
    vec!["node1".into(), "node2".into()]
}

/// `TestScheduler`: driver and two executors are placed; a third executor waits until one of them has ended, and then gets
/// its node. There a third one of a static job is refused at once; here it may have room that nobody has reserved
/// (Spark asks for one too many while it does not know yet that another is gone), and is refused only where there is none.
#[test]
fn an_executor_too_many_waits_for_the_node_of_one_that_has_ended() {
    let mut world = World::new(&[("node1", 1, 8), ("node2", 2, 8)]);
    let app = world.submit(Job::new("app", 2));
    run(&mut world);
    assert!(runs(&world, &app));
    let third = world.executor(&app);
    assert!(matches!(world.filter(&third, &both()), FilterAnswer::Unresolvable(_)));
    let ended = world.executors(&app)[0].clone();
    let node = world.node_of(&ended).unwrap();
    world.change(&ended, |pod| pod.phase = Phase::Failed);
    assert_eq!(world.filter(&third, &both()), FilterAnswer::Node(node));
}

/// Dynamic allocation, case 1 (1 to 3 executors): only the first executor has a reservation.
#[test]
fn with_dynamic_allocation_only_the_minimum_is_reserved() {
    let mut world = two_nodes();
    let app = world.submit(Job::new("app", 1).dynamic(3));
    world.settle();
    let plan = world.gang(&app).plan.unwrap();
    assert_eq!(plan.executor_count(), 1);
    assert_eq!(world.planner.charged().1, 2, "driver and one executor");
}

/// Dynamic allocation, cases 2 and 4: executors beyond the minimum go to the driver's node first, and one that asks again
/// takes no more room.
#[test]
fn executors_beyond_the_minimum_go_beside_the_driver_and_are_counted_once() {
    let mut world = two_nodes();
    let app = world.submit(Job::new("app", 1).dynamic(3));
    world.settle();
    let driver = world.node_of(&app).unwrap();
    let executors: Vec<String> = (0..3).map(|_| world.executor(&app)).collect();
    for executor in executors.iter().chain([&executors[2]]) {
        assert_eq!(world.filter(executor, &both()), FilterAnswer::Node(driver.clone()));
    }
    assert_eq!(
        world.planner.charged().1,
        4,
        "driver, one slot's executor and two others"
    );
    assert_eq!(world.gang(&app).plan.unwrap().executor_count(), 1);
}

/// Dynamic allocation, case 3 (1 to 2 executors, the gang on node2): the second executor goes to the fuller node2.
#[test]
fn an_executor_beyond_the_minimum_prefers_the_nodes_of_its_gang() {
    let mut world = two_nodes();
    world.change_node("node1", |node| node.cordoned = true);
    let app = world.submit(Job::new("app", 1).dynamic(2));
    run(&mut world);
    world.change_node("node1", |node| node.cordoned = false);
    let second = world.executor(&app);
    assert_eq!(world.filter(&second, &both()), FilterAnswer::Node("node2".into()));
}

/// Dynamic allocation, case 5: the executor on the reservation ends while another sits beside it; the next one takes the
/// reservation and the other stays where it is.
#[test]
fn the_next_executor_takes_the_slot_that_has_become_free() {
    let mut world = two_nodes();
    let app = world.submit(Job::new("app", 1).dynamic(3));
    world.settle();
    world.spark_only(&app, 2);
    world.settle();
    let plan = world.plan(&app);
    let first = world.executors(&app)[0].clone();
    world.change(&first, |pod| pod.phase = Phase::Failed);
    assert_eq!(world.gang(&app).slots_free, 1);
    let next = world.executor(&app);
    world.settle();
    assert_eq!(world.node_of(&next), Some(plan.1[0].0.clone()));
    assert_eq!((world.gang(&app).slots_free, world.gang(&app).executors_bound), (0, 2));
    assert_eq!(world.plan(&app), plan);
}

/// Compaction: an executor beyond the minimum takes over the reservation of one that has gone for good. There it happens
/// at once; here when nobody has come for a minute, for one that was only lost comes again and finds its slot.
#[test]
fn an_executor_beside_the_slots_counts_for_the_minimum_once_a_slot_stays_free() {
    let mut world = World::new(&[("n1", 4, 8), ("n2", 4, 8)]);
    let uid = world.submit(Job::new("grows", 3).dynamic(6));
    world.settle();
    for _ in 0..5 {
        world.executor(&uid);
    }
    world.settle();
    assert_eq!(world.gang(&uid).executors_bound, 5);
    let first = world.executors(&uid)[0].clone();
    world.delete(&first);
    world.settle();
    assert_eq!(world.gang(&uid).slots_free, 1, "kept for the next one");
    world.tick(59_000);
    world.settle();
    assert_eq!(world.gang(&uid).slots_free, 1);
    world.tick(1_000);
    world.settle();
    let gang = world.gang(&uid);
    assert_eq!((gang.slots_free, gang.slots_missing, gang.executors_bound), (0, 0, 4));
    let (_, plan) = world.plan(&uid);
    assert_eq!(
        plan.iter().map(|(_, count)| count).sum::<u64>(),
        3,
        "the minimum is kept"
    );
    world.check();
}

/// Dynamic allocation within one zone (0 to 2 executors): both go to the driver's zone although the other one is free.
/// There is a switch for it there; here it is a preference that always holds.
#[test]
fn executors_stay_in_the_zone_of_their_driver() {
    let mut world = two_nodes();
    world.change_node("node1", |node| node.cordoned = true);
    let app = world.submit(Job::new("app", 0).dynamic(2));
    world.settle();
    world.change_node("node1", |node| node.cordoned = false);
    world.spark();
    world.settle();
    for executor in world.executors(&app) {
        assert_eq!(world.node_of(&executor).as_deref(), Some("node2"));
    }
}

/// `UnschedulablePodMarker`: two executors fit an empty cluster, a hundred don't, and this is said. There it is a condition
/// after ten minutes; here it is the reason to wait, from the beginning.
#[test]
fn a_gang_larger_than_the_empty_cluster_is_told_so() {
    let mut world = two_nodes();
    let fits = world.submit(Job::new("fits", 2));
    let exceeds = world.submit(Job::new("exceeds", 100));
    run(&mut world);
    assert!(runs(&world, &fits));
    assert_eq!(code(&world, &exceeds), Some(WaitCode::TooLarge));
}

/// GPU: a driver and two executors with one GPU each don't fit two nodes with one GPU each; none of the three is placed.
#[test]
fn three_pods_with_a_gpu_do_not_fit_two_gpus() {
    let mut world = two_nodes();
    let mut job = Job::new("app", 2);
    job.driver.extended = [("nvidia.com/gpu".into(), 1)].into();
    job.executor.extended = [("nvidia.com/gpu".into(), 1)].into();
    let app = world.submit(job);
    run(&mut world);
    assert!(waits(&world, &app));
    assert_eq!(world.planner.charged().1, 0);
}

/// `TestIsEarliest`: whom a driver has to wait for. Other instance groups (here: queues) and drivers that have been
/// scheduled don't count; earlier ones of its own do.
#[test]
fn only_earlier_drivers_of_the_own_queue_that_still_wait_come_first() {
    for (what, queue, seconds, first) in [
        ("an earlier one of its queue", "own", -1, false),
        ("a later one of its queue", "own", 1, true),
        ("an earlier one of another queue", "other", -1, true),
    ] {
        let mut world = World::new(&[("n1", 3, 8)]);
        let running = world.submit(Job::new("running", 0).queue("own"));
        run(&mut world);
        assert!(runs(&world, &running), "what runs is before nobody");
        let driver = world.submit_bare(Job::new("driver", 1).queue("own"));
        let other = world.submit_bare(Job::new("blocker", 5).queue(queue));
        let created_ms = world.pods[&driver].created_ms + seconds * 1_000;
        world.change(&other, |pod| pod.created_ms = created_ms);
        let mut world = again(&world);
        world.profile(&driver);
        world.profile(&other);
        world.add_node("n2", 3, 8);
        world.change_node("n2", |node| node.cordoned = true);
        // Both fit once the second node is open, so the earlier one holds up the other.
        world.change_node("n1", |node| node.allocatable = Resources::from_mib(7_000, 64 * GIB));
        world.settle();
        world.end(&running);
        world.settle();
        assert_eq!(world.node_of(&driver).is_some(), first, "{what}");
    }
}

/// The same cluster seen by a planner that has just started: creation times are read anew.
fn again(world: &World) -> World {
    let mut next = World::with(world.config.clone(), &[]);
    next.now_ms = world.now_ms;
    next.jobs.clone_from(&world.jobs);
    world.nodes.values().for_each(|node| next.put_node(node.clone()));
    world.pods.values().for_each(|pod| next.put(pod.clone()));
    next.foreign("n1", 1_000, 1);
    next
}

/// Static compaction (`cmd/integration`): the reservation of an executor whose pod is missing goes to the next one.
#[test]
fn a_slot_whose_pod_vanished_while_the_planner_was_away_goes_to_the_next_executor() {
    let mut world = World::new(&[("n1", 2, 8), ("n2", 2, 8)]);
    let app = world.submit(Job::new("app", 3));
    run(&mut world);
    let lost = world.executors(&app)[2].clone();
    let node = world.node_of(&lost).unwrap();
    world.slow = true;
    world.delete(&lost);
    world.restart(3);
    world.slow = false;
    let new = world.executor(&app);
    world.settle();
    assert_eq!(world.node_of(&new), Some(node));
    assert!(runs(&world, &app));
}

/// Packing library: an executor too many for the GPUs (4 executors of 4 GPUs and nodes with none left), or for the CPUs
/// (8 executors and a driver on 8 CPUs), is not placed in part.
#[test]
fn a_shortage_of_any_resource_is_a_shortage_of_the_whole() {
    let mut world = World::new(&[("n1", 4, 4), ("n2", 128, 128)]);
    world.change_node("n1", |node| {
        node.allocatable = node.allocatable.clone().with("nvidia.com/gpu", 4);
    });
    let mut job = Job::new("gpus", 4);
    job.executor.extended = [("nvidia.com/gpu".into(), 2)].into();
    let gpus = world.submit(job);
    run(&mut world);
    assert!(waits(&world, &gpus));
    let mut world = World::new(&[("n1", 8, 64)]);
    let cpus = world.submit(Job::new("cpus", 8));
    run(&mut world);
    assert!(waits(&world, &cpus));
    assert_eq!(world.planner.charged().1, 0);
}

/// Zone-aware packing: of two zones that take all, the one that is filled better; across zones where neither does.
#[test]
fn one_zone_if_one_takes_all_and_two_if_not() {
    let zones = |world: &World, uid: &str| {
        let (driver, executors) = world.plan(uid);
        let mut zones: Vec<char> = executors
            .iter()
            .map(|(node, _)| node)
            .chain([&driver])
            .filter_map(|node| node.chars().next())
            .collect();
        zones.dedup();
        zones
    };
    let mut world = World::new(&[]);
    for (name, zone, cpus) in [("a1", "a", 4), ("a2", "a", 4), ("b1", "b", 3), ("b2", "b", 2)] {
        world.add_node_in(name, cpus, 64, zone);
    }
    let tight = world.submit(Job::new("tight", 3));
    world.settle();
    assert_eq!(zones(&world, &tight), ['b'], "less is left over there");
    let wide = world.submit(Job::new("wide", 8));
    world.settle();
    assert!(world.node_of(&wide).is_some(), "across both zones");
}

/// Sorting: nodes without a zone label are of one zone.
#[test]
fn nodes_without_a_zone_are_one_zone() {
    let mut world = World::new(&[("n1", 2, 8), ("n2", 2, 8), ("n3", 4, 8)]);
    for name in ["n1", "n2"] {
        world.change_node(name, |node| node.labels.clear());
    }
    let app = world.submit(Job::new("app", 3));
    world.settle();
    let (driver, executors) = world.plan(&app);
    let one: Vec<&str> = executors.iter().map(|(node, _)| &**node).chain([&*driver]).collect();
    assert!(
        one.iter().all(|node| *node == "n3") || one.iter().all(|node| *node != "n3"),
        "{one:?}"
    );
}
