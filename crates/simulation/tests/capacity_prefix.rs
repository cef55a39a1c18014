//! No policy knows the future: what comes after a moment changes no decision up to it.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

mod generated;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use kompass_capacity::{Family, Past, Policy, Shape, policy};
use kompass_simulation::capacity::Timing;
use kompass_simulation::capacity::decide::{Decisions, decide, oracle};
use kompass_simulation::capacity::input::{Job, Seen, jobs, replay};

use generated::{DAY_S, Random};

const DAYS: i64 = 9;
const TIMING: Timing = Timing::new(150_000);

fn shape() -> Shape {
    Shape::new(8_000, 32_768).unwrap()
}

fn all_jobs() -> Vec<Job> {
    let gangs = generated::trace(DAYS, 400);
    jobs(&gangs, shape()).0
}

/// Decides by all that it has been shown, so that anything that is shown too early changes a decision.
#[derive(Default)]
struct Everything {
    hasher: DefaultHasher,
    read: (usize, usize),
}

impl Policy for Everything {
    fn headroom(&mut self, now_ms: i64, past: &Past<'_>, nodes: &mut [u32]) {
        for gang in &past.submitted[self.read.0..] {
            let requests = gang
                .members
                .map(|member| (member.count, member.cpu_milli, member.memory_mib));
            (gang.at_ms, gang.profile, requests, gang.size).hash(&mut self.hasher);
            assert!(gang.at_ms <= now_ms);
        }
        for end in &past.ended[self.read.1..] {
            (end.at_ms, end.gang, end.run_ms).hash(&mut self.hasher);
            assert!(end.at_ms <= now_ms && past.submitted[end.gang].at_ms + end.run_ms <= now_ms);
        }
        self.read = (past.submitted.len(), past.ended.len());
        nodes.fill(u32::try_from(self.hasher.finish() >> 32).unwrap());
    }
}

fn families() -> Vec<Family> {
    let everything = Family {
        name: "everything",
        meaning: "",
        parameters: vec![0.0],
        make: Box::new(|| Box::<Everything>::default()),
    };
    policy::families(shape()).into_iter().chain([everything]).collect()
}

/// Decisions of every policy on a replay of these jobs.
fn decisions(jobs: &[Job], number: u32) -> Vec<(&'static str, Decisions)> {
    let seen = Seen::new(&replay(jobs, 7, number), TIMING);
    let span_ms = (DAY_S * 1_000, DAYS * DAY_S * 1_000);
    let each = families().into_iter();
    each.map(|family| (family.name, decide(&family, shape(), &seen, TIMING, span_ms)))
        .collect()
}

/// Decisions up to a time, byte for byte.
fn up_to(decisions: &Decisions, at_ms: i64) -> String {
    let ticks = usize::try_from((at_ms - DAY_S * 1_000) / TIMING.tick_ms + 1).unwrap();
    let rows: Vec<String> = (0..ticks)
        .map(|tick| {
            let nodes: Vec<u32> = decisions.headroom.iter().map(|all| all[tick]).collect();
            format!("{tick} {nodes:?} {:?}\n", decisions.fit_until_ms[tick])
        })
        .collect();
    rows.concat()
}

fn cut(jobs: &[Job], at_ms: i64) -> Vec<Job> {
    jobs.iter().filter(|job| job.recorded_ms <= at_ms).copied().collect()
}

/// What is after a time comes in another order and other sizes, and what runs then runs otherwise long.
fn another_future(jobs: &[Job], at_ms: i64) -> Vec<Job> {
    let mut random = Random(5);
    let mut changed = cut(jobs, at_ms);
    for job in &mut changed {
        let age_ms = at_ms - job.recorded_ms;
        if job.run_ms > age_ms {
            job.run_ms = age_ms + 1 + i64::from(random.below(10_000_000));
        }
    }
    let after: Vec<Job> = jobs.iter().filter(|job| job.recorded_ms > at_ms).copied().collect();
    let mut rest = after.clone();
    for job in &after {
        let other = rest.swap_remove(random.below(u32::try_from(rest.len()).unwrap()) as usize);
        changed.push(Job {
            recorded_ms: job.recorded_ms,
            submit_ms: job.submit_ms,
            ..other
        });
    }
    changed
}

#[test]
fn what_comes_later_changes_no_decision() {
    let jobs = all_jobs();
    for number in [0, 3] {
        let whole = decisions(&jobs, number);
        for hours in [30, 101, 187] {
            let at_ms = hours * 3_600_000 + 120_000;
            // In a replay what is recorded within a minute after may be submitted before.
            let until_ms = if number == 0 { at_ms } else { at_ms - 60_000 };
            for other in [cut(&jobs, at_ms), another_future(&jobs, at_ms)] {
                for ((name, whole), (_, other)) in whole.iter().zip(&decisions(&other, number)) {
                    let same = up_to(whole, until_ms) == up_to(other, until_ms);
                    assert!(same, "{name}, {hours} h, replay {number}");
                }
            }
        }
    }
}

#[test]
fn every_fit_is_of_the_past() {
    for (name, decisions) in decisions(&all_jobs(), 1) {
        for (fit_until_ms, tick) in decisions.fit_until_ms.iter().zip(0_i64..) {
            let now_ms = DAY_S * 1_000 + tick * TIMING.tick_ms;
            assert!(fit_until_ms.is_none_or(|fit_until_ms| fit_until_ms <= now_ms), "{name}");
        }
    }
}

/// The test above would find foresight: the oracle has it.
#[test]
fn the_oracle_does_not_pass() {
    let jobs = all_jobs();
    let decided = |jobs: &[Job]| {
        let seen = Seen::new(&replay(jobs, 7, 0), TIMING);
        oracle(&[1.0], shape(), &seen, TIMING, (DAY_S * 1_000, DAYS * DAY_S * 1_000))
    };
    let foresees = |hours: i64| {
        let at_ms = hours * 3_600_000;
        up_to(&decided(&jobs), at_ms) != up_to(&decided(&cut(&jobs, at_ms)), at_ms)
    };
    assert!([30, 101, 187, 202].into_iter().any(foresees));
}
