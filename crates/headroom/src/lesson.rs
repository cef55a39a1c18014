//! What the past teaches: how many seconds of waiting one more empty node would have saved, tick by tick.

use std::sync::OnceLock;

use kompass_capacity::Past;
use kompass_simulation::capacity::engine::{self, World};
use kompass_simulation::capacity::input::Job;
use kompass_simulation::capacity::{Timing, work};

/// Numbers of nodes that are tried, one after the other, until hardly anybody waits; two at a time.
const TRIED: [[u32; 2]; 6] = [[1, 2], [3, 4], [6, 8], [12, 16], [24, 32], [48, 64]];
/// With a mean wait below this no more nodes are tried, milliseconds.
const WAIT_ENOUGH_MS: i64 = 500;
/// Longer ago is not learned from: six weeks.
const LEARNED_MS: i64 = 42 * 24 * 3_600_000;

/// A history that is replayed with one number of nodes after the other, each once for all moments: what was known at a
/// moment is the part of a replay that is before it.
#[derive(Debug)]
pub struct Replays {
    world: World,
    jobs: Vec<Job>,
    /// When each job started without any node held.
    without_ms: OnceLock<Vec<i64>>,
    /// The same with each number of nodes, as far as that was asked for.
    with_ms: [OnceLock<Vec<Vec<i64>>>; TRIED.len()],
}

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

/// What was known at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// When its ticks are, milliseconds.
    pub ticks_ms: Vec<i64>,
    /// Numbers of nodes, rising.
    pub steps: Vec<Step>,
}

impl Replays {
    /// Of all that a past holds. Of gangs that have not ended by `now_ms` it is known that they ran until then.
    pub fn new(past: &Past<'_>, timing: Timing, now_ms: i64) -> Self {
        let jobs = jobs(past, now_ms);
        let first_ms = jobs.first().map_or(now_ms, |job| job.submit_ms);
        Self {
            world: World {
                shape: past.shape,
                timing,
                begin_ms: first_ms - first_ms.rem_euclid(timing.tick_ms),
                // Until all have started.
                end_ms: first_ms,
            },
            jobs,
            without_ms: OnceLock::new(),
            with_ms: Default::default(),
        }
    }

    /// What was known at a moment.
    ///
    /// A tick is credited with what it can change: what is held at it is there for those that are submitted from half a
    /// boot after it until half a boot after the next one.
    pub fn lesson(&self, now_ms: i64) -> Lesson {
        let timing = self.world.timing;
        let skipped = (now_ms - LEARNED_MS - self.world.begin_ms).max(0) / timing.tick_ms;
        let begin_ms = self.world.begin_ms + skipped * timing.tick_ms;
        // Later ones have not been followed to their end.
        let last_ms = now_ms - timing.tick_ms - timing.ready_ms;
        let ticks = (last_ms - begin_ms).div_euclid(timing.tick_ms) + 1;
        let ticks_ms: Vec<i64> = (0..ticks).map(|tick| begin_ms + tick * timing.tick_ms).collect();
        let from = self.jobs.partition_point(|job| job.submit_ms < begin_ms);
        let to = self.jobs.partition_point(|job| job.submit_ms <= now_ms);
        let jobs = &self.jobs[from..to];
        let after_ms = timing.ready_ms / 2;
        let tick_of = |job: &Job| {
            let tick = (job.submit_ms - after_ms - 1 - begin_ms).div_euclid(timing.tick_ms);
            usize::try_from(tick).ok().filter(|tick| *tick < ticks_ms.len())
        };
        // Who waits still has waited until now, as far as is known.
        let waits = |starts_ms: &[i64]| -> Vec<i64> {
            let starts = jobs.iter().zip(&starts_ms[from..to]);
            starts
                .map(|(job, &start_ms)| start_ms.min(now_ms) - job.submit_ms)
                .collect()
        };
        let mut steps = Vec::new();
        let mut waits_ms = waits(self.without_ms.get_or_init(|| self.starts(0)));
        let mut instead = 0;
        let enough_ms = WAIT_ENOUGH_MS * i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        for (pair, with_ms) in TRIED.iter().zip(&self.with_ms) {
            if waits_ms.iter().sum::<i64>() <= enough_ms {
                break;
            }
            let with_ms = with_ms.get_or_init(|| work::each(pair.len(), |index| self.starts(pair[index])));
            for (&nodes, starts_ms) in pair.iter().zip(with_ms) {
                let now = waits(starts_ms);
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
        Lesson { ticks_ms, steps }
    }

    /// All ticks from the first submission to the last.
    pub fn ticks_ms(&self) -> impl Iterator<Item = i64> {
        let World { begin_ms, timing, .. } = self.world;
        let last_ms = self.jobs.last().map_or(i64::MIN, |job| job.submit_ms);
        (0..)
            .map(move |tick| begin_ms + tick * timing.tick_ms)
            .take_while(move |tick_ms| *tick_ms <= last_ms)
    }

    /// When each job starts if so many empty nodes are held at all times.
    fn starts(&self, nodes: u32) -> Vec<i64> {
        engine::run(self.world, &self.jobs, &[nodes], &mut ()).starts_ms
    }
}

/// A past as jobs.
fn jobs(past: &Past<'_>, now_ms: i64) -> Vec<Job> {
    let known = past.submitted.partition_point(|gang| gang.at_ms <= now_ms);
    let mut jobs: Vec<Job> = past.submitted[..known]
        .iter()
        .map(|gang| Job {
            recorded_ms: gang.at_ms,
            submit_ms: gang.at_ms,
            run_ms: now_ms.saturating_sub(gang.at_ms).max(1),
            profile: gang.profile,
            members: gang.members,
            size: gang.size,
        })
        .collect();
    for end in past.ended.iter().take_while(|end| end.at_ms <= now_ms) {
        if let Some(job) = jobs.get_mut(end.gang) {
            job.run_ms = end.run_ms;
        }
    }
    jobs
}

#[cfg(test)]
mod tests;
