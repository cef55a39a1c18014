//! Gangs whose executors have rules about each other.

use std::collections::BTreeMap;

use kompass_core::Spacing;
use kompass_core::wait::WaitCode;
use kompass_planner::FilterAnswer;

use crate::job::Job;
use crate::world::World;

fn code(world: &World, uid: &str) -> Option<WaitCode> {
    world.gang(uid).waiting.map(|reason| reason.code)
}

/// Two nodes of eight CPUs in each of three zones: `a1`, `a2`, `b1` and so on.
fn three_zones() -> World {
    let mut world = World::new(&[]);
    for zone in ["a", "b", "c"] {
        for number in 1..=2 {
            world.add_node_in(&format!("{zone}{number}"), 8, 64, zone);
        }
    }
    world
}

/// Planned executors by zone.
fn by_zone(world: &World, uid: &str) -> BTreeMap<String, u64> {
    let mut zones = BTreeMap::new();
    for (node, count) in world.plan(uid).1 {
        *zones.entry(node[..1].to_owned()).or_insert(0) += count;
    }
    zones
}

fn ported() -> Spacing {
    Spacing {
        host_ports: vec![4_040],
        ..Spacing::default()
    }
}

fn one_per_node() -> Spacing {
    Spacing {
        per_node_max: Some(1),
        ..Spacing::default()
    }
}

#[test]
fn executors_with_a_host_port_share_no_node_and_wait_for_it() {
    let mut world = World::new(&[("n1", 16, 64), ("n2", 16, 64), ("n3", 16, 64)]);
    let first = world.submit(Job::new("first", 2).spacing(ported()));
    world.settle();
    let planned = world.plan(&first).1;
    assert!(
        planned.len() == 2 && planned.iter().all(|(_, count)| *count == 1),
        "{planned:?}"
    );
    // The port is kept for executors that have still to come.
    let second = world.submit(Job::new("second", 1).spacing(ported()));
    world.settle();
    let third_node = world.plan(&second).1[0].0.clone();
    assert!(planned.iter().all(|(node, _)| *node != third_node));
    let third = world.submit(Job::new("third", 1).spacing(ported()));
    let other = world.submit(Job::new("other", 1).queue("other"));
    world.settle();
    assert_eq!(code(&world, &third), Some(WaitCode::NoRoom), "no node has the port");
    assert!(world.node_of(&other).is_some(), "who has no port needs none");
    world.spark();
    world.settle();
    assert_eq!(
        world.gang(&first).executors_bound,
        2,
        "an executor takes the port of its slot"
    );
    assert_eq!(code(&world, &third), Some(WaitCode::NoRoom));
    world.end(&second);
    world.settle();
    assert_eq!(world.plan(&third).1, vec![(third_node, 1)]);
    for app in [&first, &third, &other] {
        world.end(app);
        world.settle();
        world.delete(app);
    }
    world.delete(&second);
    world.check();
    assert_eq!(world.planner.charged().1, 0);
}

#[test]
fn a_driver_with_the_executors_port_goes_elsewhere() {
    let mut world = World::new(&[("n1", 16, 64), ("n2", 16, 64)]);
    let app = world.submit(Job {
        driver_ports: vec![4_040],
        ..Job::new("app", 2).spacing(ported())
    });
    world.settle();
    assert_eq!(
        code(&world, &app),
        Some(WaitCode::TooLarge),
        "three of them on two nodes"
    );
    world.add_node("n3", 16, 64);
    world.settle();
    let (driver, executors) = world.plan(&app);
    assert!(
        executors.iter().all(|(node, _)| *node != driver),
        "{executors:?} and {driver}"
    );
}

#[test]
fn one_executor_per_node_and_a_lost_one_is_replaced_elsewhere() {
    let mut world = World::new(&[("n1", 16, 64), ("n2", 16, 64), ("n3", 16, 64)]);
    let app = world.submit(Job::new("app", 3).spacing(one_per_node()));
    let large = world.submit(Job::new("large", 4).spacing(one_per_node()));
    world.settle();
    assert_eq!(world.plan(&app).1.len(), 3);
    assert_eq!(code(&world, &large), Some(WaitCode::TooLarge), "there are three nodes");
    let driver = world.node_of(&app).unwrap();
    let bare = world
        .plan(&app)
        .1
        .into_iter()
        .map(|(node, _)| node)
        .find(|node| *node != driver);
    world.kill_node(&bare.unwrap());
    world.settle();
    assert_eq!(
        world.gang(&app).slots_missing,
        1,
        "there is room, but beside another one"
    );
    world.add_node("n4", 2, 64);
    world.settle();
    assert_eq!(world.gang(&app).slots_missing, 0);
    let planned = world.plan(&app).1;
    assert!(
        planned.contains(&("n4".into(), 1)) && planned.iter().all(|(_, count)| *count == 1),
        "{planned:?}"
    );
}

