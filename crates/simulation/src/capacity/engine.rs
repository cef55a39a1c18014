//! One replay on nodes without limit, under one sequence of headroom decisions.
//!
//! The rules, all times in milliseconds:
//! 1. Events of one moment are taken together: ends, nodes that become ready, submissions, and last a tick.
//! 2. Gangs start first come, first served, when all members fit on ready nodes; nobody overtakes,
//!    nothing moves.
//! 3. Where gangs wait, the fewest new nodes are asked for with which all of them can start, less those
//!    that are launching.
//! 4. Where fewer nodes are empty, ready or launching, than the headroom of the last tick, the others are asked for.
//! 5. At a tick, before nodes are asked for, nodes beyond the headroom that have been empty for long enough are given
//!    back, that of the longest first. Nodes on which the waiting gangs are to start stay.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use kompass_capacity::{Members, Shape};

use super::input::{Job, Timing};
use super::nodes::{Nodes, Placed};
use super::queue::{Need, Queue};

/// The world of a replay.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// What a node offers.
    pub shape: Shape,
    /// How long things take.
    pub timing: Timing,
    /// When it begins, without any node or gang; the first tick.
    pub begin_ms: i64,
    /// Until when it goes on at least.
    pub end_ms: i64,
}

/// What became of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// When each job started, in the order of the jobs.
    pub starts_ms: Vec<i64>,
    /// From when to when each node was paid for: from the event that asked for it until it was given back; `i64::MAX`
    /// where it was not.
    pub nodes_ms: Vec<(i64, i64)>,
}

/// Watches a replay, for tests. Nothing in it changes what happens.
pub trait Watch {
    /// Part of a job starts on a node.
    fn placed(&mut self, _now_ms: i64, _job: usize, _on: Placed) {}
    /// All of a job has ended.
    fn ended(&mut self, _now_ms: i64, _job: usize) {}
    /// A node is asked for.
    fn launched(&mut self, _now_ms: i64, _node: u32) {}
    /// A node is given back.
    fn given_back(&mut self, _now_ms: i64, _node: u32) {}
    /// All events of a moment are done: new nodes that the waiting gangs take, empty nodes, launching nodes and headroom.
    fn settled(&mut self, _now_ms: i64, _need: u64, _empty: u64, _launching: u64, _headroom: u64) {}
}

impl Watch for () {}

/// Runs a replay until the world's end has come and the last job has started. `jobs` are in order of submission, none before the world begins;
/// `headroom` is for one tick after the other from the beginning on, the last one stays.
pub fn run(world: World, jobs: &[Job], headroom: &[u32], watch: &mut impl Watch) -> Outcome {
    let asks_for_none = |member: &Members| member.count > 0 && (member.cpu_milli == 0 || member.memory_mib == 0);
    let full_are_of_use = jobs.iter().any(|job| job.members.iter().any(asks_for_none));
    let mut engine = Engine {
        world,
        jobs,
        headroom,
        nodes: Nodes::new(world.shape, full_are_of_use),
        queue: Queue::new(world.shape),
        running: BinaryHeap::new(),
        places: vec![0..0; jobs.len()],
        outcome: Outcome {
            starts_ms: vec![0; jobs.len()],
            nodes_ms: Vec::new(),
        },
        submitted: 0,
        started: 0,
        ticks: 0,
        held: 0,
        rooms: Vec::new(),
    };
    let mut now_ms = world.begin_ms;
    while engine.started < jobs.len() || now_ms < world.end_ms {
        now_ms = engine.step(now_ms, watch);
    }
    let left = engine.nodes.asked().map(|asked_ms| (asked_ms, i64::MAX));
    engine.outcome.nodes_ms.extend(left);
    engine.outcome
}

struct Engine<'a> {
    world: World,
    jobs: &'a [Job],
    headroom: &'a [u32],
    nodes: Nodes,
    queue: Queue,
    /// When running jobs end.
    running: BinaryHeap<Reverse<(i64, usize)>>,
    /// Where each job's members are.
    places: Vec<Range<usize>>,
    outcome: Outcome,
    submitted: usize,
    started: usize,
    /// Ticks that were.
    ticks: usize,
    /// Headroom of the last one.
    held: u64,
    /// Kept for its memory.
    rooms: Vec<super::nodes::Room>,
}

