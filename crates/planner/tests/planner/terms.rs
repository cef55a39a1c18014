//! Gangs whose pods have rules about those of others, and others whose pods have rules about those of gangs.

use std::collections::BTreeSet;

use kompass_core::names::{HOST_LABEL, SPARK_ROLE_LABEL, ZONE_LABEL};
use kompass_core::wait::WaitCode;
use kompass_core::{DriverSpacing, PodRules, Spacing};
use kompass_planner::{FilterAnswer, GangState};

use crate::job::Job;
use crate::objects::about;
use crate::world::World;

fn code(world: &World, uid: &str) -> Option<WaitCode> {
    world.gang(uid).waiting.map(|reason| reason.code)
}

/// Apart from pods with the label `app` of this value.
fn apart(topology: &str, app: &str) -> PodRules {
    PodRules {
        apart: vec![about(topology, "app", app)],
        together: vec![],
    }
}

fn together(topology: &str, app: &str) -> PodRules {
    PodRules {
        apart: vec![],
        together: vec![about(topology, "app", app)],
    }
}

/// No executor beside another application's: what `mismatchLabelKeys: [spark-app-selector]` says.
fn exclusive() -> PodRules {
    PodRules {
        apart: vec![about(HOST_LABEL, SPARK_ROLE_LABEL, "executor")],
        together: vec![],
    }
}

fn nodes(world: &World, uid: &str) -> BTreeSet<String> {
    world.plan(uid).1.into_iter().map(|(node, _)| node).collect()
}

/// Two nodes of eight CPUs in each of two zones: `a1`, `a2`, `b1`, `b2`.
fn two_zones() -> World {
    let mut world = World::new(&[]);
    for zone in ["a", "b"] {
        for number in 1..=2 {
            world.add_node_in(&format!("{zone}{number}"), 8, 64, zone);
        }
    }
    world
}

/// Everybody ends and goes, and nothing is left.
fn leave(world: &mut World, apps: &[&str]) {
    for app in apps {
        world.end(app);
        world.settle();
        world.delete(app);
    }
    world.check();
    let ours = world.planner.charged().1;
    let others = world.pods.values().filter(|pod| pod.holds_room()).count() as u64;
    assert_eq!(ours, others);
}

#[test]
fn executors_keep_off_pods_that_they_may_not_be_beside() {
    let mut world = World::new(&[("n1", 16, 64), ("n2", 16, 64), ("n3", 4, 64)]);
    let web = world.foreign_app("n1", "web", PodRules::default());
    world.foreign_app("n2", "other", PodRules::default());
    let app = world.submit(Job::new("app", 6).executor_rules(apart(HOST_LABEL, "web")));
    world.settle();
    assert!(!nodes(&world, &app).contains("n1"), "{:?}", world.plan(&app));
    let large = world.submit(Job::new("large", 20).executor_rules(apart(HOST_LABEL, "web")));
    world.settle();
    assert_eq!(code(&world, &large), Some(WaitCode::TooLarge));
    world.delete(&web);
    world.settle();
    assert!(nodes(&world, &large).contains("n1"), "the other has left");
    leave(&mut world, &[&app, &large]);
}

#[test]
fn a_driver_keeps_off_a_zone() {
    let mut world = two_zones();
    world.foreign_app("a1", "etl", PodRules::default());
    let app = world.submit(Job::new("app", 8).driver_rules(apart(ZONE_LABEL, "etl")));
    world.settle();
    assert!(world.node_of(&app).unwrap().starts_with('b'));
    world.foreign_app("b1", "etl", PodRules::default());
    let other = world.submit(Job::new("other", 1).driver_rules(apart(ZONE_LABEL, "etl")));
    world.settle();
    assert_eq!(code(&world, &other), Some(WaitCode::NoMatchingNode));
    leave(&mut world, &[&app]);
}

