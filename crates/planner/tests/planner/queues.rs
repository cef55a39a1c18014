//! Limits, guarantees and fair shares of queues.

use std::collections::BTreeSet;

use kompass_core::wait::WaitCode;
use kompass_planner::{Backfill, Config, Limits, Packing, QueueRules, QueueTable};

use crate::job::Job;
use crate::world::World;

fn cpus(cpus: u64) -> Limits {
    Limits {
        cpu_milli: Some(1_000 * cpus),
        ..Limits::default()
    }
}

fn limit(limit: Limits) -> QueueRules {
    QueueRules {
        limit,
        ..QueueRules::default()
    }
}

fn guarantee(guaranteed: Limits) -> QueueRules {
    QueueRules {
        guaranteed,
        ..QueueRules::default()
    }
}

fn packs(packing: Packing) -> QueueRules {
    QueueRules {
        packing: Some(packing),
        ..QueueRules::default()
    }
}

/// How many nodes a gang's plan is on.
fn spread(world: &World, uid: &str) -> usize {
    let (driver, executors) = world.plan(uid);
    let nodes: BTreeSet<String> = executors.into_iter().map(|(node, _)| node).chain([driver]).collect();
    nodes.len()
}

fn table<const N: usize>(queues: [(&str, QueueRules); N]) -> QueueTable {
    QueueTable {
        queues: queues.map(|(name, rules)| (name.to_owned(), rules)).into(),
    }
}

/// So many CPUs in all, a CPU a pod.
fn job(name: &str, queue: &str, cpus: u64) -> Job {
    Job::new(name, cpus - 1).queue(queue)
}

/// A node of so many CPUs.
fn world(cpus: u64, table: QueueTable) -> World {
    let mut world = World::new(&[("n1", cpus, 256)]);
    world.planner.set_queues(table);
    world
}

fn submit(world: &mut World, job: Job) -> String {
    let uid = world.submit(job);
    world.settle();
    world.spark();
    world.settle();
    uid
}

fn runs(world: &World, uid: &str) -> bool {
    world.node_of(uid).is_some()
}

fn waits(world: &World, uid: &str) -> (WaitCode, String) {
    let reason = world.gang(uid).waiting.expect("it waits");
    (reason.code, reason.text)
}

#[test]
fn a_queue_at_its_limit_waits_and_holds_up_nobody_else() {
    let mut world = world(20, table([("a", limit(cpus(5)))]));
    let first = submit(&mut world, job("first", "a", 3));
    let second = submit(&mut world, job("second", "a", 3));
    // It would fit under the limit, but first come is first served.
    let third = submit(&mut world, job("third", "a", 2));
    let other = submit(&mut world, job("other", "default", 10));
    assert!(runs(&world, &first) && runs(&world, &other));
    let (code, text) = waits(&world, &second);
    assert_eq!(code, WaitCode::QueueLimit);
    assert_eq!(
        text,
        "the queue a has 3000m cpu of the 5000m that it may have, and this needs 3000m"
    );
    assert_eq!(waits(&world, &third).0, WaitCode::BehindOthers);
    assert!(world.stand_ins(&second).is_empty(), "no nodes are bought for it");
    world.end(&first);
    world.settle();
    assert!(runs(&world, &second) && runs(&world, &third));
}

#[test]
fn a_gang_above_the_limit_of_its_queue_says_so_and_lets_others_pass() {
    let memory = Limits {
        memory_bytes: Some(4 << 30),
        ..Limits::default()
    };
    let mut world = world(20, table([("a", limit(memory))]));
    let large = submit(&mut world, job("large", "a", 6));
    let small = submit(&mut world, job("small", "a", 4));
    let (code, text) = waits(&world, &large);
    assert_eq!(code, WaitCode::QueueLimit);
    assert!(
        text.ends_with("more memory than the queue a may have at all (4096 MiB)"),
        "{text}"
    );
    assert!(runs(&world, &small));
}

