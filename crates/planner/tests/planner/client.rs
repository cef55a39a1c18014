//! Executors of client mode: room for the rest of a run is set aside as its earlier runs let expect, and never for long.

use kompass_core::Phase;
use kompass_core::wait::WaitCode;
use kompass_planner::Config;

use crate::job::Job;
use crate::objects;
use crate::world::World;

impl World {
    /// One executor more of a run of a notebook.
    fn client(&mut self, job: &str, run: u64, number: u64) -> String {
        let pod = objects::client(job, run, number, 1_000, self.now_ms);
        let uid = pod.uid.clone();
        self.put(pod);
        uid
    }

    /// All executors of a run go.
    fn end_run(&mut self, job: &str, run: u64) {
        let prefix = format!("client-{job}-{run}-");
        let uids: Vec<String> = self
            .pods
            .keys()
            .filter(|uid| uid.starts_with(&prefix))
            .cloned()
            .collect();
        for uid in uids {
            self.delete(&uid);
        }
    }

    /// A whole run with so many executors at once, from its beginning to its end.
    fn run(&mut self, job: &str, run: u64, executors: u64) {
        for number in 1..=executors {
            let uid = self.client(job, run, number);
            self.settle();
            assert!(self.node_of(&uid).is_some(), "{uid}");
        }
        self.end_run(job, run);
        self.settle();
        assert_eq!(self.aside(), 0, "the run has ended");
    }

    fn aside(&self) -> u64 {
        self.planner.summary().client_slots
    }

    fn waits_for_room(&self, driver: &str) -> bool {
        let waiting = self.gang(driver).waiting.map(|reason| reason.code);
        waiting == Some(WaitCode::NoRoom)
    }
}

#[test]
fn the_second_run_of_a_notebook_finds_room_for_all_of_its_executors() {
    let mut world = World::new(&[("n1", 8, 64)]);
    world.run("notebook", 1, 4);
    let first = world.client("notebook", 2, 1);
    world.settle();
    assert!(world.node_of(&first).is_some());
    assert_eq!(world.aside(), 3);
    let gang = world.submit(Job::new("gang", 4));
    world.settle();
    assert!(world.waits_for_room(&gang), "four are free, and it needs five");
    for number in 2..=4 {
        let uid = world.client("notebook", 2, number);
        world.settle();
        assert!(world.node_of(&uid).is_some(), "{uid}");
    }
    assert_eq!(world.aside(), 0);
    world.end_run("notebook", 2);
    world.settle();
    assert!(world.node_of(&gang).is_some(), "the run has ended");
}

#[test]
fn nothing_is_set_aside_for_a_first_run() {
    let mut world = World::new(&[("n1", 8, 64)]);
    world.run("other", 1, 4);
    world.client("notebook", 1, 1);
    world.settle();
    assert_eq!(world.aside(), 0);
}

#[test]
fn a_gang_of_the_rest_starts_at_once() {
    let mut world = World::new(&[("n1", 8, 64)]);
    world.run("notebook", 1, 4);
    world.client("notebook", 2, 1);
    world.settle();
    let gang = world.submit(Job::new("gang", 3));
    world.settle();
    assert!(world.node_of(&gang).is_some());
    assert_eq!(world.aside(), 3);
}

#[test]
fn what_nobody_comes_for_is_for_others_after_a_minute() {
    let mut world = World::new(&[("n1", 8, 64)]);
    world.run("notebook", 1, 4);
    world.client("notebook", 2, 1);
    world.settle();
    let gang = world.submit(Job::new("gang", 4));
    world.settle();
    world.tick(59_000);
    world.settle();
    assert!(world.node_of(&gang).is_none() && world.aside() == 3);
    assert!(
        world
            .planner
            .next_wake()
            .is_some_and(|at_ms| at_ms <= world.now_ms + 1_000)
    );
    world.tick(1_000);
    world.settle();
    assert_eq!(world.aside(), 0);
    assert!(world.node_of(&gang).is_some());
    let late = world.client("notebook", 2, 2);
    world.settle();
    assert!(world.node_of(&late).is_some(), "it runs where there is room");
    assert_eq!(world.aside(), 0, "once in a run");
}

#[test]
fn the_rest_is_beside_the_first() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 8, 64), ("n3", 8, 64)]);
    world.run("notebook", 1, 6);
    let first = world.client("notebook", 2, 1);
    world.settle();
    let node = world.node_of(&first);
    for number in 2..=6 {
        let uid = world.client("notebook", 2, number);
        world.settle();
        assert_eq!(world.node_of(&uid), node, "{uid}");
    }
}