#[test]
fn pods_that_want_nobody_near_keep_gangs_away() {
    let mut world = two_zones();
    let alone = PodRules {
        apart: vec![about(ZONE_LABEL, "team", "etl")],
        together: vec![],
    };
    let lonely = world.foreign_app("a1", "lonely", alone.clone());
    let app = world.submit(Job::new("app", 10).label("team", "etl"));
    let free = world.submit(Job::new("free", 3).label("team", "ml"));
    world.settle();
    let planned = nodes(&world, &app);
    assert!(planned.iter().all(|node| node.starts_with('b')), "{planned:?}");
    assert!(world.node_of(&free).is_some(), "whom nobody speaks of goes anywhere");
    // Another such pod, on the only zone that is left.
    world.foreign_app("b2", "lonely", alone);
    let late = world.submit(Job::new("late", 1).label("team", "etl"));
    world.settle();
    assert_eq!(code(&world, &late), Some(WaitCode::NoMatchingNode));
    world.delete(&lonely);
    world.settle();
    assert!(world.node_of(&late).unwrap().starts_with('a'));
    leave(&mut world, &[&app, &free, &late]);
}

#[test]
fn executors_go_to_the_zone_where_what_they_need_is() {
    let mut world = two_zones();
    let app = world.submit(Job::new("app", 8).executor_rules(together(ZONE_LABEL, "cache")));
    world.settle();
    assert_eq!(code(&world, &app), Some(WaitCode::NoMatchingNode), "there is no cache");
    let cache = world.foreign_app("b1", "cache", PodRules::default());
    world.settle();
    let planned = nodes(&world, &app);
    assert!(planned.iter().all(|node| node.starts_with('b')), "{planned:?}");
    // The cache moves before the executors have come.
    world.delete(&cache);
    world.foreign_app("a2", "cache", PodRules::default());
    world.settle();
    let planned = nodes(&world, &app);
    assert!(planned.iter().all(|node| node.starts_with('a')), "{planned:?}");
    leave(&mut world, &[&app]);
}

#[test]
fn who_keeps_to_his_like_may_be_the_first() {
    let mut world = two_zones();
    let rules = together(ZONE_LABEL, "x");
    let job = |name: &str, executors| {
        let job = Job::new(name, executors)
            .label("app", "x")
            .executor_rules(rules.clone());
        job.spacing(Spacing {
            one_zone: true,
            ..Spacing::default()
        })
    };
    let first = world.submit(job("first", 3));
    world.settle();
    let zone = nodes(&world, &first).first().unwrap()[..1].to_owned();
    // The slots of the first count before its executors are there.
    let second = world.submit(job("second", 3));
    world.settle();
    assert!(nodes(&world, &second).iter().all(|node| node.starts_with(&zone)));
    leave(&mut world, &[&first, &second]);
}

#[test]
fn slots_of_others_count_before_their_executors_are_there() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64), ("n3", 8, 64)]);
    let job = |name: &str, executors| Job::new(name, executors).executor_rules(exclusive());
    let first = world.submit(job("first", 7));
    let second = world.submit(job("second", 7));
    world.settle();
    assert!(nodes(&world, &first).is_disjoint(&nodes(&world, &second)));
    let third = world.submit(job("third", 9));
    world.settle();
    assert_eq!(
        code(&world, &third),
        Some(WaitCode::NoRoom),
        "once others have ended it fits, and waits for that"
    );
    let why = world.gang(&third).waiting.unwrap().text;
    assert!(why.contains("not counting 2 where its rules"), "{why}");
    world.spark();
    world.settle();
    assert_eq!(world.gang(&first).executors_bound, 7, "its own don't keep it away");
    assert_eq!(code(&world, &third), Some(WaitCode::NoRoom));
    world.end(&first);
    world.settle();
    assert!(nodes(&world, &third).is_disjoint(&nodes(&world, &second)));
    leave(&mut world, &[&second, &third]);
}

#[test]
fn a_lost_executor_comes_again_beside_those_of_its_gang() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64), ("n3", 8, 64)]);
    let app = world.submit(Job::new("app", 8).executor_rules(exclusive()));
    world.settle();
    world.spark();
    world.settle();
    let lost = nodes(&world, &app)
        .into_iter()
        .find(|node| Some(node) != world.node_of(&app).as_ref());
    world.kill_node(&lost.unwrap());
    world.settle();
    assert_eq!(world.gang(&app).slots_missing, 0, "its own don't keep it away");
    leave(&mut world, &[&app]);
}

