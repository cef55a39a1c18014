//! Any interleaving of everything that can happen: nothing is double-booked, nobody starves, nothing leaks.

use kompass_core::wait::WaitCode;
use kompass_core::{Phase, Resources, Role};
use kompass_planner::{Backfill, Config, Failure, FilterAnswer, GangState};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::job::Job;
use crate::world::{GIB, World};

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    Submit {
        executors: u64,
        cpu: u64,
        queue: u8,
        priority: i32,
        dynamic: bool,
        profile: bool,
        gate: bool,
    },
    Profile(Index),
    Decide,
    DecideFailing(Failure, bool),
    Schedule(Index),
    ScheduleAll,
    Spark,
    End(Index),
    DeleteDriver(Index),
    KillExecutor(Index),
    LetExecutorGo(Index),
    RemoveLeaving,
    AddNode {
        cpus: u64,
        zone: u8,
    },
    KillNode(Index),
    ToggleNode(Index, bool),
    ResizeNode(Index, u64),
    Foreign(Index, u64),
    RemoveForeign(Index),
    Tick(i64),
    Slow(bool),
    Deliver(usize),
    Restart(u64),
    LoseLease,
    FilterAgain(Index, Vec<Index>),
    Repeat(Index),
    ForeignGate(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let failure = prop_oneof![
        Just(Failure::Conflict),
        Just(Failure::Gone),
        Just(Failure::Refused),
        Just(Failure::Unknown)
    ];
    let index = any::<Index>;
    prop_oneof![
        6 => (0..6_u64, 1..4_u64, 0..3_u8, 0..2_i32, any::<bool>(), 0..8_u8, 0..10_u8).prop_map(
            |(executors, cpu, queue, priority, dynamic, profile, gate)| Step::Submit {
                executors, cpu, queue, priority, dynamic, profile: profile > 0, gate: gate > 0,
            }
        ),
        2 => index().prop_map(Step::Profile),
        10 => Just(Step::Decide),
        2 => (failure, any::<bool>()).prop_map(|(failure, lost)| Step::DecideFailing(failure, lost)),
        8 => index().prop_map(Step::Schedule),
        5 => Just(Step::ScheduleAll),
        8 => Just(Step::Spark),
        3 => index().prop_map(Step::End),
        1 => index().prop_map(Step::DeleteDriver),
        3 => index().prop_map(Step::KillExecutor),
        2 => index().prop_map(Step::LetExecutorGo),
        2 => Just(Step::RemoveLeaving),
        2 => (1..9_u64, 0..2_u8).prop_map(|(cpus, zone)| Step::AddNode { cpus, zone }),
        1 => index().prop_map(Step::KillNode),
        2 => (index(), any::<bool>()).prop_map(|(node, ready)| Step::ToggleNode(node, ready)),
        1 => (index(), 1..9_u64).prop_map(|(node, cpus)| Step::ResizeNode(node, cpus)),
        2 => (index(), 1..4_u64).prop_map(|(node, cpu)| Step::Foreign(node, cpu)),
        2 => index().prop_map(Step::RemoveForeign),
        4 => (1..20_000_i64).prop_map(Step::Tick),
        1 => any::<bool>().prop_map(Step::Slow),
        3 => (1..10_usize).prop_map(Step::Deliver),
        1 => any::<u64>().prop_map(Step::Restart),
        1 => Just(Step::LoseLease),
        3 => (index(), prop::collection::vec(index(), 0..4)).prop_map(|(pod, nodes)| Step::FilterAgain(pod, nodes)),
        1 => index().prop_map(Step::Repeat),
        1 => index().prop_map(Step::ForeignGate),
    ]
}

fn pick<T: Clone>(index: Index, items: &[T]) -> Option<T> {
    (!items.is_empty()).then(|| index.get(items).clone())
}

fn uids(world: &World, which: impl Fn(&kompass_core::Pod) -> bool) -> Vec<String> {
    world
        .pods
        .values()
        .filter(|pod| which(pod))
        .map(|pod| pod.uid.clone())
        .collect()
}

