//! Apache `YuniKorn`: the gang tests of `k8shim/test/e2e`. Its placeholders are pods; KOMPASS's reservations are slots of a
//! plan, so what is asked of placeholders is asked of slots here.

use std::collections::BTreeMap;

use kompass_core::wait::WaitCode;
use kompass_planner::GangState;

use super::{code, equip, group, run, runs, waits};
use crate::job::Job;
use crate::world::World;

fn placed(world: &World, uid: &str) -> BTreeMap<String, u64> {
    let mut placed = BTreeMap::new();
    for executor in world.executors(uid) {
        *placed.entry(world.node_of(&executor).unwrap()).or_default() += 1;
    }
    placed
}

/// `Verify_Annotation_TaskGroup_Def` and `Multiple_TaskGroups_Nodes`: five placeholders, or three groups of them, become real
/// pods on the nodes where they were. Here three gangs at once, each executor where its slot is.
#[test]
fn executors_go_where_their_slots_are() {
    let mut world = World::new(&[("n1", 3, 64), ("n2", 4, 64), ("n3", 5, 64), ("n4", 6, 64)]);
    let gangs: Vec<String> = [5, 3, 4]
        .iter()
        .map(|&count| world.submit(Job::new(&format!("gang-{count}"), count)))
        .collect();
    world.settle();
    let plans: Vec<_> = gangs
        .iter()
        .map(|gang| world.plan(gang).1.into_iter().collect())
        .collect();
    run(&mut world);
    for (gang, plan) in gangs.iter().zip(plans) {
        assert_eq!(placed(&world, gang), plan, "{gang}");
    }
}

/// `TG_with_More_Than_minMembers`: pods above the minimum are placed as ordinary ones.
#[test]
fn members_above_the_minimum_are_placed_where_there_is_room() {
    let mut world = World::new(&[("n1", 8, 64)]);
    let app = world.submit(Job::new("app", 3).dynamic(5));
    run(&mut world);
    assert_eq!(world.gang(&app).executors_bound, 5);
    assert_eq!(world.plan(&app).1, vec![("n1".into(), 3)]);
}

/// Default (Soft) and Hard style: a part of the gang can be placed nowhere. There the application runs without its gang
/// after a while, or fails. Here it waits, holds up nobody, takes no room, and says why: neither half a gang nor a failure
/// that the user did not ask for.
#[test]
fn a_gang_with_a_member_that_fits_nowhere_waits_and_says_so() {
    let mut world = World::new(&[("n1", 8, 64)]);
    let mut job = Job::new("app", 3);
    job.selector = [("pool".into(), "nowhere".into())].into();
    let app = world.submit(job);
    let other = world.submit(Job::new("other", 7));
    run(&mut world);
    for _ in 0..20 {
        world.tick(60_000);
        run(&mut world);
    }
    assert!(waits(&world, &app));
    assert_eq!(code(&world, &app), Some(WaitCode::NoMatchingNode));
    assert!(runs(&world, &other));
}

/// `GangApp_FIFO_Order`: room for three pods; A (one pod) runs, gang B (three) waits with nothing, C (one) behind it. When A
/// is deleted B runs and C still waits. There B gets two of its three placeholders in the meantime.
#[test]
fn a_gang_waits_whole_and_those_behind_it_wait_too() {
    let mut world = World::new(&[("n1", 3, 64)]);
    let a = world.submit(group("a", 1, 1_000, 1));
    run(&mut world);
    let b = world.submit(group("b", 3, 1_000, 1));
    let c = world.submit(group("c", 1, 1_000, 1));
    run(&mut world);
    assert!(runs(&world, &a) && waits(&world, &b) && waits(&world, &c));
    assert_eq!(world.planner.charged().1, 1, "nothing is kept for half a gang");
    world.delete(&a);
    run(&mut world);
    assert!(runs(&world, &b) && waits(&world, &c));
}