#[test]
fn executors_beyond_the_minimum_stay_within_the_limit() {
    for gated in [true, false] {
        let mut world = world(20, table([("a", limit(cpus(4)))]));
        world.webhook = gated;
        let uid = world.submit(job("grows", "a", 2).dynamic(10));
        world.settle();
        for _ in 0..6 {
            world.executor(&uid);
        }
        world.settle();
        assert_eq!(world.gang(&uid).executors_bound, 3, "a driver and three executors");
        world.planner.set_queues(table([("a", limit(cpus(6)))]));
        world.settle();
        assert_eq!(world.gang(&uid).executors_bound, 5);
    }
}

#[test]
fn rules_may_change_while_gangs_wait() {
    let mut world = world(20, table([("a", limit(cpus(1)))]));
    let uid = submit(&mut world, job("waits", "a", 3));
    assert_eq!(waits(&world, &uid).0, WaitCode::QueueLimit);
    world.planner.set_queues(table([("a", limit(cpus(3)))]));
    world.settle();
    assert!(runs(&world, &uid));
}

#[test]
fn a_queue_within_its_guarantee_goes_first_and_gets_the_room_that_comes_free() {
    let mut world = world(10, table([("sure", guarantee(cpus(6)))]));
    let borrowed: Vec<String> = (0..5)
        .map(|n| submit(&mut world, job(&format!("borrows-{n}"), "other", 2)))
        .collect();
    assert!(borrowed.iter().all(|uid| runs(&world, uid)), "what nobody uses is lent");
    let sure = submit(&mut world, job("sure", "sure", 6));
    let small = submit(&mut world, job("small", "other", 2));
    for (ended, uid) in borrowed.iter().take(2).enumerate() {
        world.end(uid);
        world.settle();
        assert!(!runs(&world, &small) && !runs(&world, &sure), "{ended}");
    }
    assert_eq!(waits(&world, &small).0, WaitCode::BehindOthers);
    world.end(&borrowed[2]);
    world.settle();
    assert!(runs(&world, &sure) && !runs(&world, &small));
    // What it wants beyond its guarantee is worth no more than what others want.
    let more = submit(&mut world, job("more", "sure", 4));
    world.end(&borrowed[3]);
    world.settle();
    assert!(runs(&world, &small), "{:?}", waits(&world, &more));
}

#[test]
fn room_is_shared_by_weight() {
    let heavy = QueueRules {
        weight: 3,
        ..QueueRules::default()
    };
    let mut world = world(16, table([("heavy", heavy), ("light", QueueRules::default())]));
    for number in 0..16 {
        for queue in ["heavy", "light"] {
            world.submit(job(&format!("{queue}-{number}"), queue, 1));
        }
    }
    world.settle();
    let running = |world: &World, queue: &str| (0..16).filter(|n| runs(world, &format!("{queue}-{n}"))).count();
    assert_eq!((running(&world, "heavy"), running(&world, "light")), (12, 4));
}

#[test]
fn the_scarcest_resource_decides_whose_turn_it_is() {
    // One queue's pods are large in memory, the other's in CPU: both get half of what each needs most.
    let mut world = World::new(&[("n1", 18, 18)]);
    for number in 0..18 {
        world.submit(
            Job::new(&format!("memory-{number}"), 0)
                .driver(100, 2 * 1024)
                .queue("memory"),
        );
        world.submit(Job::new(&format!("cpu-{number}"), 0).driver(2_000, 100).queue("cpu"));
    }
    world.settle();
    let running = |queue: &str| (0..18).filter(|n| runs(&world, &format!("{queue}-{n}"))).count();
    let (memory, cpu) = (running("memory"), running("cpu"));
    assert!(memory.abs_diff(cpu) <= 1 && memory >= 7, "{memory} and {cpu}");
}

