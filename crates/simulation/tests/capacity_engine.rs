//! The rules of the capacity simulation, one by one on small cases, and all of them by an account of its own.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

use kompass_capacity::{Members, Shape};
use kompass_simulation::capacity::engine::{Outcome, Watch, World, run};
use kompass_simulation::capacity::input::Job;
use kompass_simulation::capacity::measure::{measure, taken_node_hours};
use kompass_simulation::capacity::split::{DAY_MS, Part};
use kompass_simulation::capacity::{Placed, Timing};
use proptest::prelude::*;

const S: i64 = 1_000;
const CPU: u64 = 8;
const MEMORY: u64 = 8;

fn shape() -> Shape {
    Shape::new(CPU, MEMORY).unwrap()
}

fn world() -> World {
    World {
        shape: shape(),
        timing: Timing::new(150_000),
        begin_ms: 0,
        end_ms: 0,
    }
}

/// A gang of `pods` that request `cpu` of 8 CPUs each.
fn job(submit_s: i64, run_s: i64, pods: u64, cpu: u64) -> Job {
    of_two(submit_s, run_s, (1, cpu, 1), (pods - 1, cpu, 1))
}

/// A gang of two kinds of pods: how many, CPU, memory.
fn of_two(submit_s: i64, run_s: i64, first: (u64, u64, u64), second: (u64, u64, u64)) -> Job {
    let members = [first, second].map(|(count, cpu_milli, memory_mib)| Members {
        count,
        cpu_milli,
        memory_mib,
    });
    Job {
        recorded_ms: submit_s * S,
        submit_ms: submit_s * S,
        run_ms: run_s * S,
        profile: 0,
        members,
        size: shape().size(&members),
    }
}

/// What happened, in order: seconds and words.
#[derive(Default)]
struct Log(Vec<(i64, String)>);

impl Watch for Log {
    fn placed(&mut self, now_ms: i64, job: usize, on: Placed) {
        self.0.push((now_ms / S, format!("{job}: {} on {}", on.pods, on.node)));
    }

    fn launched(&mut self, now_ms: i64, node: u32) {
        self.0.push((now_ms / S, format!("+{node}")));
    }

    fn given_back(&mut self, now_ms: i64, node: u32) {
        self.0.push((now_ms / S, format!("-{node}")));
    }
}

/// `seconds what` of a replay that goes on until `end_s`.
fn log(jobs: &[Job], headroom: &[u32], end_s: i64) -> Vec<String> {
    let mut log = Log::default();
    let world = World {
        end_ms: end_s * S,
        ..world()
    };
    run(world, jobs, headroom, &mut log);
    log.0.iter().map(|(at, what)| format!("{at} {what}")).collect()
}

#[test]
fn a_gang_waits_for_reaction_and_boot() {
    assert_eq!(log(&[job(10, 60, 1, 8)], &[0], 0), ["10 +0", "170 0: 1 on 0"]);
    let quick = World {
        timing: Timing::new(60_000),
        ..world()
    };
    assert_eq!(run(quick, &[job(10, 60, 1, 8)], &[0], &mut ()).starts_ms, [80 * S]);
}

#[test]
fn a_gang_starts_when_all_its_members_fit() {
    // 3 pods of 5: none shares a node. The third node comes later, with the second gang's.
    let jobs = [job(0, 1_000, 2, 5), job(10, 1_000, 3, 5), job(20, 1_000, 1, 3)];
    let expected = [
        "0 +0",
        "0 +1",
        "10 +2",
        "10 +3",
        "10 +4",
        "160 0: 1 on 1",
        "160 0: 1 on 0",
        "170 1: 1 on 4",
        "170 1: 1 on 3",
        "170 1: 1 on 2",
        "170 2: 1 on 0",
    ];
    assert_eq!(log(&jobs, &[0], 0), expected);
}

