//! Cases that none of the others has a test for: what an extender meets, and what Spark does. Some more of them are in
//! `scenarios`, `faults` and `model`.

use kompass_core::wait::WaitCode;
use kompass_planner::FilterAnswer;

use super::{code, run, runs, waits};
use crate::job::Job;
use crate::world::World;

/// kube-scheduler looks at a sample of a large cluster: the planned node may not be in it. The plan stays, the answer is
/// empty, and as soon as the node is in the list it is answered.
#[test]
fn a_planned_node_that_is_not_in_the_sample_is_still_the_one() {
    let names: Vec<String> = (0..5_000).map(|number| format!("n{number:04}")).collect();
    let mut world = World::new(&[]);
    for name in &names {
        world.add_node(name, 2, 8);
    }
    let app = world.submit(Job::new("app", 0));
    world.decide();
    let (node, _) = world.plan(&app);
    let sample: Vec<String> = names
        .iter()
        .filter(|name| **name != node)
        .step_by(50)
        .cloned()
        .collect();
    let before = world.gang(&app);
    assert_eq!(world.filter(&app, &sample), FilterAnswer::NotInList);
    assert_eq!(world.gang(&app).plan, before.plan);
    let with = [sample, vec![node.clone()]].concat();
    assert_eq!(world.filter(&app, &with), FilterAnswer::Node(node));
}

/// A hint of one node that is not the planned one: an empty answer, and the reservation is kept however often it comes.
#[test]
fn a_hint_of_another_node_does_not_move_a_plan() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let (node, _) = world.plan(&app);
    let other = if node == "n1" { "n2" } else { "n1" };
    for _ in 0..10 {
        assert_eq!(world.filter(&app, &[other.into()]), FilterAnswer::NotInList);
        world.tick(1_000);
        world.decide();
    }
    assert_eq!(world.plan(&app).0, node);
}

/// The same Filter three times, as in the simulations of preemption: the same answer, and nothing else has changed.
#[test]
fn filter_answers_executors_and_plain_pods_the_same_three_times() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let app = world.submit(Job::new("app", 2));
    world.settle();
    let all: Vec<String> = vec!["n1".into(), "n2".into()];
    for _ in 0..4 {
        let executor = world.executor(&app);
        let first = world.filter(&executor, &all);
        let charged = world.planner.charged();
        for _ in 0..2 {
            assert_eq!(world.filter(&executor, &all), first);
            assert_eq!(world.planner.charged(), charged);
        }
    }
}

/// Ten CPUs and two gangs of six: exactly one runs, and the driver of the other does not.
#[test]
fn of_two_gangs_that_fit_one_at_a_time_only_one_driver_runs() {
    let mut world = World::new(&[("n1", 5, 64), ("n2", 5, 64)]);
    let gangs = [
        world.submit(Job::new("one", 5)),
        world.submit(Job::new("two", 5).queue("another")),
    ];
    run(&mut world);
    assert_eq!(gangs.iter().filter(|gang| runs(&world, gang)).count(), 1);
    assert_eq!(gangs.iter().filter(|gang| waits(&world, gang)).count(), 1);
}

/// Spark writes its ConfigMap after it has created the driver: the profile comes 0, 1, 9 or 60 seconds late. The gang is
/// planned whole, and others pass meanwhile.
#[test]
fn a_profile_may_come_late_and_the_gang_is_still_planned_whole() {
    for seconds in [0, 1, 9, 60] {
        let mut world = World::new(&[("n1", 4, 64)]);
        let app = world.submit_bare(Job::new("app", 2));
        for _ in 0..seconds {
            world.tick(1_000);
            world.decide();
            assert_eq!(code(&world, &app), Some(WaitCode::NoProfile));
        }
        let other = world.submit(Job::new("other", 0));
        world.settle();
        assert!(runs(&world, &other), "{seconds} s");
        world.profile(&app);
        world.settle();
        assert_eq!(world.gang(&app).slots_free, 2, "{seconds} s");
        run(&mut world);
        assert!(runs(&world, &app));
    }
}

/// `spark.kubernetes.driver.master=local[*]`: a driver alone, without any executor.
#[test]
fn a_driver_that_works_alone_needs_only_its_own_room() {
    let mut world = World::new(&[("n1", 1, 8)]);
    let app = world.submit(Job::new("app", 0));
    run(&mut world);
    assert!(runs(&world, &app));
    assert!(world.executors(&app).is_empty());
}

/// An executor dies a hundred times while nothing else is free: each replacement gets the slot, and never are there more
/// than the gang has.
#[test]
fn churn_never_takes_more_than_the_gang_has() {
    let mut world = World::new(&[("n1", 3, 64), ("n2", 2, 64)]);
    let app = world.submit(Job::new("app", 2));
    run(&mut world);
    let other = world.submit(Job::new("other", 1));
    run(&mut world);
    for round in 0..100 {
        let lost = world.executors(&app)[round % 2].clone();
        let node = world.node_of(&lost);
        world.delete(&lost);
        world.spark_only(&app, 2);
        world.settle();
        let new: Vec<String> = world
            .executors(&app)
            .into_iter()
            .filter(|uid| world.node_of(uid).is_some())
            .collect();
        assert_eq!(new.len(), 2);
        assert!(new.iter().any(|uid| world.node_of(uid) == node));
        for uid in world.executors(&app) {
            if world.node_of(&uid).is_none() {
                world.delete(&uid);
            }
        }
    }
    assert!(runs(&world, &other));
}

/// Another scheduler takes reserved room: one event later the plan has moved, before the planner has decided anything.
#[test]
fn lost_room_is_noticed_at_the_next_call() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.decide();
    let (node, _) = world.plan(&app);
    world.foreign(&node, 1_000, 1);
    let all: Vec<String> = vec!["n1".into(), "n2".into()];
    let other = if node == "n1" { "n2" } else { "n1" };
    assert_eq!(world.filter(&app, &all), FilterAnswer::Node(other.into()));
    assert_eq!(world.plan(&app), (other.into(), vec![(other.into(), 3)]));
}