#[test]
fn a_label_cannot_get_past_the_rules_of_a_namespace() {
    let mine = QueueRules {
        namespaces: ["mine".to_owned()].into(),
        ..QueueRules::default()
    };
    let mut world = world(10, table([("mine", mine), ("default", limit(cpus(1)))]));
    let stranger = submit(&mut world, job("stranger", "mine", 2));
    assert_eq!(world.gang(&stranger).queue, "default");
    assert_eq!(waits(&world, &stranger).0, WaitCode::QueueLimit);
    // The administrator says that this namespace belongs there.
    world.planner.apply_namespace("spark", Some("mine"));
    world.settle();
    assert_eq!(world.gang(&stranger).queue, "mine");
    assert!(runs(&world, &stranger));
    world.planner.retain_namespaces(|_| false);
    assert_eq!(world.gang(&stranger).queue, "default");
}

#[test]
fn a_gang_that_was_overtaken_often_goes_before_a_guarantee() {
    let config = Config {
        overtakes_max: 2,
        backfill: Backfill::Off,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 8, 64)]);
    world.planner.set_queues(table([("sure", guarantee(cpus(8)))]));
    let first = submit(&mut world, job("first", "sure", 4));
    let large = submit(&mut world, job("large", "other", 8));
    let passing: Vec<String> = (0..3)
        .map(|n| submit(&mut world, job(&format!("sure-{n}"), "sure", 2)))
        .collect();
    assert!(runs(&world, &passing[0]) && runs(&world, &passing[1]));
    assert!(!runs(&world, &passing[2]));
    world.end(&first);
    world.settle();
    assert!(
        !runs(&world, &passing[2]),
        "nothing starts before the one that two have passed"
    );
    world.end(&passing[0]);
    world.end(&passing[1]);
    world.settle();
    assert!(runs(&world, &large));
}

#[test]
fn each_queue_packs_as_it_says_and_the_others_as_the_service_does() {
    let nodes = [("n1", 8, 64), ("n2", 8, 64), ("n3", 8, 64), ("n4", 8, 64)];
    let config = Config {
        packing: Packing::Balanced,
        ..Config::default()
    };
    for (service, silent) in [(Config::default(), 1), (config, 4)] {
        let mut world = World::with(service, &nodes);
        let tight = ("tight", packs(Packing::Tight));
        let rules = [tight, ("even", packs(Packing::Balanced)), ("silent", limit(cpus(20)))];
        world.planner.set_queues(table(rules));
        for (queue, nodes) in [("tight", 1), ("even", 4), ("silent", silent), ("default", silent)] {
            let uid = submit(&mut world, job(queue, queue, 4));
            assert_eq!(spread(&world, &uid), nodes, "{queue}");
            world.end(&uid);
            world.settle();
        }
    }
}

#[test]
fn a_changed_packing_counts_for_gangs_that_are_planned_afterwards() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64), ("n3", 8, 64)]);
    world.planner.set_queues(table([("a", packs(Packing::Tight))]));
    let before = submit(&mut world, job("before", "a", 2));
    world.planner.set_queues(table([("a", packs(Packing::Balanced))]));
    world.settle();
    let after = submit(&mut world, job("after", "a", 2));
    assert_eq!((spread(&world, &before), spread(&world, &after)), (1, 2));
}

#[test]
fn who_waits_for_room_in_one_zone_starts_when_that_is_no_longer_asked() {
    for backfill in [Backfill::Off, Backfill::Easy] {
        let config = Config {
            backfill,
            ..Config::default()
        };
        let mut world = World::with(config, &[]);
        world.add_node_in("a1", 4, 64, "a");
        world.add_node_in("b1", 4, 64, "b");
        world.planner.set_queues(table([("q", packs(Packing::SingleZone))]));
        let first = submit(&mut world, job("first", "q", 6));
        let second = submit(&mut world, job("second", "q", 6));
        assert!(!runs(&world, &first) && !runs(&world, &second));
        world.planner.set_queues(table([("q", packs(Packing::Tight))]));
        world.settle();
        world.tick(250);
        world.settle();
        assert!(runs(&world, &first), "{:?}", waits(&world, &first));
    }
}