#[allow(clippy::too_many_lines, reason = "one arm for each kind of step")]
fn apply(world: &mut World, step: &Step, serial: usize) {
    let drivers = uids(world, |pod| pod.role == Some(Role::Driver) && !pod.is_terminal());
    let executors = uids(world, |pod| pod.role == Some(Role::Executor) && !pod.is_terminal());
    let nodes: Vec<String> = world.nodes.keys().cloned().collect();
    match step {
        &Step::Submit {
            executors,
            cpu,
            queue,
            priority,
            dynamic,
            profile,
            gate,
        } => {
            let mut job = Job::new(&format!("job-{serial}"), executors)
                .executor(cpu * 1000, GIB)
                .queue(&format!("q{queue}"))
                .priority(priority);
            if dynamic {
                job = job.dynamic(executors + 3);
            }
            let uid = world.submit_bare(job);
            if !gate {
                world.change(&uid, |pod| pod.gates.clear());
            }
            if profile {
                world.profile(&uid);
            }
        }
        Step::Profile(index) => {
            if let Some(uid) = pick(
                *index,
                &uids(world, |pod| pod.role == Some(Role::Driver) && pod.profile.is_none()),
            ) {
                world.profile(&uid);
            }
        }
        Step::Decide => world.decide(),
        &Step::DecideFailing(failure, lost_answer) => {
            (world.failure, world.lost_answer) = (Some(failure), lost_answer);
            let slow = std::mem::replace(&mut world.slow, true);
            world.decide();
            (world.failure, world.slow) = (None, slow);
            if !slow {
                world.deliver(usize::MAX);
            }
        }
        Step::Schedule(index) => {
            if let Some(uid) = pick(*index, &[drivers, executors].concat()) {
                world.schedule(&uid);
            }
        }
        Step::ScheduleAll => world.schedule_all(),
        Step::Spark => world.spark(),
        Step::End(index) => {
            if let Some(uid) = pick(*index, &world.running()) {
                world.end(&uid);
            }
        }
        Step::DeleteDriver(index) => {
            if let Some(uid) = pick(*index, &drivers) {
                world.delete(&uid);
            }
        }
        Step::KillExecutor(index) => {
            if let Some(uid) = pick(*index, &executors) {
                world.delete(&uid);
            }
        }
        Step::LetExecutorGo(index) => {
            if let Some(uid) = pick(*index, &executors) {
                world.change(&uid, |pod| pod.deleting = true);
            }
        }
        Step::RemoveLeaving => uids(world, |pod| pod.deleting).iter().for_each(|uid| world.delete(uid)),
        &Step::AddNode { cpus, zone } => {
            world.add_node_in(&format!("node-{serial}"), cpus, 64, if zone == 0 { "a" } else { "b" });
        }
        Step::KillNode(index) => {
            if let Some(name) = pick(*index, &nodes).filter(|_| nodes.len() > 1) {
                world.kill_node(&name);
            }
        }
        &Step::ToggleNode(ref index, ready) => {
            if let Some(name) = pick(*index, &nodes) {
                world.change_node(&name, |node| {
                    if ready {
                        node.ready = !node.ready;
                    } else {
                        node.cordoned = !node.cordoned;
                    }
                });
            }
        }
        &Step::ResizeNode(ref index, cpus) => {
            if let Some(name) = pick(*index, &nodes) {
                world.foreign_broke = true;
                world.change_node(&name, |node| {
                    node.allocatable = Resources::from_mib(cpus * 1000, 64 * GIB);
                });
            }
        }
        &Step::Foreign(ref index, cpu) => {
            if let Some(name) = pick(*index, &nodes) {
                // Another scheduler sees what is bound, but no reservation.
                let mut used = world.used(&name);
                used.add(&Resources::from_mib(cpu * 1000, GIB));
                if used.fits(&world.nodes[&name].allocatable) {
                    world.foreign(&name, cpu * 1000, GIB);
                }
            }
        }
        Step::RemoveForeign(index) => {
            if let Some(uid) = pick(*index, &uids(world, |pod| pod.scheduler == "default-scheduler")) {
                world.delete(&uid);
            }
        }
        &Step::Tick(ms) => world.tick(ms),
        &Step::Slow(slow) => {
            world.slow = slow;
            world.deliver(if slow { 0 } else { usize::MAX });
        }
        &Step::Deliver(count) => world.deliver(count),
        &Step::Restart(seed) => world.restart(seed),
        Step::LoseLease => {
            world.planner.step_down();
            let orders = world.planner.decide(world.now_ms).orders;
            assert!(orders.is_empty());
            world.planner.take_over(world.now_ms + 1_000);
        }
        Step::FilterAgain(index, listed) => {
            let waiting = uids(world, |pod| {
                pod.node.is_none() && pod.gates.is_empty() && pod.role.is_some() && !pod.is_terminal() && !pod.deleting
            });
            if let Some(uid) = pick(*index, &waiting) {
                let listed: Vec<String> = listed.iter().filter_map(|index| pick(*index, &nodes)).collect();
                let first = world.filter(&uid, &listed);
                let view = world.planner.gangs();
                for _ in 0..2 {
                    assert_eq!(world.filter(&uid, &listed), first);
                    assert_eq!(world.planner.gangs(), view, "Filter has changed something");
                }
                if let FilterAnswer::Node(node) = first {
                    assert!(listed.contains(&node));
                }
            }
        }
        Step::Repeat(index) => {
            let all: Vec<String> = world.pods.keys().cloned().collect();
            if let Some(pod) = pick(*index, &all).map(|uid| world.pods[&uid].clone()) {
                let view = world.planner.gangs();
                if !world.slow {
                    world.planner.apply_pod(&pod, world.now_ms);
                    assert_eq!(world.planner.gangs(), view, "a repeated event has changed something");
                }
            }
        }
        Step::ForeignGate(index) => {
            if let Some(uid) = pick(
                *index,
                &uids(world, |pod| !pod.gates.is_empty() && pod.role == Some(Role::Driver)),
            ) {
                let gate = "example.com/gate".to_owned();
                world.change(&uid, |pod| {
                    if pod.gates.contains(&gate) {
                        pod.gates.retain(|known| *known != gate);
                    } else {
                        pod.gates.push(gate);
                    }
                });
            }
        }
    }
}

