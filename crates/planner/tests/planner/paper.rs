//! Conservative backfill: nobody behind the head delays those before it, either.

use kompass_planner::{Action, Backfill, Config};

use crate::job::Job;
use crate::world::World;

const SECOND: i64 = 1_000;

/// A job that is expected to run so long; so many CPUs in all, one a pod.
fn job(name: &str, cpus: u64, seconds: u64) -> Job {
    Job::new(name, cpus - 1).runs(seconds, seconds)
}

/// Twelve CPUs, on some of them a gang that ends after 100 s, and behind it a head that runs 10 s.
fn behind_a_head(depth: usize, running: u64, head: u64) -> World {
    let config = Config {
        backfill: Backfill::Conservative,
        backfill_depth: depth,
        backfill_delay_ms: 1_000_000 * SECOND,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 12, 64)]);
    world.submit(job("running", running, 100));
    world.settle();
    world.spark();
    world.settle();
    waits(&mut world, job("head", head, 10));
    world
}

fn starts(world: &mut World, job: Job) -> bool {
    let uid = world.submit(job);
    world.settle();
    world.node_of(&uid).is_some()
}

fn waits(world: &mut World, job: Job) {
    assert!(!starts(world, job));
}

#[test]
fn whoever_would_delay_the_second_does_not_pass_it() {
    // The second starts after 110 s, when the head has ended; the head leaves two CPUs to others.
    let mut world = behind_a_head(8, 4, 10);
    waits(&mut world, job("second", 12, 10));
    assert!(!starts(&mut world, job("long", 1, 111)));
    assert!(starts(&mut world, job("short", 1, 110)));
}

#[test]
fn only_so_many_are_looked_at() {
    for (depth, passes) in [(1, true), (2, false)] {
        let mut world = behind_a_head(depth, 4, 10);
        waits(&mut world, job("second", 12, 10));
        assert_eq!(starts(&mut world, job("long", 2, 200)), passes, "{depth}");
    }
}

#[test]
fn whoever_has_passed_is_in_the_way_of_the_second_for_those_that_come_later() {
    // Four CPUs are left beside the head, two beside the second.
    let mut world = behind_a_head(8, 6, 8);
    waits(&mut world, job("second", 10, 10));
    assert!(starts(&mut world, job("first-long", 2, 1_000)));
    assert!(!starts(&mut world, job("second-long", 2, 1_000)));
}

#[test]
fn a_gang_is_in_nobodys_way_but_of_those_before_it() {
    // It takes all that the head leaves, so that on paper it is alone there.
    let mut world = behind_a_head(8, 4, 10);
    assert!(starts(&mut world, job("long", 2, 200)));
}

#[test]
fn a_gang_that_has_started_is_not_asked_any_more() {
    let mut world = behind_a_head(8, 6, 8);
    assert!(starts(&mut world, job("first-long", 2, 1_000)));
    assert!(
        starts(&mut world, job("second-long", 2, 1_000)),
        "the head has four CPUs to spare"
    );
}

#[test]
fn a_gang_that_asks_for_less_is_not_asked_for_what_it_wanted() {
    let mut world = behind_a_head(8, 4, 10);
    let second = world.submit(job("second", 12, 10));
    world.settle();
    assert!(!starts(&mut world, job("long", 2, 200)));
    world.jobs.get_mut(&second).unwrap().executors = 9;
    world.profile(&second);
    world.settle();
    assert!(starts(&mut world, job("other-long", 1, 200)));
}

#[test]
fn a_gang_that_waits_for_something_else_is_not_on_paper() {
    let mut world = behind_a_head(8, 4, 10);
    let second = world.submit_bare(job("second", 12, 10));
    world.change(&second, |pod| pod.gates.push("example.com/gate".into()));
    world.profile(&second);
    world.settle();
    assert!(starts(&mut world, job("long", 2, 200)));
}

#[test]
fn what_is_on_paper_is_made_anew_after_a_while() {
    let mut world = behind_a_head(8, 4, 10);
    waits(&mut world, job("second", 12, 10));
    waits(&mut world, job("long", 2, 150));
    // The running gang has outrun what was expected: it ends after 200 s, and the second starts after 210 s.
    world.tick(150 * SECOND);
    world.settle();
    assert!(starts(&mut world, job("other-long", 1, 55)));
}

#[test]
fn what_is_on_paper_is_of_this_head() {
    let mut world = behind_a_head(8, 6, 8);
    world.jobs.get_mut("head").unwrap().runtime = job("", 1, 1_000).runtime;
    world.profile("head");
    waits(&mut world, job("second", 10, 10));
    waits(&mut world, job("third", 12, 10));
    waits(&mut world, job("any", 5, 10_000));
    world.delete("head");
    world.settle();
    // With the second as the head the third starts after 110 s.
    assert!(!starts(&mut world, job("long", 1, 200)));
}

#[test]
fn a_head_that_asks_for_something_else_gets_another_start() {
    let mut world = behind_a_head(8, 4, 10);
    waits(&mut world, job("second", 12, 10));
    assert!(!starts(&mut world, job("long", 3, 200)), "two CPUs are left");
    world.jobs.get_mut("head").unwrap().executors = 8;
    world.profile("head");
    world.delete("second");
    world.settle();
    assert!(starts(&mut world, job("other-long", 3, 199)), "three are");
}

#[test]
fn more_queues_than_are_looked_ahead_for_at_a_time_come_to_rest_and_are_all_served() {
    for backfill in [Backfill::Easy, Backfill::Conservative] {
        let config = Config {
            backfill,
            overtakes_max: 1_000,
            // One piece of work a decision for each.
            backfill_nodes_per_decide: 1,
            ..Config::default()
        };
        let nodes: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
        let nodes: Vec<(&str, u64, u64)> = nodes.iter().map(|name| (name.as_str(), 12, 64)).collect();
        let mut world = World::with(config, &nodes);
        world.submit(job("running", 100, 1_000).queue("first"));
        world.settle();
        for number in 0..40 {
            let queue = format!("q{number}");
            for job in [
                job(&format!("{queue}-head"), 230, 100),
                job(&format!("{queue}-in-the-way"), 20, 2_000),
                job(&format!("{queue}-short"), 2, 500),
            ] {
                world.submit(job.queue(&queue));
            }
        }
        world.deliver(usize::MAX);
        let mut started = 0;
        for decisions in 0.. {
            assert!(decisions < 5_000, "{backfill:?} never comes to rest");
            let decision = world.planner.decide(world.now_ms);
            let gates = decision.orders.iter();
            started += gates
                .filter(|order| matches!(order.action, Action::OpenGate { .. }))
                .count();
            if !decision.again {
                break;
            }
        }
        assert_eq!(started, 40, "{backfill:?}");
    }
}
