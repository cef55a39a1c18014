//! What the past teaches: how many seconds of waiting one more empty node would have saved, tick by tick.

use kompass_capacity::Past;
use kompass_simulation::capacity::Timing;
use kompass_simulation::capacity::engine::{self, World};
use kompass_simulation::capacity::input::Job;

/// Numbers of nodes that are tried, one after the other, until hardly anybody waits.
const TRIED: [u32; 12] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
/// With a mean wait below this no more nodes are tried, milliseconds.
const WAIT_ENOUGH_MS: i64 = 500;
/// So much of the past is replayed at most: six weeks.
const REPLAYED_MS: i64 = 42 * 24 * 3_600_000;

/// What holding `nodes` rather than `instead` would have saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Empty nodes held.
    pub nodes: u32,
    /// The number tried before, 0 at first.
    pub instead: u32,
    /// By tick, seconds of waiting saved by each node more; below zero where gangs had been placed less luckily.
    pub saved_s: Vec<f64>,
}

/// One replayed past.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// When its ticks are, milliseconds.
    pub ticks_ms: Vec<i64>,
    /// Numbers of nodes, rising.
    pub steps: Vec<Step>,
}

impl Lesson {
    /// Replays what is known at a moment. Of gangs that have not ended by then it is known that they ran until then.
    ///
    /// A tick is credited with what it can change: what is held at it is there for those that are submitted from half a
    /// boot after it until half a boot after the next one.
    pub fn new(past: &Past<'_>, timing: Timing, now_ms: i64) -> Self {
        let jobs = jobs(past, now_ms);
        let Some(first_ms) = jobs.first().map(|job| job.submit_ms) else {
            return Self {
                ticks_ms: Vec::new(),
                steps: Vec::new(),
            };
        };
        let world = World {
            shape: past.shape,
            timing,
            begin_ms: first_ms - first_ms.rem_euclid(timing.tick_ms),
            end_ms: now_ms,
        };
        let mut ticks_ms = Vec::new();
        let mut tick_ms = world.begin_ms;
        // Later ones have not been followed to their end.
        while tick_ms + timing.tick_ms + timing.ready_ms <= now_ms {
            ticks_ms.push(tick_ms);
            tick_ms += timing.tick_ms;
        }
        let after_ms = timing.ready_ms / 2;
        let tick_of = |job: &Job| {
            let tick = (job.submit_ms - after_ms - 1 - world.begin_ms).div_euclid(timing.tick_ms);
            usize::try_from(tick).ok().filter(|tick| *tick < ticks_ms.len())
        };
        let mut steps = Vec::new();
        let mut waits_ms = waits(world, &jobs, 0);
        let mut instead = 0;
        for pair in TRIED.chunks(2) {
            if waits_ms.iter().sum::<i64>() < WAIT_ENOUGH_MS * i64::try_from(jobs.len()).unwrap_or(i64::MAX) {
                break;
            }
            for (&nodes, now) in pair.iter().zip(each(pair, |nodes| waits(world, &jobs, nodes))) {
                let mut saved_s = vec![0.0; ticks_ms.len()];
                let each_s = 1_000.0 * f64::from(nodes - instead);
                for (job, (before, now)) in jobs.iter().zip(waits_ms.iter().zip(&now)) {
                    if let Some(tick) = tick_of(job) {
                        saved_s[tick] += (before - now) as f64 / each_s;
                    }
                }
                steps.push(Step {
                    nodes,
                    instead,
                    saved_s,
                });
                (waits_ms, instead) = (now, nodes);
            }
        }
        Self { ticks_ms, steps }
    }
}

/// Runs a task for each number, side by side.
fn each<T: Send>(numbers: &[u32], task: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let task = &task;
    std::thread::scope(|scope| {
        let threads: Vec<_> = numbers
            .iter()
            .map(|&number| scope.spawn(move || task(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// The last weeks of a past as jobs.
fn jobs(past: &Past<'_>, now_ms: i64) -> Vec<Job> {
    let first = past.submitted.partition_point(|gang| gang.at_ms < now_ms - REPLAYED_MS);
    let known = past.submitted.partition_point(|gang| gang.at_ms <= now_ms);
    let mut jobs: Vec<Job> = past.submitted[first..known]
        .iter()
        .map(|gang| Job {
            recorded_ms: gang.at_ms,
            submit_ms: gang.at_ms,
            run_ms: (now_ms - gang.at_ms).max(1),
            profile: gang.profile,
            members: gang.members,
            size: gang.size,
        })
        .collect();
    for end in past.ended.iter().take_while(|end| end.at_ms <= now_ms) {
        if let Some(job) = end.gang.checked_sub(first).and_then(|index| jobs.get_mut(index)) {
            job.run_ms = end.run_ms;
        }
    }
    jobs
}

/// How long each job waits when so many empty nodes are held at all times.
fn waits(world: World, jobs: &[Job], nodes: u32) -> Vec<i64> {
    let outcome = engine::run(world, jobs, &[nodes], &mut ());
    let starts = jobs.iter().zip(outcome.starts_ms);
    starts.map(|(job, start_ms)| start_ms - job.submit_ms).collect()
}

#[cfg(test)]
mod tests;