/// What must hold whenever the planner has seen everything and decided.
fn check(world: &World) {
    if let Err(text) = world
        .planner
        .check_invariants(world.planner.next_wake().is_none_or(|at_ms| at_ms > world.now_ms))
    {
        panic!("{text}");
    }
    for gang in world.planner.gangs() {
        let minimum = gang.executors_min.unwrap_or(0);
        if matches!(gang.state, GangState::DriverBound | GangState::Running) {
            let reserved = gang.plan.as_ref().map_or(0, kompass_core::GangPlan::executor_count);
            assert_eq!(reserved + gang.slots_missing, minimum, "{gang:?}");
        }
        if gang.state == GangState::Reserved {
            assert_eq!(gang.slots_free, minimum, "{gang:?}");
        }
        // One gang alone is shown as among all, its place too.
        assert_eq!(world.planner.gang(&gang.namespace, &gang.name), Some(gang));
    }
}

/// All faults end; then everybody who can runs, one after the other, to the end.
fn come_to_rest(world: &mut World) {
    (world.slow, world.failure) = (false, None);
    world.deliver(usize::MAX);
    let leaving = uids(world, |pod| pod.deleting || pod.scheduler == "default-scheduler");
    for uid in leaving {
        world.delete(&uid);
    }
    for uid in uids(world, |pod| pod.role == Some(Role::Driver) && !pod.is_terminal()) {
        world.change(&uid, |pod| pod.gates.retain(|gate| gate != "example.com/gate"));
        if world.pods[&uid].profile.is_none() {
            world.profile(&uid);
        }
    }
    for name in world.nodes.keys().cloned().collect::<Vec<_>>() {
        world.change_node(&name, |node| (node.ready, node.cordoned) = (true, false));
    }
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 400, "gangs starve: {:#?}", world.planner.gangs());
        world.spark();
        world.tick(3_500);
        world.settle();
        check(world);
        // A gang that has all its executors works and ends; one that can get no more (its cluster shrank) ends too.
        let gangs = world.planner.gangs();
        let running = || {
            gangs
                .iter()
                .filter(|gang| matches!(gang.state, GangState::DriverBound | GangState::Running))
        };
        let done: Vec<String> = running()
            .filter(|gang| gang.executors_bound >= gang.executors_min.unwrap_or(0))
            .map(|gang| gang.uid.clone())
            .collect();
        let stuck = done.is_empty().then(|| {
            running()
                .filter(|gang| gang.slots_missing > 0)
                .map(|gang| gang.uid.clone())
        });
        let ending: Vec<String> = if rounds % 20 == 0 {
            stuck.into_iter().flatten().collect()
        } else {
            done
        };
        for uid in ending {
            world.end(&uid);
        }
        let hopeless = |gang: &kompass_planner::GangView| {
            let code = gang.waiting.as_ref().map(|reason| reason.code);
            let told = matches!(code, Some(WaitCode::TooLarge | WaitCode::NoMatchingNode));
            told || (gang.state == GangState::Unplanned && !fits_empty(world, &gang.uid))
        };
        let waiting = gangs.iter().filter(|gang| !hopeless(gang));
        if waiting.count() == 0 {
            break;
        }
    }
    for gang in world.planner.gangs() {
        assert!(!fits_empty(world, &gang.uid), "{gang:?} would fit");
    }
}