#[test]
fn executors_beyond_the_minimum_keep_the_rule_too() {
    let mut world = World::new(&[("n1", 16, 64), ("n2", 16, 64), ("n3", 16, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 2).dynamic(5).spacing(one_per_node()));
    world.settle();
    world.spark();
    world.settle();
    let mut on: Vec<_> = world
        .executors(&app)
        .iter()
        .filter_map(|uid| world.node_of(uid))
        .collect();
    on.sort();
    assert_eq!(on, ["n1", "n2", "n3"], "the others wait for nodes");
}

#[test]
fn filter_keeps_the_rule_beyond_the_slots() {
    let mut world = World::new(&[("n1", 16, 64), ("n2", 16, 64), ("n3", 16, 64)]);
    let app = world.submit(Job::new("app", 2).dynamic(5).spacing(one_per_node()));
    world.settle();
    world.spark_only(&app, 2);
    world.settle();
    let more = world.executor(&app);
    let nodes: Vec<String> = world.nodes.keys().cloned().collect();
    let (taken, free): (Vec<_>, Vec<_>) = nodes
        .iter()
        .cloned()
        .partition(|node| world.plan(&app).1.iter().any(|(planned, _)| planned == node));
    assert_eq!(taken.len(), 2);
    assert!(matches!(world.filter(&more, &taken), FilterAnswer::Unresolvable(_)));
    assert_eq!(world.filter(&more, &nodes), FilterAnswer::Node(free[0].clone()));
}

#[test]
fn executors_that_keep_together_are_in_one_zone() {
    let mut world = three_zones();
    let one_zone = Spacing {
        one_zone: true,
        ..Spacing::default()
    };
    let large = world.submit(Job::new("large", 17).spacing(one_zone.clone()));
    let app = world.submit(Job::new("app", 16).spacing(one_zone));
    world.settle();
    assert_eq!(code(&world, &large), Some(WaitCode::TooLarge));
    assert_eq!(by_zone(&world, &app).len(), 1);
    let home = by_zone(&world, &app).into_keys().next().unwrap();
    assert_ne!(world.node_of(&app).unwrap()[..1], home, "the zone is full of executors");
    world.kill_node(&format!("{home}2"));
    world.settle();
    assert_eq!(world.gang(&app).slots_missing, 8, "no other zone is theirs");
    world.add_node_in(&format!("{home}3"), 8, 64, &home);
    world.settle();
    assert_eq!((world.gang(&app).slots_missing, by_zone(&world, &app).len()), (0, 1));
}

#[test]
fn executors_are_spread_over_zones() {
    let mut world = three_zones();
    let skew = |skew| Spacing {
        zone_skew: Some(skew),
        ..Spacing::default()
    };
    let even = world.submit(Job::new("even", 7).spacing(skew(1)));
    world.settle();
    let mut counts: Vec<u64> = by_zone(&world, &even).into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 2, 3]);
    world.end(&even);
    // A zone without room counts all the same.
    for node in ["c1", "c2"] {
        world.change_node(node, |node| node.cordoned = true);
    }
    let four = world.submit(Job::new("four", 4).spacing(skew(2)));
    let five = world.submit(Job::new("five", 5).spacing(skew(2)));
    world.settle();
    assert_eq!(by_zone(&world, &four).into_values().collect::<Vec<_>>(), [2, 2]);
    assert_eq!(code(&world, &five), Some(WaitCode::TooLarge));
}

#[test]
fn a_lost_executor_comes_again_where_the_zones_stay_even() {
    let mut world = three_zones();
    let per_zone = Spacing {
        per_zone_max: Some(1),
        ..Spacing::default()
    };
    let app = world.submit(Job::new("app", 3).spacing(per_zone));
    world.settle();
    assert_eq!(by_zone(&world, &app).into_values().collect::<Vec<_>>(), [1, 1, 1]);
    let driver = world.node_of(&app).unwrap();
    let bare = world
        .plan(&app)
        .1
        .into_iter()
        .map(|(node, _)| node)
        .find(|node| *node != driver)
        .unwrap();
    world.kill_node(&bare);
    world.settle();
    assert_eq!(world.gang(&app).slots_missing, 0, "the zone has another node");
    assert_eq!(by_zone(&world, &app).into_values().collect::<Vec<_>>(), [1, 1, 1]);
}