#[test]
fn slots_are_moved_when_somebody_comes_who_keeps_them_away() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64)]);
    let app = world.submit(Job::new("app", 2).executor_rules(apart(HOST_LABEL, "web")));
    world.settle();
    let at = nodes(&world, &app).first().unwrap().clone();
    world.foreign_app(&at, "web", PodRules::default());
    world.settle();
    let moved = nodes(&world, &app);
    assert!(!moved.contains(&at) && world.gang(&app).slots_missing == 0, "{moved:?}");
    // And one on the other node too: there is no place any more, until one of them becomes something else.
    let other = moved.first().unwrap().clone();
    let second = world.foreign_app(&other, "web", PodRules::default());
    world.settle();
    assert_eq!(world.gang(&app).slots_missing, 2);
    world.change(&second, |pod| _ = pod.labels.insert("app".into(), "else".into()));
    world.settle();
    assert_eq!(
        (world.gang(&app).slots_missing, nodes(&world, &app).contains(&other)),
        (0, true)
    );
    leave(&mut world, &[&app]);
}

#[test]
fn a_plan_is_made_anew_when_its_driver_is_kept_away_before_it_is_bound() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64)]);
    let app = world.submit(Job::new("app", 1).driver_rules(apart(HOST_LABEL, "web")));
    world.decide();
    let at = world.plan(&app).0;
    assert_eq!(world.gang(&app).state, GangState::Reserved);
    world.foreign_app(&at, "web", PodRules::default());
    world.settle();
    assert!(world.node_of(&app).is_some_and(|node| node != at));
    leave(&mut world, &[&app]);
}

#[test]
fn nobody_beside_the_slots_takes_a_place_that_would_break_a_plan() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64)]);
    let app = world.submit(Job::new("app", 2).executor_rules(apart(HOST_LABEL, "web")));
    world.settle();
    let planned: Vec<String> = nodes(&world, &app).into_iter().collect();
    let all: Vec<String> = world.nodes.keys().cloned().collect();
    let plain = world.plain("web");
    assert!(matches!(world.filter(&plain, &planned), FilterAnswer::Unresolvable(_)));
    assert!(matches!(world.filter(&plain, &all), FilterAnswer::Node(node) if !planned.contains(&node)));
    leave(&mut world, &[&app]);
}

#[test]
fn executors_keep_to_their_driver_or_away_from_it() {
    let spaced = |driver| Spacing {
        driver,
        ..Spacing::default()
    };
    let mut world = two_zones();
    let same = world.submit(Job::new("same", 12).spacing(spaced(DriverSpacing {
        same_zone: true,
        ..DriverSpacing::default()
    })));
    world.settle();
    let zone = world.node_of(&same).unwrap()[..1].to_owned();
    assert!(nodes(&world, &same).iter().all(|node| node.starts_with(&zone)));
    let other = world.submit(Job::new("other", 3).spacing(spaced(DriverSpacing {
        other_node: true,
        other_zone: true,
        ..DriverSpacing::default()
    })));
    world.settle();
    let zone = world.node_of(&other).unwrap()[..1].to_owned();
    assert!(nodes(&world, &other).iter().all(|node| !node.starts_with(&zone)));
    world.spark();
    world.settle();
    assert_eq!(
        (world.gang(&same).executors_bound, world.gang(&other).executors_bound),
        (12, 3)
    );
    // A lost one is replaced by the same rule.
    let lost = nodes(&world, &other).first().unwrap().clone();
    world.kill_node(&lost);
    world.settle();
    assert!(nodes(&world, &other).iter().all(|node| !node.starts_with(&zone)));
    leave(&mut world, &[&same, &other]);
}

#[test]
fn a_planner_that_starts_anew_knows_who_keeps_whom_away() {
    for seed in 0..8 {
        let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64), ("n3", 8, 64)]);
        world.foreign_app("n1", "web", PodRules::default());
        let job = |name: &str| Job::new(name, 6).executor_rules(apart(HOST_LABEL, "web"));
        let first = world.submit(job("first"));
        let second = world.submit(Job::new("second", 4).executor_rules(exclusive()));
        world.settle();
        let plans = (world.plan(&first), code(&world, &second));
        world.restart(seed);
        world.check();
        assert_eq!((world.plan(&first), code(&world, &second)), plans, "seed {seed}");
        world.spark();
        world.settle();
        assert_eq!(world.gang(&first).executors_bound, 6);
    }
}
