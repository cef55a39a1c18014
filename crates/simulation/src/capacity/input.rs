//! A trace as the backtest replays it: jittered submissions, and the past as policies see it.

use std::collections::HashMap;

use kompass_capacity::{Ended, Members, Shape, Submitted};

use crate::trace::Gang;

/// The times of the simulated world, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two ticks, at which policies decide and nodes are given back.
    pub tick_ms: i64,
    /// From the event that asks for a node to the moment at which it is ready: reaction and boot.
    pub ready_ms: i64,
    /// How long a node is empty before it may be given back.
    pub idle_ms: i64,
}

impl Timing {
    /// Ticks of 300 s, 10 s of reaction before a boot of `boot_ms`, scale-down after 600 s.
    pub const fn new(boot_ms: i64) -> Self {
        Self {
            tick_ms: 300_000,
            ready_ms: boot_ms + 10_000,
            idle_ms: 600_000,
        }
    }
}

/// A gang of the trace in the terms of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// When it was submitted, as recorded, milliseconds.
    pub recorded_ms: i64,
    /// When it is submitted in this replay, milliseconds.
    pub submit_ms: i64,
    /// How long it runs, milliseconds.
    pub run_ms: i64,
    /// Its profile's number.
    pub profile: u32,
    /// Its driver and its executors, the one with the larger dominant share first.
    pub members: [Members; 2],
    /// Its node-size, parts of a node.
    pub size: u64,
}

/// The trace's gangs that fit, in the order of the trace, and how many were left out because one of their pods is larger
/// than a node.
pub fn jobs(gangs: &[Gang], shape: Shape) -> (Vec<Job>, usize) {
    let mut profiles: HashMap<&str, u32> = HashMap::new();
    let mut jobs = Vec::with_capacity(gangs.len());
    for gang in gangs {
        let next = u32::try_from(profiles.len()).unwrap_or(u32::MAX);
        let profile = *profiles.entry(&gang.profile).or_insert(next);
        let driver = Members {
            count: 1,
            cpu_milli: gang.driver_cpu_milli,
            memory_mib: gang.driver_memory_mib,
        };
        let executors = Members {
            count: gang.executors,
            cpu_milli: gang.executor_cpu_milli,
            memory_mib: gang.executor_memory_mib,
        };
        let mut members = [driver, executors];
        let fits = |member: &Members| member.count == 0 || shape.holds(member.cpu_milli, member.memory_mib);
        if !members.iter().all(fits) {
            continue;
        }
        // The driver first where both are alike.
        members.sort_by_key(|member| std::cmp::Reverse(shape.share(member.cpu_milli, member.memory_mib)));
        jobs.push(Job {
            recorded_ms: gang.submit_ms(),
            submit_ms: gang.submit_ms(),
            run_ms: gang.run_ms(),
            profile,
            members,
            size: shape.size(&members),
        });
    }
    let left_out = gangs.len() - jobs.len();
    (jobs, left_out)
}

/// Submissions move by up to this much, either way.
pub const JITTER_MS: u64 = 60_000;

/// One replay of a trace: every job at its jittered time, in that order. Replay 0 is the trace as recorded.
///
/// A job's jitter depends on seed, replay and its place in the trace alone: it is the same under every policy, and what
/// is later in the trace doesn't change it.
pub fn replay(jobs: &[Job], seed: u64, replay: u32) -> Vec<Job> {
    let mut moved = jobs.to_vec();
    if replay == 0 {
        return moved;
    }
    let stream = mix(seed ^ mix(u64::from(replay)));
    for (place, job) in (0_u64..).zip(&mut moved) {
        let jitter = mix(stream ^ mix(place)) % (2 * JITTER_MS + 1);
        job.submit_ms = (job.recorded_ms + jitter.cast_signed() - JITTER_MS.cast_signed()).max(0);
    }
    moved.sort_by_key(|job| job.submit_ms);
    moved
}

/// A well-mixed number from a number: the output function of `SplitMix64` (Steele, Lea, Flood: Fast splittable
/// pseudorandom number generators, OOPSLA 2014).
pub(super) const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// What policies get to know of a replay, all of it; what is known at a moment is its beginning.
///
/// Decisions are made before nodes are simulated, so that all policies see the same. That a gang has ended is therefore
/// told as if it had waited for a node to boot, as gangs do at most where nodes are without limit: never earlier than it
/// would have been seen.
#[derive(Debug)]
pub struct Seen {
    /// Submissions in order of time.
    pub submitted: Vec<Submitted>,
    /// Ends in order of time.
    pub ended: Vec<Ended>,
}

impl Seen {
    /// Of a replay's jobs.
    pub fn new(jobs: &[Job], timing: Timing) -> Self {
        let submitted = jobs.iter().map(|job| Submitted {
            at_ms: job.submit_ms,
            profile: job.profile,
            members: job.members,
            size: job.size,
        });
        let ended = jobs.iter().enumerate().map(|(gang, job)| Ended {
            at_ms: job.submit_ms + timing.ready_ms + job.run_ms,
            gang,
            run_ms: job.run_ms,
        });
        let (submitted, mut ended): (Vec<_>, Vec<_>) = (submitted.collect(), ended.collect());
        ended.sort_by_key(|end| (end.at_ms, end.gang));
        Self { submitted, ended }
    }
}
