//! Who may overtake the head of a queue, and what that may cost it.

use kompass_core::cluster::{Taint, TaintEffect};
use kompass_core::constraints::Toleration;
use kompass_core::wait::WaitCode;
use kompass_planner::{Backfill, Config};
use proptest::prelude::*;

use crate::job::Job;
use crate::world::World;

const SECOND: i64 = 1_000;

fn easy(delay_s: i64) -> Config {
    Config {
        backfill: Backfill::Easy,
        backfill_delay_ms: delay_s * SECOND,
        unknown_run_ms: 1_000 * SECOND,
        ..Config::default()
    }
}

/// A job that is expected to run so long; one CPU a pod.
fn job(name: &str, executors: u64, seconds: u64) -> Job {
    Job::new(name, executors).runs(seconds, seconds)
}

/// A cluster of one node with a gang on it that has just started, and a head that waits for it to end.
fn behind_a_head(config: Config, cpus: u64, running: Job, head: Job) -> (World, String, String) {
    let mut world = World::with(config, &[("n1", cpus, 64)]);
    let running = world.submit(running);
    world.settle();
    world.spark();
    world.settle();
    assert!(world.node_of(&running).is_some());
    let head = world.submit(head);
    world.settle();
    assert!(world.node_of(&head).is_none());
    (world, running, head)
}

fn starts(world: &mut World, job: Job) -> bool {
    let uid = world.submit(job);
    world.settle();
    world.node_of(&uid).is_some()
}

#[test]
fn a_short_gang_passes_a_head_that_waits_and_a_long_one_does_not() {
    let (mut world, running, head) = behind_a_head(easy(1_000), 8, job("running", 3, 100), job("head", 7, 10));
    assert!(!starts(&mut world, job("long", 1, 101)));
    assert_eq!(
        world.gang("long").waiting.unwrap().code,
        WaitCode::BehindOthers,
        "it has room, and its turn has not come"
    );
    assert!(starts(&mut world, job("short", 1, 100)));
    assert!(!starts(&mut world, job("wide", 2, 1)), "only two CPUs are left");
    world.end("short");
    world.end(&running);
    world.settle();
    assert!(
        world.node_of(&head).is_some(),
        "the head starts when it was expected to"
    );
    assert!(world.node_of("long").is_none());
}

#[test]
fn nobody_passes_where_it_is_off() {
    let config = Config {
        backfill: Backfill::Off,
        ..easy(1_000)
    };
    let (mut world, ..) = behind_a_head(config, 8, job("running", 3, 100), job("head", 7, 10));
    assert!(!starts(&mut world, job("short", 1, 1)));
}

#[test]
fn room_that_the_head_does_not_need_is_for_everybody() {
    // When the running gang ends, twelve CPUs are free, and the head needs ten.
    let (mut world, ..) = behind_a_head(easy(300_000), 12, job("running", 3, 100), job("head", 9, 10));
    assert!(starts(&mut world, job("long", 1, 100_000)));
    assert!(
        !starts(&mut world, job("longer", 0, 100_000)),
        "now it needs all that is left"
    );
}

#[test]
fn the_ninth_decile_counts_not_the_median() {
    let (mut world, ..) = behind_a_head(easy(1_000), 8, job("running", 3, 100), job("head", 7, 10));
    assert!(!starts(&mut world, Job::new("unsteady", 1).runs(10, 101)));
    assert!(starts(&mut world, Job::new("steady", 1).runs(10, 99)));
}

#[test]
fn those_that_overtook_cost_the_head_no_more_than_the_bound_in_the_worst_case() {
    // If it runs three times as long as expected it ends after 150 s.
    let scene = |delay_s| behind_a_head(easy(delay_s), 8, job("running", 3, 1_000), job("head", 7, 10));
    assert!(!starts(&mut scene(149).0, job("short", 1, 50)));
    let (mut world, running, head) = scene(150);
    assert!(starts(&mut world, job("short", 1, 50)));
    // The head could start long before it was expected to, but for the one that passed.
    world.end(&running);
    world.settle();
    assert!(world.node_of(&head).is_none());
    assert!(
        !starts(&mut world, job("tiny", 0, 1)),
        "it waits only for those that passed"
    );
    world.tick(150 * SECOND);
    world.end("short");
    world.settle();
    assert!(world.node_of(&head).is_some());
}