#[test]
fn an_executor_that_is_lost_leaves_its_room_to_the_next() {
    let mut world = World::new(&[("n1", 5, 64)]);
    world.run("notebook", 1, 4);
    let first = world.client("notebook", 2, 1);
    world.settle();
    world.client("notebook", 2, 2);
    world.settle();
    let gang = world.submit(Job::new("gang", 1));
    world.settle();
    assert!(world.waits_for_room(&gang));
    world.change(&first, |pod| pod.phase = Phase::Failed);
    world.settle();
    assert_eq!(world.aside(), 3);
    assert!(world.waits_for_room(&gang));
    let next = world.client("notebook", 2, 3);
    world.settle();
    assert_eq!((world.node_of(&next).as_deref(), world.aside()), (Some("n1"), 2));
}

#[test]
fn executors_that_found_room_elsewhere_leave_nothing_to_be_kept() {
    let mut world = World::new(&[("n1", 3, 64), ("n2", 3, 64)]);
    world.run("notebook", 1, 3);
    world.client("notebook", 2, 1);
    world.settle();
    assert_eq!(world.aside(), 2);
    // kube-scheduler looks at a sample of the nodes, which does not hold the one where room is set aside.
    let kept = world.node_of("client-notebook-2-exec-001").unwrap();
    let other = if kept == "n1" { "n2" } else { "n1" };
    let second = world.client("notebook", 2, 2);
    let answer = world.filter(&second, &[other.to_owned()]);
    assert!(format!("{answer:?}").contains(other), "{answer:?}");
    assert_eq!(world.aside(), 1);
    world.check();
}

#[test]
fn larger_executors_than_before_are_not_held_up() {
    let mut world = World::new(&[("n1", 4, 64)]);
    world.run("notebook", 1, 2);
    world.client("notebook", 2, 1);
    world.settle();
    let mut large = objects::client("notebook", 2, 2, 3_000, world.now_ms);
    large.uid.push_str("-large");
    let uid = large.uid.clone();
    world.put(large);
    world.settle();
    assert_eq!((world.node_of(&uid).as_deref(), world.aside()), (Some("n1"), 0));
}

#[test]
fn whoever_goes_before_all_others_gets_what_is_set_aside() {
    let config = Config {
        overtakes_max: 3,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 8, 64)]);
    for job in ["a", "b", "c", "d", "e", "f"] {
        world.run(job, 1, 6);
    }
    // Two of the notebooks are always there, with an executor each: without them the gang would have room.
    world.client("a", 2, 1);
    world.settle();
    let gang = world.submit(Job::new("gang", 4));
    world.settle();
    assert!(world.waits_for_room(&gang));
    let mut runs = 0;
    for (before, next) in [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "f")] {
        world.end_run(before, 2);
        world.client(next, 2, 1);
        world.settle();
        if world.node_of(&gang).is_some() {
            break;
        }
        assert!(world.aside() > 0, "as long as the gang is not overdue");
        runs += 1;
    }
    assert!((1..=3).contains(&runs), "{runs} runs went before it");
    assert_eq!(world.aside(), 0);
}

#[test]
fn a_running_gang_that_lost_slots_goes_first() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    let gang = world.submit(Job::new("gang", 6));
    world.settle();
    world.spark();
    world.settle();
    world.add_node("n3", 8, 64);
    world.run("notebook", 1, 9);
    world.client("notebook", 2, 1);
    world.settle();
    assert_eq!(world.aside(), 8, "all that is free");
    let lost = ["n1", "n2"]
        .into_iter()
        .find(|&node| world.node_of(&gang).as_deref() != Some(node));
    world.kill_node(lost.unwrap());
    world.settle();
    let gang = world.gang(&gang);
    assert!(gang.executors_bound < 6, "{gang:?}");
    assert_eq!((gang.slots_missing, world.aside()), (0, 0), "{gang:?}");
}

#[test]
fn a_planner_that_takes_over_knows_the_runs_that_it_has_watched() {
    let mut world = World::new(&[("n1", 8, 64)]);
    world.run("notebook", 1, 4);
    world.client("notebook", 2, 1);
    world.settle();
    assert_eq!(world.aside(), 3);
    world.planner.step_down();
    assert_eq!(world.aside(), 0, "another one leads");
    world.planner.check_invariants(false).unwrap();
    world.end_run("notebook", 2);
    world.planner.take_over(world.now_ms);
    world.client("notebook", 3, 1);
    world.settle();
    assert_eq!(world.aside(), 0, "the last run had one executor");
    world.run("notebook", 4, 4);
    world.client("notebook", 5, 1);
    world.settle();
    assert_eq!(world.aside(), 3);
}

#[test]
fn a_new_process_keeps_nothing_until_it_has_seen_a_run() {
    let mut world = World::new(&[("n1", 8, 64)]);
    world.run("notebook", 1, 4);
    world.client("notebook", 2, 1);
    world.settle();
    world.restart(1);
    world.settle();
    assert_eq!(world.aside(), 0);
    for number in 2..=4 {
        world.client("notebook", 2, number);
        world.settle();
    }
    world.end_run("notebook", 2);
    world.client("notebook", 3, 1);
    world.settle();
    assert_eq!(world.aside(), 3);
}
