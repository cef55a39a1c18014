//! Gangs that start, wait, run and end as they should.

use kompass_core::wait::WaitCode;
use kompass_planner::{Action, Config, FilterAnswer, GangState, Limits, Quota};

use crate::job::Job;
use crate::world::{GIB, World};

fn code(world: &World, uid: &str) -> Option<WaitCode> {
    world.gang(uid).waiting.map(|reason| reason.code)
}

#[test]
fn a_gang_starts_runs_and_ends() {
    let mut world = World::new(&[("n1", 8, 8), ("n2", 8, 8)]);
    let app = world.submit_bare(Job::new("app", 2));
    world.decide();
    assert_eq!(code(&world, &app), Some(WaitCode::NoProfile));
    world.profile(&app);
    world.settle();
    assert_eq!(world.gang(&app).state, GangState::DriverBound);
    assert_eq!(world.gang(&app).slots_free, 2);
    world.tick(5_000);
    world.spark();
    world.settle();
    assert_eq!(world.gang(&app).state, GangState::Running);
    assert_eq!((world.gang(&app).executors_bound, world.gang(&app).slots_free), (2, 0));
    world.tick(60_000);
    world.end(&app);
    world.settle();
    let [finished] = world.finished.as_slice() else {
        panic!("{:?}", world.finished)
    };
    assert_eq!((finished.executors_peak, finished.executor_ms), (2, 120_000));
    assert_eq!(
        (finished.run_ms, finished.wait_ms, finished.whole),
        (Some(65_000), 0, true)
    );
    assert!(world.planner.gangs().is_empty());
    world.delete(&app);
    assert_eq!(world.planner.charged().1, 0);
}

/// Volcano, "Gang Full Occupied".
#[test]
fn two_gangs_that_do_not_fit_together_start_one_after_the_other() {
    let mut world = World::new(&[("n1", 10, 64)]);
    let first = world.submit(Job::new("first", 5));
    world.tick(1_000);
    let second = world.submit(Job::new("second", 5));
    world.settle();
    assert!(world.node_of(&first).is_some());
    assert!(
        world.node_of(&second).is_none(),
        "its driver must not start without its executors"
    );
    assert_eq!(code(&world, &second), Some(WaitCode::NoRoom));
    world.end(&first);
    world.settle();
    assert!(world.node_of(&second).is_some());
}

#[test]
fn an_executor_more_than_the_gang_is_let_in_only_where_room_is_unreserved() {
    // One driver and two executors of one CPU on two nodes of eight; the rest belongs to a second gang.
    let mut world = World::new(&[("n1", 2, 8), ("n2", 2, 8)]);
    let app = world.submit(Job::new("app", 2));
    world.settle();
    world.spark();
    world.settle();
    let other = world.submit(Job::new("other", 0));
    world.settle();
    assert!(world.node_of(&other).is_some());
    let third = world.executor(&app);
    let nodes: Vec<String> = vec!["n1".into(), "n2".into()];
    assert!(matches!(world.filter(&third, &nodes), FilterAnswer::Unresolvable(_)));
    let lost = world.executors(&app)[0].clone();
    let node = world.node_of(&lost).unwrap();
    world.delete(&lost);
    assert_eq!(world.filter(&third, &nodes), FilterAnswer::Node(node));
}

#[test]
fn the_executors_rules_are_their_own() {
    let mut world = World::new(&[]);
    world.add_node_in("n1", 8, 8, "a");
    world.add_node_in("n2", 8, 8, "b");
    let mut job = Job::new("app", 3);
    job.selector = [("pool".into(), "pool-b".into())].into();
    let app = world.submit(job);
    world.settle();
    assert_eq!(world.plan(&app), ("n2".into(), vec![("n2".into(), 3)]));
    let mut job = Job::new("nowhere", 1);
    job.selector = [("pool".into(), "gpu".into())].into();
    let nowhere = world.submit(job);
    world.settle();
    assert_eq!(code(&world, &nowhere), Some(WaitCode::NoMatchingNode));
}

