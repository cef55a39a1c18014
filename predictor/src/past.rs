//! The past in nodes of one shape, as policies and replays look at it. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;

use kompass_capacity::{Ended, Members, Past, Shape, Submitted};
use kompass_core::Resources;
use kompass_core::resources::MIB;
use kompass_forecast::runtimes::{Run, Runtimes};
use kompass_forecast::shapes::{Shapes, Size};
use kompass_history::{End, Gang, History, Kin};
use kompass_simulation::capacity::input::Job;

/// Gangs that fit on nodes of the shape.
#[derive(Debug, Default)]
pub struct Known {
    /// In order of submission, also those that still wait or run.
    pub submitted: Vec<Submitted>,
    /// In order of their ends.
    pub ended: Vec<Ended>,
    /// Those that ran, in order of submission. Of one that still runs it is known that it ran until now.
    pub jobs: Vec<Job>,
    /// Gangs with a pod that is larger than a node.
    pub too_large: usize,
    /// Names of the profiles, by their numbers in the others.
    pub profiles: Vec<String>,
}

impl Known {
    /// `gangs` are in order of submission.
    pub fn new(gangs: &[Gang], shape: Shape) -> Self {
        let mut known = Self::default();
        let mut profiles: HashMap<&str, u32> = HashMap::new();
        for gang in gangs {
            let next = u32::try_from(profiles.len()).unwrap_or(u32::MAX);
            let profile = *profiles.entry(&gang.profile).or_insert_with(|| {
                known.profiles.push(gang.profile.clone());
                next
            });
            let mut members = [members(1, &gang.driver), members(gang.executors, &gang.executor)];
            let fits = |member: &Members| member.count == 0 || shape.holds(member.cpu_milli, member.memory_mib);
            if !members.iter().all(fits) {
                known.too_large += 1;
                continue;
            }
            members.sort_by_key(|member| Reverse(shape.share(member.cpu_milli, member.memory_mib)));
            known.add(gang, profile, members, shape.size(&members));
        }
        known.ended.sort_by_key(|end| (end.at_ms, end.gang));
        known
    }

    fn add(&mut self, gang: &Gang, profile: u32, members: [Members; 2], size: u64) {
        let number = self.submitted.len();
        self.submitted.push(Submitted {
            at_ms: gang.submit_ms,
            profile,
            members,
            size,
        });
        if gang.end != End::Running {
            // What was given up before it ran has gone, too.
            self.ended.push(Ended {
                at_ms: end_ms(gang),
                gang: number,
                run_ms: gang.run_ms.unwrap_or(0),
            });
        }
        if let Some(run_ms) = gang.run_ms {
            self.jobs.push(Job {
                recorded_ms: gang.submit_ms,
                submit_ms: gang.submit_ms,
                run_ms: run_ms.max(1),
                profile,
                members,
                size,
            });
        }
    }

    /// What is known at a moment. What is told about later ones (clocks differ) is not.
    pub fn at(&self, now_ms: i64, shape: Shape) -> Past<'_> {
        Past {
            shape,
            submitted: &self.submitted[..self.submitted.partition_point(|gang| gang.at_ms <= now_ms)],
            ended: &self.ended[..self.ended.partition_point(|end| end.at_ms <= now_ms)],
        }
    }
}

fn members(count: u64, each: &Resources) -> Members {
    Members {
        count,
        cpu_milli: each.cpu_milli,
        memory_mib: each.memory_bytes.div_ceil(MIB),
    }
}

/// When a gang ended, milliseconds.
fn end_ms(gang: &Gang) -> i64 {
    let start_ms = gang.submit_ms.saturating_add(gang.wait_ms);
    start_ms.saturating_add(gang.run_ms.unwrap_or(0))
}

/// The gangs of a longer past with those of a newer one, which knows more of its own time.
pub fn joined(before: &[Gang], newer: &History) -> Vec<Gang> {
    let kept = before.partition_point(|gang| gang.submit_ms < newer.window.from_ms);
    [&before[..kept], &newer.gangs].concat()
}

/// How long gangs ran, by their profile keys and, where kin is known, by wider keys. What was cut off is a lower bound; what
/// still runs says nothing yet. Of two pasts that know kin the first one counts.
pub fn runtimes(gangs: &[Gang], kin: [&Kin; 2]) -> Runtimes {
    let mut ended: Vec<&Gang> = gangs.iter().filter(|gang| gang.end != End::Running).collect();
    // What ended last counts most.
    ended.sort_by_key(|gang| end_ms(gang));
    let mut runtimes = Runtimes::default();
    for gang in ended {
        if let Some(run_ms) = gang.run_ms {
            let run = Run {
                seconds: run_ms.max(0).unsigned_abs().div_ceil(1_000),
                ended: gang.end == End::Succeeded,
            };
            runtimes.observe(keys(gang, kin), run);
        }
    }
    runtimes
}