#[test]
fn members_go_to_the_fullest_node_on_which_they_fit() {
    // Nodes come to 6 + 4 of 8; 2 fill the first one up, 3 don't fit there.
    let jobs = [
        job(0, 1_000, 1, 6),
        job(0, 1_000, 1, 4),
        job(200, 1_000, 1, 2),
        job(201, 1_000, 1, 3),
    ];
    let all = log(&jobs, &[0], 0);
    assert_eq!(
        all[2..],
        ["160 0: 1 on 1", "160 1: 1 on 0", "200 2: 1 on 1", "201 3: 1 on 0"]
    );
    // By memory as well: what is used counts by its larger share.
    let jobs = [
        of_two(0, 1_000, (1, 1, 7), (0, 0, 0)),
        of_two(0, 1_000, (1, 6, 2), (0, 0, 0)),
        of_two(200, 1_000, (1, 1, 1), (0, 0, 0)),
    ];
    assert_eq!(log(&jobs, &[0], 0).last().unwrap(), "200 2: 1 on 1");
}

#[test]
fn nobody_overtakes() {
    // The second gang needs two nodes and only one is there; the third would fit on it.
    let jobs = [job(0, 100, 1, 8), job(300, 50, 2, 8), job(301, 50, 1, 8)];
    let expected = [
        "0 +0",
        "160 0: 1 on 0",
        "300 +1",
        "301 +2",
        "460 1: 1 on 1",
        "460 1: 1 on 0",
        "461 2: 1 on 2",
    ];
    assert_eq!(log(&jobs, &[0], 0), expected);
}

#[test]
fn the_fewest_nodes_for_the_whole_queue_are_asked_for_less_those_launching() {
    // 3 halves need two nodes, a fourth no more, a fifth one more.
    let jobs = [job(0, 100, 3, 4), job(10, 100, 1, 4), job(20, 100, 1, 4)];
    let asked: Vec<String> = log(&jobs, &[0], 0)
        .into_iter()
        .filter(|line| line.contains('+'))
        .collect();
    assert_eq!(asked, ["0 +0", "0 +1", "20 +2"]);
    // Nodes that are launched as headroom count too.
    let asked: Vec<String> = log(&jobs, &[2], 0)
        .into_iter()
        .filter(|line| line.contains('+'))
        .collect();
    assert_eq!(asked[..3], ["0 +0", "0 +1", "20 +2"]);
}

#[test]
fn headroom_is_refilled_at_once() {
    let jobs = [job(400, 1_000, 1, 8), job(401, 1_000, 1, 1)];
    let expected = ["0 +0", "0 +1", "400 0: 1 on 1", "400 +2", "401 1: 1 on 0", "401 +3"];
    assert_eq!(log(&jobs, &[2], 0), expected);
    // Decisions count from their tick on, and a node that is launching is held: the gang at 400 gets it.
    let jobs = [job(400, 1_000, 1, 8), job(460, 1_000, 1, 8)];
    let expected = ["300 +0", "460 0: 1 on 0", "460 +1", "620 1: 1 on 1"];
    assert_eq!(log(&jobs, &[0, 1, 0], 0), expected);
}

#[test]
fn nodes_that_are_empty_for_long_are_given_back_at_a_tick() {
    // Empty since 260 s (node 1) and 310 s (node 0). Headroom comes at 160 s, when these are taken, and is ready at 320 s.
    let jobs = [job(0, 100, 1, 8), job(0, 150, 1, 8)];
    let gone = |headroom: &[u32], end_s: i64| -> Vec<String> {
        let all = log(&jobs, headroom, end_s);
        all.into_iter().filter(|line| line.contains('-')).collect()
    };
    assert_eq!(gone(&[0], 2_000), ["900 -1", "1200 -0"]);
    assert_eq!(gone(&[0], 900), Vec::<String>::new());
    assert_eq!(gone(&[1], 2_000), ["900 -1", "1200 -0"]);
    assert_eq!(gone(&[1, 1, 1, 2], 2_000), ["900 -1"]);
    assert_eq!(gone(&[1, 1, 1, 2, 2, 0], 2_000), ["900 -1", "1500 -0", "1500 -2"]);
    assert_eq!(gone(&[0, 0, 0, 3], 2_000), Vec::<String>::new());
}