#[test]
fn whoever_takes_nodes_that_the_head_can_not_use_is_not_in_its_way() {
    let (mut world, ..) = behind_a_head(easy(10), 8, job("running", 3, 100), job("head", 7, 10));
    world.add_node("gpu", 8, 64);
    world.change_node("gpu", |node| {
        node.labels.insert("pool".to_owned(), "gpu".to_owned());
        node.taints = vec![Taint {
            key: "pool".to_owned(),
            value: "gpu".to_owned(),
            effect: TaintEffect::NoSchedule,
        }];
    });
    let mut long = job("long", 1, 100_000);
    assert!(!starts(&mut world, long.clone()), "it could take the head's nodes only");
    long.name = "tolerant".to_owned();
    long.tolerations = vec![Toleration {
        key: "pool".to_owned(),
        exists: true,
        ..Toleration::default()
    }];
    long.selector = [("pool".to_owned(), "gpu".to_owned())].into();
    assert!(starts(&mut world, long));
}

#[test]
fn once_the_head_waits_only_for_those_that_overtook_it_nobody_else_does() {
    let (mut world, running, head) = behind_a_head(easy(1_000), 8, job("running", 3, 100), job("head", 5, 10));
    // Two CPUs are to spare when the running gang has ended.
    assert!(starts(&mut world, job("short", 2, 50)));
    world.end(&running);
    world.settle();
    assert!(world.node_of(&head).is_none(), "five CPUs are free, and it needs six");
    assert!(!starts(&mut world, job("tiny", 0, 1)));
    world.end("short");
    world.settle();
    assert!(world.node_of(&head).is_some());
    assert!(world.node_of("tiny").is_some());
}

#[test]
fn the_shortest_goes_first_whatever_its_size() {
    for sizes in [(1, 1), (1, 0)] {
        let mut world = World::with(easy(1_000), &[("n1", 8, 64)]);
        world.submit(job("running", 5, 100));
        world.settle();
        world.spark();
        world.settle();
        world.submit(job("head", 7, 10));
        world.submit(job("long", sizes.0, 90));
        world.submit(job("short", sizes.1, 60));
        world.settle();
        assert!(world.node_of("short").is_some(), "{sizes:?}");
        assert!(world.node_of("long").is_none(), "{sizes:?}: no room is left for both");
    }
}

#[test]
fn without_estimates_earlier_runs_of_the_same_job_tell() {
    let mut world = World::with(easy(1_000), &[("n1", 8, 64)]);
    for name in ["quick", "slow"] {
        world.submit(Job::new(name, 1).key(name));
        world.settle();
        world.tick(if name == "quick" { 50 } else { 5_000 } * SECOND);
        world.end(name);
        world.settle();
    }
    world.submit(job("running", 3, 100));
    world.settle();
    world.spark();
    world.settle();
    world.submit(job("head", 7, 10));
    world.settle();
    assert!(!starts(&mut world, Job::new("slow-again", 1).key("slow")));
    assert!(
        !starts(&mut world, Job::new("never-seen", 1).key("new")),
        "taken for the last ones of its queue"
    );
    assert!(starts(&mut world, Job::new("quick-again", 1).key("quick")));
}

#[test]
fn a_gang_that_outruns_what_was_expected_moves_the_reservation() {
    let (mut world, ..) = behind_a_head(easy(1_000), 8, job("running", 3, 100), job("head", 7, 10));
    world.tick(150 * SECOND);
    world.settle();
    // It is expected to end after 200 s now.
    assert!(!starts(&mut world, job("long", 0, 51)));
    assert!(starts(&mut world, job("short", 0, 50)));
}

#[test]
fn a_head_is_overtaken_only_so_often() {
    let config = Config {
        backfills_max: 3,
        ..easy(1_000)
    };
    let (mut world, ..) = behind_a_head(config, 8, job("running", 3, 100), job("head", 7, 10));
    for number in 0..3 {
        let name = format!("short-{number}");
        assert!(starts(&mut world, job(&name, 0, 1)));
        world.end(&name);
        world.settle();
    }
    assert!(!starts(&mut world, job("one-more", 0, 1)));
}