/// Palantir k8s-spark-scheduler, the GPU case of its extender's tests.
#[test]
fn every_extended_resource_counts() {
    let mut world = World::new(&[("n1", 64, 64), ("n2", 64, 64)]);
    for name in ["n1", "n2"] {
        world.change_node(name, |node| {
            node.allocatable = node.allocatable.clone().with("nvidia.com/gpu", 1);
        });
    }
    let gpu = |name: &str, executors| {
        let mut job = Job::new(name, executors);
        job.executor.extended = [("nvidia.com/gpu".into(), 1)].into();
        job.driver.extended = [("nvidia.com/gpu".into(), 1)].into();
        job
    };
    let large = world.submit(gpu("large", 2));
    let small = world.submit(gpu("small", 1));
    world.settle();
    assert_eq!(code(&world, &large), Some(WaitCode::TooLarge));
    assert!(world.node_of(&small).is_some(), "what can never fit holds nobody up");
    let third = world.submit(Job::new("cpu", 3));
    world.settle();
    assert!(world.node_of(&third).is_some());
}

/// Scheduler-plugins, "Backoff", and Palantir k8s-spark-scheduler, `UnschedulablePodMarker`.
#[test]
fn a_gang_larger_than_the_cluster_does_not_block_and_starts_once_nodes_come() {
    let mut world = World::new(&[("n1", 4, 16)]);
    let large = world.submit(Job::new("large", 12));
    world.tick(2_000);
    let small = world.submit(Job::new("small", 3));
    world.settle();
    assert_eq!(code(&world, &large), Some(WaitCode::TooLarge));
    assert!(world.node_of(&small).is_some());
    assert!(
        world.stand_ins(&large).is_empty(),
        "nodes are asked for only after a while"
    );
    world.tick(1_000);
    world.decide();
    assert_eq!(world.stand_ins(&large).len(), 13, "the whole gang at once");
    assert_eq!(world.planner.demands(), vec![large.clone()]);
    for name in ["n2", "n3", "n4"] {
        world.add_node(name, 4, 16);
    }
    world.tick(1_000);
    world.settle();
    assert!(world.node_of(&large).is_none(), "12 free CPUs are not 13");
    assert_eq!(code(&world, &large), Some(WaitCode::NodesRequested));
    world.add_node("n5", 4, 16);
    world.settle();
    assert!(world.node_of(&large).is_some());
    assert!(world.stand_ins(&large).is_empty(), "no stand-in is left");
}

/// Palantir k8s-spark-scheduler, `TestIsEarliest`; `YuniKorn`, `GangApp_FIFO_Order`.
#[test]
fn strict_order_within_a_queue_and_none_between_queues() {
    let mut world = World::new(&[("n1", 6, 64)]);
    let running = world.submit(Job::new("running", 3));
    world.settle();
    world.tick(1_000);
    let head = world.submit(Job::new("head", 4));
    world.tick(1_000);
    let behind = world.submit(Job::new("behind", 0));
    let other = world.submit(Job::new("other", 0).queue("other"));
    world.settle();
    assert!(world.node_of(&head).is_none());
    assert_eq!(code(&world, &behind), Some(WaitCode::BehindOthers));
    assert_eq!(world.gang(&behind).waiting.unwrap().position, 2);
    assert_eq!(world.planner.gang("spark", "behind-driver"), Some(world.gang(&behind)));
    assert_eq!(world.planner.gang("other", "behind-driver"), None);
    assert!(world.node_of(&other).is_some(), "another queue goes on");
    let urgent = world.submit(Job::new("urgent", 0).priority(10));
    world.settle();
    assert!(world.node_of(&urgent).is_some(), "priority goes first");
    world.end(&running);
    world.end(&other);
    world.end(&urgent);
    world.settle();
    assert!(world.node_of(&head).is_some());
    assert!(world.node_of(&behind).is_some());
}

#[test]
fn who_is_no_longer_the_head_is_told_so_and_has_no_claim() {
    let mut world = World::new(&[("n1", 6, 64)]);
    let running = world.submit(Job::new("running", 3));
    world.settle();
    let first = world.submit(Job::new("first", 3));
    world.settle();
    assert_eq!(code(&world, &first), Some(WaitCode::NoRoom));
    let urgent = world.submit(Job::new("urgent", 4).priority(5));
    world.settle();
    assert_eq!(code(&world, &urgent), Some(WaitCode::NoRoom));
    assert_eq!(code(&world, &first), Some(WaitCode::BehindOthers));
    assert_eq!(world.gang(&first).waiting.unwrap().position, 2);
    world.end(&urgent);
    world.settle();
    assert_eq!(code(&world, &first), Some(WaitCode::NoRoom), "it is the head again");
    world.end(&running);
    world.settle();
    assert!(world.node_of(&first).is_some());
}