#[test]
fn nodes_on_which_the_queue_is_to_start_are_not_given_back() {
    // At 900 s the node is empty for 640 s, and a gang of two has just come.
    let jobs = [job(0, 100, 1, 8), job(899, 10, 2, 8)];
    let all = log(&jobs, &[0], 0);
    assert_eq!(
        all,
        ["0 +0", "160 0: 1 on 0", "899 +1", "1059 1: 1 on 1", "1059 1: 1 on 0"]
    );
}

#[test]
fn only_what_is_inside_the_part_is_billed_and_only_its_gangs_count() {
    let part = Part {
        start_ms: DAY_MS,
        end_ms: 2 * DAY_MS,
    };
    let hour = 3_600;
    let day = DAY_MS / S;
    let jobs = [job(day - hour, 2 * hour, 1, 8), job(2 * day - hour, 3 * hour, 1, 4)];
    let world = World {
        begin_ms: 0,
        end_ms: 2 * DAY_MS,
        ..world()
    };
    let outcome = run(world, &jobs, &[0], &mut ());
    // The first node is billed from the part's start until it has been empty for 600 s, the second until the part's end.
    assert_eq!(
        outcome.nodes_ms,
        [
            ((day - hour) * S, (day + hour + 900) * S),
            ((2 * day - hour) * S, i64::MAX)
        ]
    );
    let taken = taken_node_hours(&jobs, part, shape().parts());
    assert!((taken - 1.5).abs() < 1e-9, "{taken}");
    let point = measure(&jobs, &outcome, part, taken);
    assert!((point.wait_mean_s - 160.0).abs() < 1e-9 && (point.days[0].gangs - 1.0).abs() < 1e-9);
    assert!((point.bill_node_hours - 2.25).abs() < 1e-9, "{}", point.bill_node_hours);
    assert!((point.idle_node_hours - 0.75).abs() < 1e-9 && (point.launches - 1.0).abs() < 1e-9);
}

#[test]
fn percentiles_are_waits_that_were() {
    let part = Part {
        start_ms: DAY_MS,
        end_ms: 2 * DAY_MS,
    };
    let jobs: Vec<Job> = (0..100).map(|number| job(DAY_MS / S + number, 1, 1, 1)).collect();
    // The number-th waits so many seconds; the last one, of twice the size, 1,000.
    let mut jobs = jobs;
    jobs[99] = job(DAY_MS / S + 99, 1, 2, 1);
    let waits = (0..99).chain([1_000]);
    let starts_ms = jobs
        .iter()
        .zip(waits)
        .map(|(job, wait)| job.submit_ms + wait * S)
        .collect();
    let outcome = Outcome {
        starts_ms,
        nodes_ms: vec![],
    };
    let point = measure(&jobs, &outcome, part, 0.0);
    for (is, expected) in [
        (point.wait_p50_s, 49.0),
        (point.wait_p95_s, 94.0),
        (point.wait_p99_s, 98.0),
        (point.wait_mean_s, 58.51),
        (point.waited_share, 0.98),
        (point.wait_by_size_s, (58.51 * 100.0 + 1_000.0) / 101.0),
    ] {
        assert!((is - expected).abs() < 1e-9, "{is} {expected}");
    }
}

/// Keeps an account of its own and checks every rule that can be checked at any moment.
struct Audit<'a> {
    jobs: &'a [Job],
    world: World,
    headroom: &'a [u32],
    /// Asked for at, used CPU and memory of each node there is.
    nodes: Vec<Option<(i64, u64, u64)>>,
    placed: Vec<Vec<Placed>>,
    waiting: Vec<usize>,
    arrived: usize,
    started: Vec<(usize, i64)>,
    launched_now: u64,
    node_ms: i64,
    last_ms: i64,
}

impl<'a> Audit<'a> {
    fn new(jobs: &'a [Job], world: World, headroom: &'a [u32]) -> Self {
        Self {
            jobs,
            world,
            headroom,
            nodes: Vec::new(),
            placed: vec![Vec::new(); jobs.len()],
            waiting: Vec::new(),
            arrived: 0,
            started: Vec::new(),
            launched_now: 0,
            node_ms: 0,
            last_ms: world.begin_ms,
        }
    }