#[test]
fn a_planner_that_restarts_learns_from_drivers_that_have_ended() {
    let mut world = World::with(easy(1_000), &[("n1", 8, 64)]);
    for (name, seconds) in [("quick", 50), ("slow", 5_000)] {
        world.submit(Job::new(name, 1).key(name));
        world.settle();
        world.tick(seconds * SECOND);
        world.end(name);
        world.settle();
    }
    world.submit(job("running", 3, 100));
    world.settle();
    world.spark();
    world.settle();
    world.submit(job("head", 7, 10));
    world.settle();
    world.restart(7);
    assert!(!starts(&mut world, Job::new("slow-again", 1).key("slow")));
    assert!(starts(&mut world, Job::new("quick-again", 1).key("quick")));
}

/// The same head with a taste for other nodes besides, on which it is in nobody's way.
fn tolerant(name: &str) -> Job {
    let mut job = job(name, 1, 100_000);
    job.tolerations = vec![Toleration {
        key: "pool".to_owned(),
        exists: true,
        ..Toleration::default()
    }];
    job.selector = [("pool".to_owned(), "gpu".to_owned())].into();
    job
}

#[test]
fn a_head_that_is_gone_is_asked_nothing() {
    let (mut world, _, head) = behind_a_head(easy(10), 8, job("running", 3, 100), job("head", 7, 10));
    world.add_node("gpu", 8, 64);
    world.change_node("gpu", |node| {
        node.labels.insert("pool".to_owned(), "gpu".to_owned());
        node.taints = vec![Taint {
            key: "pool".to_owned(),
            value: "gpu".to_owned(),
            effect: TaintEffect::NoSchedule,
        }];
    });
    assert!(!starts(&mut world, job("next", 7, 10)));
    assert!(starts(&mut world, tolerant("first")));
    world.delete(&head);
    world.settle();
    assert!(starts(&mut world, tolerant("second")));
}

#[test]
fn room_that_comes_brings_the_head_forward_past_several_ends() {
    let mut world = World::with(easy(1_000), &[("n1", 14, 64)]);
    for (name, seconds) in [("first", 100), ("second", 200), ("third", 300)] {
        world.submit(job(name, 1, seconds));
    }
    let foreign = world.foreign("n1", 4_000, 1);
    world.settle();
    world.spark();
    world.settle();
    world.submit(job("head", 9, 10));
    world.settle();
    // Four CPUs are free: with all three ended there is just enough.
    assert!(!starts(&mut world, job("behind-the-third", 0, 301)));
    world.delete(&foreign);
    world.settle();
    assert!(
        !starts(&mut world, job("before-the-second", 3, 200)),
        "the head starts after 100 s"
    );
    assert!(starts(&mut world, job("before-the-first", 3, 100)));
}

#[test]
fn a_gang_is_expected_to_end_as_others_of_its_queue_that_have_ended_meanwhile() {
    let mut world = World::with(easy(1_000), &[("n1", 8, 64)]);
    for name in ["early", "ends"] {
        world.submit(Job::new(name, 0));
    }
    world.settle();
    world.tick(100 * SECOND);
    world.end("early");
    world.submit(Job::new("running", 3));
    world.settle();
    world.spark();
    world.settle();
    world.submit(job("head", 7, 10));
    world.settle();
    assert!(!starts(&mut world, job("long", 0, 101)));
    // One of 200 s: the running gang is expected to take that long.
    world.tick(50 * SECOND);
    world.end("ends");
    world.settle();
    assert!(starts(&mut world, job("short", 0, 100)));
}

#[test]
fn a_gang_that_outruns_what_was_expected_does_so_at_that_very_moment() {
    let (mut world, ..) = behind_a_head(easy(1_000), 8, job("running", 3, 100), job("head", 7, 10));
    assert!(!starts(&mut world, job("long", 0, 101)));
    world.tick(100 * SECOND);
    world.settle();
    assert!(starts(&mut world, job("short", 0, 1)));
}