#[test]
fn what_a_gang_has_lost_comes_back_in_the_zone_of_its_queue() {
    for (packing, found) in [(Packing::SingleZone, 1), (Packing::Tight, 3)] {
        let mut world = World::new(&[]);
        world.add_node_in("a1", 2, 64, "a");
        world.add_node_in("a2", 2, 64, "a");
        world.planner.set_queues(table([("q", packs(packing))]));
        let uid = submit(&mut world, job("loses", "q", 4));
        assert_eq!(world.gang(&uid).executors_bound, 3);
        world.add_node_in("b1", 8, 64, "b");
        let driver = world.node_of(&uid).unwrap();
        world.kill_node(if driver == "a1" { "a2" } else { "a1" });
        world.settle();
        world.spark();
        world.settle();
        assert_eq!(world.gang(&uid).executors_bound, found, "{packing:?}");
    }
}

#[test]
fn queues_say_what_they_have_and_whose_turn_it_is() {
    let light = QueueRules {
        guaranteed: cpus(2),
        ..limit(cpus(4))
    };
    let heavy = QueueRules {
        weight: 3,
        ..packs(Packing::Tight)
    };
    let mut world = world(
        10,
        table([("light", light), ("heavy", heavy), ("unused", packs(Packing::Balanced))]),
    );
    submit(&mut world, job("heavy-runs", "heavy", 6));
    submit(&mut world, job("light-runs", "light", 3));
    // Heavy has 60 % of the CPU by weight 3, light 30 % by weight 1.
    submit(&mut world, job("heavy-waits", "heavy", 4));
    submit(&mut world, job("light-waits", "light", 2));
    submit(&mut world, job("other", "default", 8));
    let states = world.planner.queue_states();
    let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
    assert_eq!(names, ["default", "heavy", "light", "unused"]);
    let [default, heavy, light, unused] = &states[..] else {
        panic!("{states:#?}")
    };
    assert_eq!(
        (heavy.share_millionths, heavy.dominant.as_deref()),
        (600_000, Some("cpu"))
    );
    assert_eq!((heavy.used.cpu_milli, heavy.used.pods), (Some(6_000), Some(6)));
    assert_eq!((heavy.running, heavy.waiting), (1, 1));
    assert_eq!(
        (heavy.packing, default.packing),
        (Packing::Tight, Packing::SingleZonePreferred)
    );
    // The default queue has nothing yet.
    assert_eq!(
        (default.turn, heavy.turn, light.turn, unused.turn),
        (Some(1), Some(2), None, None)
    );
    let next = light.next.as_ref().unwrap();
    assert_eq!(
        (next.name.as_str(), next.code),
        ("light-waits-driver", WaitCode::QueueLimit)
    );
    assert_eq!(
        (unused.running, unused.waiting, &unused.dominant, &unused.next),
        (0, 0, &None, &None)
    );
}

#[test]
fn executors_beyond_the_minimum_are_placed_as_the_queue_says() {
    for (packing, nodes) in [(Packing::Tight, 1), (Packing::Balanced, 3)] {
        let mut world = World::new(&[("n1", 16, 64), ("n2", 16, 64), ("n3", 16, 64)]);
        world.webhook = true;
        world.planner.set_queues(table([("q", packs(packing))]));
        let uid = world.submit(job("grows", "q", 2).dynamic(7));
        world.settle();
        for _ in 0..7 {
            world.executor(&uid);
        }
        world.settle();
        assert_eq!(world.gang(&uid).executors_bound, 7);
        let on: BTreeSet<_> = world.executors(&uid).iter().map(|uid| world.node_of(uid)).collect();
        assert_eq!(on.len(), nodes, "{packing:?}: {on:?}");
    }
}