impl Engine<'_> {
    /// Takes all events of the moment and gives the time of the next.
    fn step(&mut self, now_ms: i64, watch: &mut impl Watch) -> i64 {
        while let Some(&Reverse((_, job))) = self.running.peek().filter(|next| next.0.0 <= now_ms) {
            self.running.pop();
            self.nodes.release(now_ms, self.places[job].clone());
            watch.ended(now_ms, job);
        }
        while self.nodes.next_ready_ms().is_some_and(|ready_ms| ready_ms <= now_ms) {
            self.nodes.ready();
        }
        while let Some(job) = self.jobs.get(self.submitted).filter(|job| job.submit_ms <= now_ms) {
            self.queue.push(self.submitted, &job.members);
            self.submitted += 1;
        }
        self.start(now_ms, watch);
        let need = self.need();
        if now_ms >= self.next_tick_ms() {
            let known = self.headroom.get(self.ticks).or_else(|| self.headroom.last());
            self.held = known.map_or(0, |&nodes| u64::from(nodes));
            self.ticks += 1;
            self.give_back(now_ms, need, watch);
        }
        self.ask(now_ms, need, watch);
        watch.settled(now_ms, need.new, self.nodes.empty(), self.nodes.launching(), self.held);
        self.next_ms()
    }

    fn start(&mut self, now_ms: i64, watch: &mut impl Watch) {
        while let Some(job) = self.queue.head() {
            let members = &self.jobs[job].members;
            let Some(places) = self.nodes.place(members) else {
                return;
            };
            self.queue.pop(members);
            for &placed in self.nodes.placed(places.clone()) {
                watch.placed(now_ms, job, placed);
            }
            self.places[job] = places;
            self.outcome.starts_ms[job] = now_ms;
            self.running.push(Reverse((now_ms + self.jobs[job].run_ms, job)));
            self.started += 1;
        }
    }

    fn need(&mut self) -> Need {
        if self.queue.is_empty() {
            return Need::default();
        }
        self.nodes.rooms(self.queue.least(), &mut self.rooms);
        self.queue.need(&mut self.rooms)
    }

    fn give_back(&mut self, now_ms: i64, need: Need, watch: &mut impl Watch) {
        let held = self.nodes.empty() + self.nodes.launching();
        let beyond = held.saturating_sub(self.held);
        for _ in 0..beyond.min(self.nodes.empty() - need.empty) {
            let since_ms = now_ms - self.world.timing.idle_ms;
            let Some((node, asked_ms)) = self.nodes.give_back(since_ms) else {
                return;
            };
            self.outcome.nodes_ms.push((asked_ms, now_ms));
            watch.given_back(now_ms, node);
        }
    }

    fn ask(&mut self, now_ms: i64, need: Need, watch: &mut impl Watch) {
        let launching = self.nodes.launching();
        let for_queue = need.new.saturating_sub(launching);
        let held = self.nodes.empty() + launching + for_queue;
        for _ in 0..for_queue + self.held.saturating_sub(held) {
            let node = self.nodes.launch(now_ms, now_ms + self.world.timing.ready_ms);
            watch.launched(now_ms, node);
        }
    }

    fn next_tick_ms(&self) -> i64 {
        self.world.begin_ms + self.world.timing.tick_ms * i64::try_from(self.ticks).unwrap_or(i64::MAX)
    }

    fn next_ms(&self) -> i64 {
        let end = self.running.peek().map(|next| next.0.0);
        let submitted = self.jobs.get(self.submitted).map(|job| job.submit_ms);
        let first = [end, self.nodes.next_ready_ms(), submitted].into_iter().flatten().min();
        let tick = self.next_tick_ms();
        first.map_or(tick, |first| first.min(tick))
    }
}