#[test]
fn a_head_is_overtaken_by_other_queues_only_so_often() {
    let config = Config {
        overtakes_max: 3,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 10, 64)]);
    let running = world.submit(Job::new("running", 4));
    world.settle();
    let head = world.submit(Job::new("head", 7));
    world.settle();
    let mut started = 0;
    let mut last = None;
    for number in 0..10 {
        let small = world.submit(Job::new(&format!("small-{number}"), 0).queue("small"));
        world.settle();
        started += u64::from(world.node_of(&small).is_some());
        last = Some(small);
    }
    assert_eq!(started, 3);
    assert_eq!(code(&world, &last.unwrap()), Some(WaitCode::BehindOthers));
    world.end(&running);
    for number in 0..3 {
        world.end(&format!("small-{number}"));
    }
    world.settle();
    assert!(world.node_of(&head).is_some());
    assert!(world.node_of("small-3").is_some());
}

#[test]
fn a_thousand_drivers_of_the_same_second_start_in_the_order_of_arrival() {
    let mut world = World::new(&[("n1", 2, 1024)]);
    let names: Vec<String> = (0..1000).map(|n| format!("job-{:04}", (n * 7919) % 1000)).collect();
    for name in &names {
        world.submit(Job::new(name, 1));
    }
    for name in &names[..20] {
        world.settle();
        assert!(world.node_of(name).is_some(), "{name}");
        world.end(name);
    }
}

#[test]
fn a_gang_waits_for_its_quota_and_others_pass() {
    let mut world = World::new(&[("n1", 64, 64)]);
    let quota = |cpu_milli| Quota {
        hard: Limits {
            cpu_milli: Some(cpu_milli),
            ..Limits::default()
        },
        used: Limits::default(),
    };
    world.planner.apply_quota("spark", "q", quota(7_000));
    let first = world.submit(Job::new("first", 3));
    let second = world.submit(Job::new("second", 3));
    let mut job = Job::new("third", 3);
    job.namespace = "free".into();
    let third = world.submit(job);
    world.settle();
    // Two drivers and six executors would be eight CPUs.
    assert!(world.node_of(&first).is_some());
    assert_eq!(code(&world, &second), Some(WaitCode::ResourceQuota));
    assert!(world.node_of(&third).is_some());
    world.spark();
    world.settle();
    assert_eq!(
        code(&world, &second),
        Some(WaitCode::ResourceQuota),
        "executors that came are not counted twice"
    );
    world.planner.apply_quota("spark", "q", quota(8_000));
    world.settle();
    assert!(world.node_of(&second).is_some());
}

/// Scheduler-plugins: gated pods don't count.
#[test]
fn a_foreign_gate_holds_only_its_own_gang() {
    let mut world = World::new(&[("n1", 8, 8)]);
    let held = world.submit(Job::new("held", 1));
    world.change(&held, |pod| pod.gates.push("kueue".into()));
    let next = world.submit(Job::new("next", 1));
    world.settle();
    assert_eq!(code(&world, &held), Some(WaitCode::ForeignGate));
    assert!(world.node_of(&next).is_some());
    world.change(&held, |pod| pod.gates.retain(|gate| gate != "kueue"));
    world.settle();
    assert!(world.node_of(&held).is_some());
}

#[test]
fn a_driver_whose_profile_never_comes_starts_alone_in_the_end() {
    let mut world = World::new(&[("n1", 2, 8)]);
    let app = world.submit_bare(Job::new("app", 1));
    world.settle();
    assert!(world.node_of(&app).is_none());
    world.tick(200_000);
    world.settle();
    assert!(world.node_of(&app).is_some());
    world.profile(&app);
    world.settle();
    assert_eq!(
        (world.gang(&app).slots_free, world.gang(&app).slots_missing),
        (1, 0),
        "its executors come first now"
    );
}

