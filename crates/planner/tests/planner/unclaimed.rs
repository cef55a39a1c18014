//! Jobs whose code asks for another number of executors than their configuration says.

use kompass_core::wait::WaitCode;
use kompass_planner::GangState;

use crate::job::Job;
use crate::objects;
use crate::world::World;

/// A job that is to have so many executors and asks for as many as it likes, and runs.
fn started(world: &mut World, job: Job) -> String {
    let uid = world.submit(job);
    world.settle();
    world.spark();
    world.settle();
    uid
}

#[test]
fn slots_that_nobody_claims_are_for_others() {
    let mut world = World::new(&[("n1", 9, 64)]);
    let app = started(&mut world, Job::new("app", 8).asks(3));
    let next = world.submit(Job::new("next", 4));
    world.tick(59_000);
    world.settle();
    assert_eq!(world.gang(&app).slots_free, 5, "the rest may still come");
    assert_eq!(
        world.gang(&next).waiting.map(|reason| reason.code),
        Some(WaitCode::NoRoom)
    );
    assert!(
        world
            .planner
            .next_wake()
            .is_some_and(|at_ms| at_ms <= world.now_ms + 1_000)
    );
    world.tick(1_000);
    world.settle();
    let gang = world.gang(&app);
    assert_eq!(
        (gang.slots_free, gang.executors_min, gang.executors_unclaimed),
        (0, Some(3), 5)
    );
    assert!(world.node_of(&next).is_some(), "the room is for others");
}

#[test]
fn what_was_given_up_stays_so_after_a_restart() {
    let mut world = World::new(&[("n1", 9, 64)]);
    let app = started(&mut world, Job::new("app", 8).asks(3));
    world.tick(60_000);
    world.settle();
    let written = world.pods[&app].plan.clone().unwrap();
    assert_eq!((written.executor_count(), written.unclaimed), (3, 5));
    world.restart(1);
    let gang = world.gang(&app);
    assert_eq!(
        (gang.executors_min, gang.slots_missing, gang.slots_free),
        (Some(3), 0, 0)
    );
    world.settle();
    assert_eq!(world.pods[&app].plan.clone().unwrap(), written);
}

#[test]
fn an_executor_that_comes_late_runs_beside_the_slots() {
    let mut world = World::new(&[("n1", 9, 64)]);
    world.webhook = true;
    let app = started(&mut world, Job::new("app", 8).asks(3));
    world.tick(60_000);
    world.settle();
    let late = world.executor(&app);
    world.settle();
    assert!(world.node_of(&late).is_some());
    assert_eq!(
        (world.gang(&app).executors_bound, world.gang(&app).executors_min),
        (4, Some(3))
    );
}

#[test]
fn an_executor_that_waits_or_is_still_to_start_keeps_the_slots() {
    let mut world = World::new(&[("n1", 9, 64)]);
    let app = started(&mut world, Job::new("app", 8).asks(2));
    let third = world.executor(&app);
    world.tick(600_000);
    world.check();
    assert_eq!(world.gang(&app).slots_free, 6, "it is not bound");
    world.schedule(&third);
    world.tick(600_000);
    world.check();
    assert_eq!(world.gang(&app).slots_free, 5, "its image may take long");
    world.schedule_all();
    world.tick(59_000);
    world.check();
    assert_eq!(world.gang(&app).slots_free, 5, "it has only just begun to run");
    world.tick(1_000);
    world.check();
    assert_eq!(world.gang(&app).slots_free, 0);
}

#[test]
fn a_driver_that_has_no_executor_yet_may_take_longer() {
    let mut world = World::new(&[("n1", 9, 64)]);
    let app = started(&mut world, Job::new("app", 8).asks(0));
    world.tick(599_000);
    world.settle();
    assert_eq!(world.gang(&app).slots_free, 8);
    world.tick(1_000);
    world.settle();
    assert_eq!(
        (world.gang(&app).slots_free, world.gang(&app).state),
        (0, GangState::Running)
    );
}

#[test]
fn a_driver_that_does_not_run_yet_keeps_its_slots() {
    let mut world = World::new(&[("n1", 9, 64)]);
    let app = world.submit(Job::new("app", 8));
    world.decide();
    world.schedule(&app);
    world.tick(86_400_000);
    world.check();
    assert_eq!(world.gang(&app).slots_free, 8);
}

#[test]
fn executors_that_were_lost_keep_their_slots() {
    let mut world = World::new(&[("n1", 9, 64)]);
    let app = started(&mut world, Job::new("app", 8).asks(5));
    let lost = world.executors(&app).into_iter().next().unwrap();
    world.delete(&lost);
    world.tick(60_000);
    world.settle();
    let gang = world.gang(&app);
    assert_eq!(
        (gang.executors_bound, gang.slots_free, gang.executors_min),
        (4, 1, Some(5))
    );
}

#[test]
fn a_long_pause_between_batches_is_waited_for() {
    let mut world = World::new(&[("n1", 9, 64)]);
    let mut job = Job::new("app", 8).asks(3);
    job.batch_delay_ms = Some(30_000);
    let app = started(&mut world, job);
    world.tick(299_000);
    world.settle();
    assert_eq!(world.gang(&app).slots_free, 5);
    world.tick(1_000);
    world.settle();
    assert_eq!(world.gang(&app).slots_free, 0);
}

#[test]
fn with_dynamic_allocation_the_minimum_stays() {
    let mut world = World::new(&[("n1", 9, 64)]);
    let app = world.submit(Job::new("app", 4).dynamic(8));
    world.settle();
    world.spark_only(&app, 1);
    world.settle();
    world.tick(3_600_000);
    world.settle();
    assert_eq!(world.gang(&app).executors_min, Some(4));
}

#[test]
fn slots_without_a_node_are_given_up_first() {
    let mut world = World::new(&[("n1", 5, 64), ("n2", 5, 64)]);
    let app = world.submit(Job::new("app", 8));
    world.settle();
    let (driver, executors) = world.plan(&app);
    let (node, count) = executors.into_iter().find(|(node, _)| *node != driver).unwrap();
    world.spark_only(&app, 2);
    world.settle();
    let seated = world.executors(&app).into_iter();
    let seated = seated.filter(|uid| world.node_of(uid) == Some(node.clone())).count() as u64;
    world.kill_node(&node);
    world.settle();
    assert_eq!(world.gang(&app).slots_missing, count);
    world.tick(60_000);
    world.settle();
    let gang = world.gang(&app);
    assert_eq!(gang.executors_min, Some(2), "as many as there were");
    assert_eq!((gang.slots_missing, gang.slots_free), (0, seated));
}

#[test]
fn an_executor_of_a_stage_tells_nothing_of_the_others() {
    let mut world = World::new(&[("n1", 9, 64)]);
    let app = world.submit(Job::new("app", 2));
    world.settle();
    let free = |world: &World| world.planner.summary().slots_free_cpu_milli;
    for (number, profile, slots) in [(1, "1", 2_000), (2, "0", 3_000)] {
        let mut pod = objects::executor(&world.jobs[&app], &app, number, world.now_ms);
        pod.resource_profile_id = Some(profile.into());
        pod.requests.cpu_milli = 1_500;
        world.put(pod);
        assert_eq!(free(&world), slots, "of the resource profile {profile}");
    }
}