#[test]
fn a_gang_whose_driver_is_bound_runs_from_then_on() {
    let mut world = World::with(easy(1_000), &[("n1", 8, 64)]);
    let running = world.submit(job("running", 3, 100));
    world.decide();
    assert!(world.schedule(&running));
    world.submit(job("head", 7, 10));
    world.decide();
    world.tick(50 * SECOND);
    world.submit(job("long", 0, 51));
    world.submit(job("short", 0, 50));
    world.decide();
    let opened = |world: &World, uid: &str| world.pods[uid].gates.is_empty();
    assert!(!opened(&world, "long"));
    assert!(opened(&world, "short"));
}

#[test]
fn other_schedulers_drivers_teach_nothing() {
    let (mut world, ..) = behind_a_head(easy(1_000), 8, job("running", 3, 100), job("head", 7, 10));
    let mut foreign = crate::objects::driver(&Job::new("foreign", 0), "foreign".to_owned(), 0);
    let run = (kompass_core::Outcome::Succeeded, world.now_ms);
    foreign.scheduler = "default-scheduler".to_owned();
    foreign.profile = Some(Job::new("foreign", 0).key("quick").profile());
    (foreign.started_ms, foreign.ended) = (Some(world.now_ms - SECOND), Some(run));
    world.put(foreign);
    assert!(!starts(&mut world, Job::new("quick", 0).key("quick")));
}

#[test]
fn a_gang_whose_job_is_forgotten_is_expected_to_end_as_others() {
    let mut world = World::with(easy(1_000), &[("n1", 8, 64)]);
    world.submit(Job::new("earlier", 0).key("job").queue("other"));
    world.settle();
    world.tick(50 * SECOND);
    world.end("earlier");
    world.submit(Job::new("running", 3).key("job"));
    world.settle();
    world.spark();
    world.settle();
    world.submit(job("head", 7, 10));
    world.settle();
    assert!(!starts(&mut world, job("long", 0, 60)));
    // So many other jobs have run since that nothing is known of this one, and all took longer.
    for number in 0..3_000 {
        let job = Job::new(&format!("other-{number}"), 0).queue("other");
        let mut driver = crate::objects::driver(&job, job.name.clone(), world.now_ms);
        driver.profile = Some(job.profile());
        driver.started_ms = Some(world.now_ms - 500 * SECOND);
        driver.ended = Some((kompass_core::Outcome::Succeeded, world.now_ms));
        world.planner.apply_pod(&driver, world.now_ms);
        world.planner.delete_pod(&driver.uid, world.now_ms);
    }
    assert!(starts(&mut world, job("other-long", 0, 59)));
}

/// One gang to come: when (seconds after the one before), executors, run time.
fn gangs() -> impl Strategy<Value = Vec<(i64, u64, u64)>> {
    proptest::collection::vec((0..20_i64, 0..12_u64, 1..200_u64), 1..30)
}

/// Who has started after each arrival, with so much work in one decision.
fn course(backfill: Backfill, nodes_per_decide: usize, gangs: &[(i64, u64, u64)]) -> Vec<Vec<bool>> {
    let config = Config {
        backfill,
        backfill_nodes_per_decide: nodes_per_decide,
        ..easy(1_000)
    };
    let mut world = World::with(config, &[("n1", 8, 64), ("n2", 6, 64), ("n3", 3, 64)]);
    let mut ends: Vec<(i64, String)> = Vec::new();
    let mut course = Vec::new();
    let mut now_s = 0;
    for (number, &(after_s, executors, seconds)) in gangs.iter().enumerate() {
        now_s += after_s;
        world.tick(after_s * SECOND);
        ends.retain(|(end_s, uid)| {
            let runs = *end_s > now_s || world.node_of(uid).is_none();
            if !runs {
                world.end(uid);
            }
            runs
        });
        world.settle();
        let uid = world.submit(job(&format!("gang-{number}"), executors, seconds));
        ends.push((now_s + i64::try_from(seconds).unwrap(), uid));
        world.settle();
        course.push(ends.iter().map(|(_, uid)| world.node_of(uid).is_some()).collect());
    }
    course
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn work_in_slices_comes_to_the_same(gangs in gangs()) {
        prop_assert_eq!(course(Backfill::Easy, 1, &gangs), course(Backfill::Easy, usize::MAX, &gangs));
        // What is on paper here is kept for a while, so that it may differ by who had ended when it was made.
        let order = course(Backfill::Conservative, 1, &gangs).len();
        prop_assert_eq!(order, gangs.len(), "it comes to rest after each");
    }
}