/// Palantir k8s-spark-scheduler, dynamic allocation, cases 1 and 5.
#[test]
fn dynamic_allocation_reserves_the_minimum_and_grows_into_free_room() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 1).dynamic(5));
    world.settle();
    assert_eq!(world.gang(&app).slots_free, 1);
    world.spark();
    world.settle();
    assert_eq!(world.executors(&app).len(), 5);
    assert_eq!(world.gang(&app).executors_bound, 5);
    let hard = world.plan(&app).1;
    assert_eq!(hard, vec![("n1".into(), 1)], "only the minimum is reserved");
    // The executor on the slot dies while others sit beside: the next one takes the slot.
    let on_slot = world.executors(&app)[0].clone();
    world.delete(&on_slot);
    world.settle();
    assert_eq!(world.gang(&app).slots_free, 1);
    world.spark();
    world.settle();
    assert_eq!((world.gang(&app).slots_free, world.gang(&app).executors_bound), (0, 5));
    assert_eq!(world.plan(&app).1, hard);
}

#[test]
fn drivers_with_dynamic_allocation_do_not_fill_the_cluster() {
    // By default such a job starts with no executor at all: eight drivers would fit, and none could ever work.
    let mut world = World::new(&[("n1", 8, 64)]);
    let apps: Vec<String> = (0..8)
        .map(|n| world.submit(Job::new(&format!("app-{n}"), 0).dynamic(4)))
        .collect();
    world.settle();
    world.spark();
    world.settle();
    let running = apps.iter().filter(|app| world.node_of(app).is_some()).count();
    assert_eq!(running, 4);
    assert!(apps[..4].iter().all(|app| world.gang(app).executors_bound >= 1));
}

#[test]
fn executors_beyond_the_minimum_leave_room_to_a_waiting_gang() {
    let mut world = World::new(&[("n1", 6, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 1).dynamic(6));
    let busy = world.submit(Job::new("busy", 1));
    world.settle();
    world.tick(1_000);
    let head = world.submit(Job::new("head", 3));
    world.settle();
    world.spark();
    world.settle();
    assert_eq!(
        world.gang(&app).executors_bound,
        1,
        "two CPUs are free, but the head waits for them"
    );
    assert_eq!(world.gang(&app).executors_gated, 5);
    world.end(&busy);
    world.settle();
    assert!(world.node_of(&head).is_some());
    world.end(&head);
    world.settle();
    assert_eq!(world.gang(&app).executors_bound, 5);
}

/// Palantir k8s-spark-scheduler, static compaction, a hundred times.
#[test]
fn a_hundred_lost_executors_are_replaced_on_their_slots() {
    let mut world = World::new(&[("n1", 4, 64), ("n2", 4, 64)]);
    world.webhook = true;
    let app = world.submit(Job::new("app", 5));
    world.settle();
    world.spark();
    world.settle();
    let plan = world.plan(&app);
    for round in 0..100 {
        let executors = world.executors(&app);
        let lost = executors[round % executors.len()].clone();
        let node = world.node_of(&lost).unwrap();
        world.delete(&lost);
        world.spark();
        world.settle();
        let new = world
            .executors(&app)
            .into_iter()
            .find(|uid| !executors.contains(uid))
            .unwrap();
        assert_eq!(world.node_of(&new), Some(node));
        assert_eq!((world.gang(&app).executors_bound, world.gang(&app).slots_free), (5, 0));
        assert_eq!(world.plan(&app), plan);
    }
}

#[test]
fn an_executor_that_is_leaving_keeps_its_room_until_it_is_gone() {
    let mut world = World::new(&[("n1", 3, 64)]);
    let app = world.submit(Job::new("app", 2));
    world.settle();
    world.spark();
    world.settle();
    let leaving = world.executors(&app)[0].clone();
    world.change(&leaving, |pod| pod.deleting = true);
    world.spark();
    world.settle();
    let new = world
        .executors(&app)
        .into_iter()
        .find(|uid| world.node_of(uid).is_none())
        .unwrap();
    assert_eq!(world.gang(&app).executors_bound, 2);
    world.delete(&leaving);
    world.settle();
    assert!(world.node_of(&new).is_some());
}

#[test]
fn a_plan_that_is_not_in_the_list_is_not_moved() {
    let mut world = World::new(&[("n1", 8, 8), ("n2", 8, 8)]);
    let app = world.submit(Job::new("app", 2));
    world.decide();
    let (node, _) = world.plan(&app);
    let other: String = if node == "n1" { "n2".into() } else { "n1".into() };
    let before = world.gang(&app);
    assert_eq!(world.filter(&app, &[other]), FilterAnswer::NotInList);
    assert_eq!(world.filter(&app, &[]), FilterAnswer::NotInList);
    assert_eq!(world.gang(&app), before);
    let all: Vec<String> = vec!["n1".into(), "never heard of".into(), "n2".into()];
    for _ in 0..3 {
        assert_eq!(world.filter(&app, &all), FilterAnswer::Node(node.clone()));
        assert_eq!(world.gang(&app), before);
    }
}

#[test]
fn the_same_executor_gets_the_same_slot_and_another_gets_another() {
    let mut world = World::new(&[("n1", 2, 8), ("n2", 1, 8), ("n3", 1, 8)]);
    let app = world.submit(Job::new("app", 2).driver(2_000, GIB));
    world.settle();
    let (first, second) = (world.executor(&app), world.executor(&app));
    let all: Vec<String> = ["n1", "n2", "n3"].map(String::from).into();
    let FilterAnswer::Node(one) = world.filter(&first, &all) else {
        panic!()
    };
    for _ in 0..3 {
        assert_eq!(world.filter(&first, &all), FilterAnswer::Node(one.clone()));
    }
    let FilterAnswer::Node(two) = world.filter(&second, &all) else {
        panic!()
    };
    assert_ne!(one, two);
    assert_eq!(world.gang(&app).slots_free, 0);
    // Neither is ever bound: the slots come back.
    world.tick(11_000);
    world.decide();
    assert_eq!(world.gang(&app).slots_free, 2);
}

#[test]
fn nodes_in_use_are_filled_before_empty_ones_and_one_zone_is_better_than_two() {
    let mut world = World::new(&[]);
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
        world.add_node_in(name, 4, 64, zone);
    }
    let first = world.submit(Job::new("first", 0));
    world.settle();
    let used = world.node_of(&first).unwrap();
    let second = world.submit(Job::new("second", 2));
    world.settle();
    assert_eq!(world.plan(&second), (used.clone(), vec![(used.clone(), 2)]));
    let third = world.submit(Job::new("third", 6));
    world.settle();
    let zones: std::collections::BTreeSet<char> = world
        .plan(&third)
        .1
        .iter()
        .map(|(node, _)| node.chars().next().unwrap())
        .collect();
    assert_eq!(zones.len(), 1, "{:?}", world.plan(&third));
    let wide = world.submit(Job::new("wide", 3));
    world.settle();
    assert!(world.node_of(&wide).is_some(), "rather two zones than waiting");
}