    fn advance(&mut self, now_ms: i64) {
        let alive = i64::try_from(self.nodes.iter().flatten().count()).unwrap();
        self.node_ms += alive * (now_ms - self.last_ms);
        self.last_ms = now_ms;
    }

    fn is_ready(&self, asked_ms: i64, now_ms: i64) -> bool {
        asked_ms + self.world.timing.ready_ms <= now_ms
    }

    /// First fit decreasing, a member and a node at a time: nodes beyond those that are ready.
    fn need(&self, now_ms: i64) -> u64 {
        let share = |cpu: u64, memory: u64| cpu.max(memory);
        let ready = self.nodes.iter().flatten().filter(|node| self.is_ready(node.0, now_ms));
        let mut free: Vec<(u64, u64)> = ready.map(|node| (node.1, node.2)).collect();
        free.sort_by_key(|used| (std::cmp::Reverse(share(used.0, used.1)), *used));
        let mut free: Vec<(u64, u64)> = free.into_iter().map(|used| (CPU - used.0, MEMORY - used.1)).collect();
        let before = free.len();
        let mut members: Vec<(u64, u64)> = Vec::new();
        for &job in &self.waiting {
            for member in &self.jobs[job].members {
                members.extend((0..member.count).map(|_| (member.cpu_milli, member.memory_mib)));
            }
        }
        members.sort_by_key(|member| std::cmp::Reverse((share(member.0, member.1), member.0, member.1)));
        for (cpu, memory) in members {
            let place = free.iter().position(|room| room.0 >= cpu && room.1 >= memory);
            let place = place.unwrap_or_else(|| {
                free.push((CPU, MEMORY));
                free.len() - 1
            });
            free[place] = (free[place].0 - cpu, free[place].1 - memory);
        }
        (free.len() - before) as u64
    }
}

impl Watch for Audit<'_> {
    fn placed(&mut self, now_ms: i64, job: usize, on: Placed) {
        self.advance(now_ms);
        let node = self.nodes[on.node as usize].as_mut().expect("the node is there");
        assert!(node.0 + self.world.timing.ready_ms <= now_ms, "the node is ready");
        node.1 += on.pods * on.cpu_milli;
        node.2 += on.pods * on.memory_mib;
        assert!(node.1 <= CPU && node.2 <= MEMORY, "all fit");
        self.placed[job].push(on);
        if self.started.last() != Some(&(job, now_ms)) {
            self.started.push((job, now_ms));
        }
    }

    fn ended(&mut self, now_ms: i64, job: usize) {
        self.advance(now_ms);
        for on in self.placed[job].clone() {
            let node = self.nodes[on.node as usize].as_mut().unwrap();
            node.1 -= on.pods * on.cpu_milli;
            node.2 -= on.pods * on.memory_mib;
        }
    }

    fn launched(&mut self, now_ms: i64, node: u32) {
        self.advance(now_ms);
        assert_eq!(node as usize, self.nodes.len());
        self.nodes.push(Some((now_ms, 0, 0)));
        self.launched_now += 1;
    }

    fn given_back(&mut self, now_ms: i64, node: u32) {
        self.advance(now_ms);
        let node = self.nodes[node as usize].take().expect("the node is there");
        assert_eq!((node.1, node.2), (0, 0), "it is empty");
        assert!(
            self.is_ready(node.0, now_ms - self.world.timing.idle_ms),
            "for long enough"
        );
        assert_eq!(
            (now_ms - self.world.begin_ms) % self.world.timing.tick_ms,
            0,
            "at a tick"
        );
    }

    fn settled(&mut self, now_ms: i64, need: u64, empty: u64, launching: u64, headroom: u64) {
        self.advance(now_ms);
        while self.jobs.get(self.arrived).is_some_and(|job| job.submit_ms <= now_ms) {
            self.waiting.push(self.arrived);
            self.arrived += 1;
        }
        self.waiting.retain(|job| self.placed[*job].is_empty());
        let tick = usize::try_from((now_ms - self.world.begin_ms) / self.world.timing.tick_ms).unwrap();
        let decided = self.headroom[tick.min(self.headroom.len() - 1)];
        assert_eq!(headroom, u64::from(decided), "the last decision holds");
        let all: Vec<(i64, u64, u64)> = self.nodes.iter().flatten().copied().collect();
        let ready = |node: &&(i64, u64, u64)| self.is_ready(node.0, now_ms);
        assert_eq!(launching, all.iter().filter(|node| !ready(node)).count() as u64);
        assert_eq!(
            empty,
            all.iter().filter(ready).filter(|node| node.1 + node.2 == 0).count() as u64
        );
        // The queue gets its nodes and headroom is held, and not a node more was asked for than for that.
        assert_eq!(need, self.need(now_ms));
        let before = launching - self.launched_now;
        let for_queue = need.saturating_sub(before);
        let for_headroom = headroom.saturating_sub(empty + before + for_queue);
        assert_eq!(self.launched_now, for_queue + for_headroom, "at {now_ms}");
        self.launched_now = 0;
    }
}