/// Counted without the planner: whether a gang fits on the empty cluster.
fn fits_empty(world: &World, uid: &str) -> bool {
    let job = &world.jobs[uid];
    let minimum = if job.dynamic {
        job.executors.max(1)
    } else {
        job.executors
    };
    let (driver, executor) = (job.driver.resources(), job.executor.resources());
    world.nodes.values().any(|node| {
        let mut rest = node.allocatable.clone();
        rest.subtract(&driver);
        let others = world.nodes.values().filter(|other| other.name != node.name);
        driver.fits(&node.allocatable)
            && others.map(|other| executor.times_in(&other.allocatable)).sum::<u64>() + executor.times_in(&rest)
                >= minimum
    })
}

fn run(steps: &[Step], webhook: bool, backfill: Backfill) {
    let config = Config {
        overtakes_max: 3,
        packs_per_decide: 3,
        backfill,
        // Short enough to matter within the steps' time.
        backfill_delay_ms: 10_000,
        unknown_run_ms: 5_000,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 8, 64), ("n2", 4, 64)]);
    world.webhook = webhook;
    for (serial, step) in steps.iter().enumerate() {
        apply(&mut world, step, serial);
        if let Err(text) = world.planner.check_invariants(false) {
            panic!("after {step:?}: {text}");
        }
        if !world.slow && matches!(step, Step::Decide) {
            check(&world);
        }
    }
    come_to_rest(&mut world);
    // The rest is too large: it is deleted, and nothing may be left.
    for uid in uids(&world, |pod| pod.role == Some(Role::Driver)) {
        world.delete(&uid);
    }
    world.tick(20_000);
    world.settle();
    world.tick(20_000);
    world.settle();
    assert_eq!(world.planner.charged().1, 0, "room is still kept");
    assert_eq!(world.planner.summary().pods, world.pods.len() as u64);
    assert!(uids(&world, |pod| pod.stand_in_for.is_some() || pod.marker_for.is_some()).is_empty());
    assert!(world.pods.values().all(|pod| pod.phase != Phase::Running));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_double_booked_nobody_starves_and_nothing_leaks(
        steps in prop::collection::vec(step(), 1..200),
        webhook in any::<bool>(),
        easy in any::<bool>(),
    ) {
        run(&steps, webhook, if easy { Backfill::Easy } else { Backfill::Off });
    }
}

/// Found by the property: a gang that was overtaken too often stood behind hopeless ones of its own queue.
#[test]
fn an_overdue_gang_behind_hopeless_ones_starts() {
    let sub = |executors, cpu, queue, priority, dynamic| Step::Submit {
        executors,
        cpu,
        queue,
        priority,
        dynamic,
        profile: false,
        gate: true,
    };
    let config = Config {
        overtakes_max: 3,
        packs_per_decide: 3,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 8, 64), ("n2", 4, 64)]);
    world.webhook = true;
    world.kill_node("n1");
    let f = |world: &mut World, s: Step, n: usize| apply(world, &s, n);
    f(&mut world, sub(1, 2, 0, 0, false), 3);
    world.foreign("n2", 1000, GIB);
    f(&mut world, sub(3, 3, 0, 1, false), 5);
    f(&mut world, sub(0, 3, 1, 0, true), 6);
    f(&mut world, sub(4, 2, 2, 0, false), 7);
    f(&mut world, sub(3, 3, 2, 0, false), 8);
    f(&mut world, sub(4, 2, 2, 0, false), 9);
    world.foreign("n2", 1000, GIB);
    world.add_node_in("node-11", 1, 64, "a");
    world.add_node_in("node-12", 3, 64, "a");
    f(&mut world, sub(3, 3, 0, 1, false), 13);
    f(&mut world, sub(0, 1, 2, 0, true), 14);
    f(&mut world, sub(2, 3, 0, 1, false), 15);
    f(&mut world, sub(0, 1, 1, 0, false), 16);
    come_to_rest(&mut world);
}