#[test]
fn few_nodes_are_opened_and_the_smallest_that_do() {
    let mut world = World::new(&[("n1", 10, 25), ("n2", 5, 25), ("n3", 100, 100)]);
    let app = world.submit(Job::new("app", 5).driver(1_000, 3 * GIB).executor(2_000, 5 * GIB));
    world.settle();
    assert_eq!(
        world.plan(&app),
        ("n3".into(), vec![("n3".into(), 5)]),
        "one node takes all"
    );
    let mut world = World::new(&[("n1", 6, 30), ("n2", 3, 30), ("n3", 8, 30)]);
    let app = world.submit(Job::new("app", 5).driver(1_000, 3 * GIB).executor(2_000, 5 * GIB));
    world.settle();
    let (_, executors) = world.plan(&app);
    assert_eq!(executors.iter().map(|(_, count)| count).sum::<u64>(), 5);
    assert_eq!(executors.len(), 2, "{executors:?}");
}

/// Palantir's packing library: forty executors and a driver that fill three nodes to the last CPU.
#[test]
fn what_fits_exactly_fits() {
    let mut world = World::new(&[("n1", 13, 14), ("n2", 12, 12), ("n3", 16, 16)]);
    let app = world.submit(Job::new("app", 40).driver(1_000, 2 * GIB));
    world.settle();
    assert_eq!(world.plan(&app).0, "n1");
    let one_more = world.submit(Job::new("more", 40));
    world.settle();
    assert_eq!(code(&world, &one_more), Some(WaitCode::NoRoom));
}

#[test]
fn host_ports_and_the_pod_limit_count() {
    let mut world = World::new(&[("n1", 64, 64), ("n2", 64, 64)]);
    for name in ["n1", "n2"] {
        world.change_node(name, |node| node.max_pods = 3);
    }
    let first = world.submit_bare(Job::new("first", 1));
    world.change(&first, |pod| pod.host_ports = vec![4040]);
    let second = world.submit_bare(Job::new("second", 1));
    world.change(&second, |pod| pod.host_ports = vec![4040]);
    world.profile(&first);
    world.profile(&second);
    world.settle();
    assert_ne!(world.node_of(&first).unwrap(), world.node_of(&second).unwrap());
    let third = world.submit(Job::new("third", 2));
    world.settle();
    assert_eq!(
        code(&world, &third),
        Some(WaitCode::NoRoom),
        "two of six places are left"
    );
    world.spark();
    world.settle();
    world.delete(&third);
    for _ in 0..3 {
        world.executor(&first);
    }
    world.settle();
    assert_eq!(
        world.gang(&first).executors_bound + world.gang(&second).executors_bound,
        4,
        "and no more than these"
    );
}