prop_compose! {
    fn jobs()(
        raw in prop::collection::vec((0_i64..1_500, 1_i64..1_500, (0_u64..=8, 1_u64..=8), 0_u64..6, (0_u64..=8, 1_u64..=8)), 1..40),
        // Whether there are pods that request no CPU.
        least in 0_u64..=1,
    ) -> Vec<Job> {
        let mut jobs: Vec<Job> = raw.into_iter().map(|(submit, run, first, count, second)| {
            of_two(submit * 3, run, (1, first.0.max(least), first.1), (count, second.0.max(least), second.1))
        }).collect();
        jobs.sort_by_key(|job| job.submit_ms);
        jobs
    }
}

proptest! {
    #[test]
    fn every_rule_holds_at_every_moment(jobs in jobs(), headroom in prop::collection::vec(0_u32..5, 1..20)) {
        let world = World { end_ms: 6_000 * S, ..world() };
        let mut audit = Audit::new(&jobs, world, &headroom);
        let outcome = run(world, &jobs, &headroom, &mut audit);
        // First come, first served, and the whole gang each time.
        let order: Vec<usize> = audit.started.iter().map(|(job, _)| *job).collect();
        prop_assert!(order.iter().copied().eq(0..jobs.len()), "{:?}", order);
        for (job, placed) in jobs.iter().zip(&audit.placed) {
            let pods: u64 = placed.iter().map(|placed| placed.pods).sum();
            prop_assert_eq!(pods, job.members.iter().map(|member| member.count).sum::<u64>());
        }
        for &(job, at_ms) in &audit.started {
            prop_assert_eq!(outcome.starts_ms[job], at_ms);
            prop_assert!(at_ms >= jobs[job].submit_ms);
        }
        // The bill is the lifetimes of nodes, counted here as the number of nodes over time.
        let lived: i64 = outcome.nodes_ms.iter().map(|(from, to)| (*to).min(audit.last_ms) - from).sum();
        prop_assert_eq!(lived, audit.node_ms);
    }

    #[test]
    fn equal_idle_time_is_equal_bill(jobs in jobs(), one in 0_u32..6, other in 0_u32..6) {
        let part = Part { start_ms: 0, end_ms: DAY_MS };
        let world = World { end_ms: DAY_MS, ..world() };
        let taken = taken_node_hours(&jobs, part, shape().parts());
        let point = |nodes: u32| measure(&jobs, &run(world, &jobs, &[nodes], &mut ()), part, taken);
        let (one, other) = (point(one), point(other));
        let (idle, bill) = (one.idle_node_hours - other.idle_node_hours, one.bill_node_hours - other.bill_node_hours);
        prop_assert!((idle - bill).abs() < 1e-9);
        prop_assert!(one.idle_node_hours >= -1e-9);
    }
}