/// How many executors of which size gangs had, by the same keys. Of those that still run more may come.
pub fn shapes(gangs: &[Gang], kin: [&Kin; 2]) -> Shapes {
    let mut shapes = Shapes::default();
    for gang in gangs
        .iter()
        .filter(|gang| gang.end != End::Running && gang.run_ms.is_some())
    {
        let size = Size {
            driver_cpu_milli: gang.driver.cpu_milli,
            driver_memory_mib: gang.driver.memory_bytes.div_ceil(MIB),
            executor_cpu_milli: gang.executor.cpu_milli,
            executor_memory_mib: gang.executor.memory_bytes.div_ceil(MIB),
        };
        shapes.observe(keys(gang, kin), gang.executors, size);
    }
    shapes
}

/// The keys of a gang, its own first.
fn keys<'a>(gang: &'a Gang, kin: [&'a Kin; 2]) -> impl Iterator<Item = &'a str> {
    let wider = kin.into_iter().find_map(|kin| kin.get(&gang.profile));
    let wider = wider.into_iter().flatten().map(String::as_str);
    [gang.profile.as_str()].into_iter().chain(wider)
}

/// Until when a history is known, milliseconds: its end, or where the gap begins that it ends with.
pub fn known_until_ms(history: &History) -> i64 {
    // A sample of the last minute may still be on its way.
    const SCRAPE_MS: i64 = 60_000;
    let to_ms = history.window.to_ms;
    let last = history.gaps.last().filter(|gap| gap.to_ms + SCRAPE_MS > to_ms);
    last.map_or(to_ms, |gap| gap.from_ms)
}

/// How much of the time from a moment to the end of a history is unknown, milliseconds.
pub fn unknown_since_ms(history: &History, from_ms: i64) -> i64 {
    let inside = |gap: &kompass_history::Gap| (gap.to_ms - gap.from_ms.max(from_ms)).max(0);
    history.gaps.iter().map(inside).sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use kompass_history::{Bins, Gap, Source, Why, Window};

    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const NO_KIN: [&Kin; 2] = [&Kin::new(), &Kin::new()];

    /// A driver of half a CPU and executors of one each.
    pub(crate) fn gang(submit_ms: i64, run_ms: Option<i64>, end: End, executors: u64) -> Gang {
        Gang {
            submit_ms,
            submit_error_ms: 0,
            wait_ms: 1_000,
            run_ms,
            end,
            profile: "etl-1".into(),
            namespace: None,
            queue: None,
            driver: Resources::from_mib(500, 512),
            executors,
            executor: Resources::from_mib(1_000, 512),
            averaged_over: 1,
            source: Source::KubeStateMetrics,
        }
    }

    pub(crate) fn history(from_ms: i64, to_ms: i64, gangs: Vec<Gang>) -> History {
        History {
            window: Window { from_ms, to_ms },
            gangs,
            ended: Bins::default(),
            gaps: Vec::new(),
            dropped: Vec::new(),
            kin: Kin::new(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn gap(from_ms: i64, to_ms: i64) -> Gap {
        let why = Why::NoSamples;
        Gap { from_ms, to_ms, why }
    }

    #[test]
    fn what_still_runs_was_submitted_and_has_not_ended() {
        let shape = Shape::new(1_000, 1_024).unwrap();
        let gangs = [
            gang(0, Some(9 * MINUTE_MS), End::Succeeded, 2),
            gang(MINUTE_MS, Some(MINUTE_MS), End::CutOff, 1),
            gang(2 * MINUTE_MS, Some(8 * MINUTE_MS), End::Running, 1),
            gang(3 * MINUTE_MS, None, End::Running, 1),
            gang(4 * MINUTE_MS, None, End::CutOff, 1),
        ];
        let known = Known::new(&gangs, shape);
        assert_eq!((known.submitted.len(), known.jobs.len(), known.ended.len()), (5, 3, 3));
        assert_eq!(known.ended[0].gang, 1, "the second one ended first");
        // Two and a half nodes.
        assert_eq!(known.submitted[0].size * 2, 5 * shape.parts());
        let past = known.at(MINUTE_MS, shape);
        assert_eq!((past.submitted.len(), past.ended.len()), (2, 0));
        let small = Shape::new(900, 1_024).unwrap();
        assert_eq!(Known::new(&gangs, small).too_large, 5);
    }

    #[test]
    fn a_newer_history_replaces_its_own_time() {
        let before = [gang(0, Some(1), End::Succeeded, 1), gang(10, Some(1), End::Running, 1)];
        let newer = history(5, 20, vec![gang(10, Some(5), End::Succeeded, 1)]);
        let joined = joined(&before, &newer);
        assert_eq!(joined.len(), 2);
        assert_eq!(joined[1].end, End::Succeeded);
    }

    #[test]
    fn runs_that_were_cut_off_are_lower_bounds() {
        let mut gangs = vec![gang(0, Some(100_000), End::Succeeded, 1); 5];
        gangs.push(gang(0, Some(1_000_000), End::Running, 1));
        let known = runtimes(&gangs, NO_KIN).estimate(&["etl-1"], 0, &[]).unwrap().estimate;
        assert_eq!(known.samples, 5);
        assert!((80..=120).contains(&known.p50_s), "{known:?}");
        gangs.extend(vec![gang(0, Some(1_000_000), End::CutOff, 1); 5]);
        let longer = runtimes(&gangs, NO_KIN).estimate(&["etl-1"], 0, &[]).unwrap().estimate;
        assert_eq!(longer.samples, 5);
        assert!(longer.p90_s > known.p90_s, "{longer:?}");
        assert!(runtimes(&gangs, NO_KIN).estimate(&["other"], 0, &[]).is_none());
    }

    #[test]
    fn a_job_without_runs_of_its_own_is_told_by_its_kin() {
        let mut gangs = vec![gang(0, Some(100_000), End::Succeeded, 1); 5];
        gangs.extend(vec![gang(0, Some(400_000), End::Succeeded, 1); 5]);
        gangs[5..].iter_mut().for_each(|gang| gang.profile = "report-2".into());
        let kin = |wider: &[&str]| wider.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        let newer: Kin = [("etl-1".to_owned(), kin(&["dag.nightly"]))].into();
        let older: Kin = [
            ("etl-1".to_owned(), kin(&["dag.old"])),
            ("report-2".to_owned(), kin(&["dag.nightly", "name.report"])),
        ]
        .into();
        let runtimes = runtimes(&gangs, [&newer, &older]);
        let told = |keys: &[&'static str]| runtimes.estimate(keys, 0, &[]);
        let all = told(&["new-3", "dag.nightly"]).unwrap();
        assert_eq!((all.key, all.estimate.samples), ("dag.nightly", 10));
        let named = told(&["new-3", "name.report", "dag.nightly"]).unwrap();
        assert_eq!((named.key, named.estimate.samples), ("name.report", 5));
        assert!(
            named.estimate.p50_s > 300 && all.estimate.p90_s > 300,
            "{named:?} {all:?}"
        );
        assert!(told(&["dag.old"]).is_none(), "what is told last counts");
    }

    #[test]
    fn what_ran_and_ended_tells_how_many_executors_there_are() {
        let gangs = [
            gang(0, Some(100), End::Succeeded, 3),
            gang(1, Some(100), End::CutOff, 3),
            gang(2, Some(100), End::Running, 50),
            gang(3, None, End::CutOff, 50),
        ];
        let shapes = shapes(&gangs, NO_KIN);
        let told = shapes.estimate(&["etl-1"]).unwrap();
        assert_eq!((told.executors_p90, told.samples), (3, 2));
        assert_eq!((told.size.driver_cpu_milli, told.size.executor_memory_mib), (500, 512));
    }

    #[test]
    fn a_gap_at_the_end_ends_what_is_known() {
        let mut seen = history(0, 60 * MINUTE_MS, Vec::new());
        assert_eq!(known_until_ms(&seen), 60 * MINUTE_MS);
        seen.gaps = vec![gap(0, 10 * MINUTE_MS), gap(20 * MINUTE_MS, 30 * MINUTE_MS)];
        assert_eq!(known_until_ms(&seen), 60 * MINUTE_MS);
        assert_eq!(unknown_since_ms(&seen, 5 * MINUTE_MS), 15 * MINUTE_MS);
        seen.gaps.push(gap(40 * MINUTE_MS, 60 * MINUTE_MS));
        assert_eq!(known_until_ms(&seen), 40 * MINUTE_MS);
    }
}