#[test]
fn markers_keep_bare_nodes_until_executors_come() {
    let mut world = World::new(&[("n1", 2, 64), ("n2", 2, 64)]);
    let app = world.submit(Job::new("app", 3));
    world.settle();
    let marked = |world: &World| {
        world
            .pods
            .values()
            .filter(|pod| pod.marker_for.is_some())
            .filter_map(|pod| pod.node.clone())
            .collect::<Vec<_>>()
    };
    assert!(marked(&world).is_empty());
    world.tick(5_000);
    world.settle();
    let bare: String = if world.node_of(&app).as_deref() == Some("n1") {
        "n2".into()
    } else {
        "n1".into()
    };
    assert_eq!(marked(&world), vec![bare.clone()]);
    world.settle();
    assert_eq!(marked(&world).len(), 1, "one is enough");
    world.spark();
    world.settle();
    assert!(marked(&world).is_empty());
    let lost = world
        .executors(&app)
        .into_iter()
        .filter(|uid| world.node_of(uid) == Some(bare.clone()));
    lost.collect::<Vec<_>>().iter().for_each(|uid| world.delete(uid));
    world.settle();
    assert_eq!(marked(&world), vec![bare]);
    world.end(&app);
    world.settle();
    assert!(marked(&world).is_empty());
}

#[test]
fn a_demand_is_bounded_and_ends() {
    let config = Config {
        demand_pods_max: 20,
        demands_max: 2,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 2, 64)]);
    let huge = world.submit(Job::new("huge", 100));
    let apps: Vec<String> = (0..4)
        .map(|n| world.submit(Job::new(&format!("app-{n}"), 4).queue(&format!("q{n}"))))
        .collect();
    world.settle();
    world.tick(1_000);
    world.decide();
    assert!(
        world.stand_ins(&huge).is_empty(),
        "larger than all demand together may be"
    );
    let asked: Vec<&String> = apps.iter().filter(|app| !world.stand_ins(app).is_empty()).collect();
    assert_eq!(asked.len(), 2);
    let asked = asked[0].clone();
    // The demand brings nothing: it ends, and rests.
    world.tick(600_000);
    world.decide();
    assert!(world.stand_ins(&asked).is_empty());
    world.tick(300_000);
    world.decide();
    let again = apps.iter().filter(|app| !world.stand_ins(app).is_empty()).count();
    assert_eq!(again, 2);
    world.delete(&asked);
    world.decide();
    assert!(world.stand_ins(&asked).is_empty());
}

#[test]
fn reasons_are_told_once_per_kind() {
    let mut world = World::new(&[("n1", 4, 64)]);
    let running = world.submit(Job::new("running", 3));
    world.settle();
    let head = world.submit(Job::new("head", 3));
    let behind = world.submit(Job::new("behind", 3));
    for _ in 0..5 {
        world.settle();
        world.tick(100);
    }
    let told = |world: &World, uid: &str| {
        world
            .reasons
            .iter()
            .filter(|(of, _)| of == uid)
            .map(|(_, reason)| reason.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&world, &head),
        vec![WaitCode::NoProfile, WaitCode::NoRoom].split_off(1)
    );
    assert_eq!(told(&world, &behind), vec![WaitCode::BehindOthers]);
    world.end(&running);
    world.settle();
    assert_eq!(told(&world, &behind), vec![WaitCode::BehindOthers, WaitCode::NoRoom]);
    let summary = world.planner.summary();
    assert_eq!(summary.waiting.get(&WaitCode::NoRoom), Some(&1));
    let queues: Vec<_> = summary.queues.values().collect();
    assert!(
        matches!(queues[..], [queue] if queue.gangs == summary.waiting.values().sum::<u64>()),
        "{queues:?}"
    );
    assert!(world.orders.iter().all(|order| !matches!(order, Action::Check { .. })));
}