/// A deleted placeholder is asked for again. A slot is no pod and can't be deleted; what can be are the stand-ins that show
/// a lack to autoscalers: the gang's claim does not depend on them.
#[test]
fn deleted_stand_ins_cost_a_gang_nothing() {
    let mut world = World::new(&[("n1", 2, 64)]);
    let app = world.submit(group("app", 4, 1_000, 1));
    world.settle();
    world.tick(1_000);
    world.decide();
    let stand_ins: Vec<String> = world.stand_ins(&app).iter().map(|pod| pod.uid.clone()).collect();
    assert_eq!(stand_ins.len(), 4);
    for uid in &stand_ins {
        world.delete(uid);
    }
    world.add_node("n2", 2, 64);
    run(&mut world);
    assert!(runs(&world, &app));
    assert!(world.stand_ins(&app).is_empty());
}

/// Completed job, and deletion of the originator with or without an owner: no placeholder is left. No slot is, and no
/// stand-in, also while executors without a driver linger.
#[test]
fn nothing_is_kept_for_a_gang_that_has_ended() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let app = world.submit(group("app", 4, 1_000, 1));
    world.settle();
    world.spark_only(&app, 1);
    world.settle();
    let now_ms = world.now_ms;
    world.change(&app, |pod| {
        pod.ended = Some((kompass_core::Outcome::Failed, now_ms));
        pod.phase = kompass_core::Phase::Failed;
    });
    assert_eq!(world.planner.charged().1, 1, "the executor that lingers");
    let next = world.submit(group("next", 3, 1_000, 1));
    run(&mut world);
    assert!(runs(&world, &next));
}

/// `HugePages`: pages of the gang's members count like any other resource.
#[test]
fn huge_pages_count() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64)]);
    equip(&mut world, "hugepages-2Mi", 100);
    let job = |name: &str| {
        let mut job = Job::new(name, 3);
        job.executor.extended = [("hugepages-2Mi".into(), 50)].into();
        job
    };
    let first = world.submit(job("first"));
    let second = world.submit(job("second"));
    run(&mut world);
    assert!(runs(&world, &first));
    assert!(waits(&world, &second), "one of four portions is left");
}

/// Originator unchanged after a restart, and recovery of two gangs and of pending placeholders: the same gangs with the
/// same slots, none twice.
#[test]
fn a_restart_changes_neither_gangs_nor_slots() {
    for seed in 0..8 {
        let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
        let running = world.submit(Job::new("running", 2));
        run(&mut world);
        let started = world.submit(Job::new("started", 3));
        world.settle();
        let pending = world.submit(Job::new("pending", 4));
        world.settle();
        let states =
            |world: &World| [&running, &started, &pending].map(|uid| (world.gang(uid).state, world.gang(uid).plan));
        let before = states(&world);
        let charged = world.planner.charged();
        world.restart(seed);
        world.decide();
        assert_eq!((states(&world), world.planner.charged()), (before, charged));
        assert_eq!(world.gang(&pending).state, GangState::Waiting);
    }
}

/// Priority: of those that wait the most important one is next, also if it is a gang.
#[test]
fn the_most_important_gang_that_waits_is_next() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let running = world.submit(group("running", 4, 1_000, 1));
    run(&mut world);
    for (name, priority) in [("low", -5), ("normal", 0), ("high", 5)] {
        world.submit(group(name, 4, 1_000, 1).priority(priority));
    }
    run(&mut world);
    let mut last = running;
    for next in ["high", "normal", "low"] {
        world.end(&last);
        run(&mut world);
        assert!(runs(&world, next), "{next}");
        last = next.into();
    }
}

/// Foreign pods are counted, from when they are bound until they have ended, also without being deleted.
#[test]
fn foreign_pods_count_until_they_have_ended() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let foreign = world.foreign("n1", 1_000, 1);
    let app = world.submit(group("app", 4, 1_000, 1));
    run(&mut world);
    assert!(waits(&world, &app));
    world.change(&foreign, |pod| pod.phase = kompass_core::Phase::Succeeded);
    run(&mut world);
    assert!(runs(&world, &app));
}

/// `spark_jobs_scheduling`: three jobs submitted at once, three executors each. There without gangs, here none waits half.
#[test]
fn three_jobs_at_once_run_whole_one_after_the_other() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 3, 64)]);
    let mut jobs: Vec<String> = (0..3)
        .map(|number| world.submit(Job::new(&format!("job-{number}"), 3)))
        .collect();
    while !jobs.is_empty() {
        run(&mut world);
        assert!(runs(&world, &jobs[0]));
        assert!(jobs[1..].iter().all(|job| waits(&world, job)));
        world.end(&jobs.remove(0));
    }
}
