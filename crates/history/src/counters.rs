//! Gangs by KOMPASS's own counters of those that have ended (`docs/metrics.md`).
//!
//! All figures of a gang are counted at once, when it has ended. So the counters of a profile key that rise between two
//! looks tell together what ended in between: of one gang its own figures, of several their sum. It was submitted its run
//! time and its wait before its end.

mod figures;
mod increase;

use std::collections::BTreeMap;

use self::figures::{Group, Origin};
use self::increase::{Process, Reading, increases};
use crate::numbers::{milliseconds, whole};
use crate::questions::{BORN, Counter};
use crate::seen::{STEP_MS, Seen, grid};
use crate::series::{label, merged};
use crate::{Bins, Dropped, Gang, Labels, Reason, Series, Window};

/// Length of the bins of gangs that ended, milliseconds.
const BIN_MS: i64 = 300_000;

/// What a Prometheus answered to the questions about counters.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Counters by profile key: their values where they changed, and where they stood before the window.
    pub counters: BTreeMap<Counter, Vec<Series>>,
    /// Gangs of all profiles that ended, at every moment at which a process was seen.
    pub total: Vec<Series>,
    /// When processes started, seconds since 1970, where that changed.
    pub starts: Vec<Series>,
    /// Moments at which no replica led.
    pub leaderless: Vec<Series>,
    /// Profile keys and their wider keys, now and then.
    pub kin: Vec<Series>,
}

/// What the counters tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    pub(crate) gangs: Vec<Gang>,
    pub(crate) ended: Bins,
    /// Moments at which gangs were counted.
    pub(crate) seen: Seen,
    pub(crate) leaderless: Seen,
    pub(crate) dropped: Vec<Dropped>,
}

/// Counts of what was dropped, by reason.
#[derive(Debug, Default)]
struct Tally(BTreeMap<Reason, u64>);

/// A process that counts: its address and its pod, as far as these are labels.
type ProcessName = (String, String);

/// Reads the answers.
pub(crate) fn read(answers: Answers, window: Window) -> Counted {
    let mut tally = Tally::default();
    let total = take(answers.total, &mut tally);
    let mut processes: BTreeMap<ProcessName, Process> = BTreeMap::new();
    for series in &total {
        let process = processes.entry(process_name(&series.labels)).or_default();
        process.seen = process
            .seen
            .or(&Seen::new(series.points.iter().map(|point| point.at_ms)));
    }
    for series in take(answers.starts, &mut tally) {
        let process = processes.entry(process_name(&series.labels)).or_default();
        for point in &series.points {
            process.starts.push((point.at_ms, milliseconds(point.value)));
        }
        process.starts.sort_unstable();
    }
    let leaderless = Seen::new(take(answers.leaderless, &mut tally).into_iter().flat_map(times));
    let looked = Seen::new(processes.values().flat_map(|process| process.seen.times()).copied());
    let seen = looked.without(&leaderless);

    let unknown = Process::default();
    let mut groups: BTreeMap<Origin, BTreeMap<i64, Group>> = BTreeMap::new();
    for (counter, series) in answers.counters {
        for (labels, readings) in readings(series, &mut tally) {
            let name = process_name(&labels);
            let process = processes.get(&name).unwrap_or(&unknown);
            let found = increases(&readings, process, window.from_ms);
            tally.add(Reason::NoNumber, found.negative);
            tally.add(Reason::Spike, found.spikes);
            tally.add(Reason::NoStart, found.no_start);
            let origin = Origin {
                process: name,
                profile: label(&labels, "profile_key").to_owned(),
            };
            let of_origin = groups.entry(origin).or_default();
            for one in found.all {
                let group = of_origin.entry(one.at_ms).or_insert_with(|| Group::new(one.from_ms));
                group.add(counter, label(&labels, "outcome"), one.by);
            }
        }
    }
    let mut gangs = Vec::new();
    for (origin, groups) in groups {
        let (whole, unmatched) = figures::matched(groups);
        tally.add(Reason::Unmatched, unmatched);
        for (at_ms, group) in whole {
            tally.add(Reason::Partial, group.partial());
            match group.gangs(&origin.profile, at_ms) {
                Ok(of_group) => gangs.extend(of_group),
                Err(count) => tally.add(Reason::TooMany, count),
            }
        }
    }
    let (ended, all) = ended(&total, &processes, &seen, window);
    let unbelieved = tally.0.get(&Reason::TooMany).copied().unwrap_or(0);
    let told = unbelieved.saturating_add(gangs.len() as u64);
    tally.add(Reason::Untold, all.saturating_sub(told));
    Counted {
        gangs,
        ended,
        seen,
        leaderless,
        dropped: tally.into(),
    }
}

/// Puts series together and counts what is no number.
fn take(series: Vec<Series>, tally: &mut Tally) -> Vec<Series> {
    let merged = merged(series);
    tally.add(Reason::NoNumber, merged.not_finite);
    merged.series
}

fn times(series: Series) -> impl Iterator<Item = i64> {
    series.points.into_iter().map(|point| point.at_ms)
}

fn process_name(labels: &Labels) -> ProcessName {
    (label(labels, "instance").to_owned(), label(labels, "pod").to_owned())
}

/// The readings of each counter, in order; those that begin a series stand in a series of their own in the answer.
fn readings(series: Vec<Series>, tally: &mut Tally) -> BTreeMap<Labels, Vec<Reading>> {
    let mut by_labels: BTreeMap<Labels, Vec<Reading>> = BTreeMap::new();
    for series in take(series, tally) {
        let mut labels = series.labels;
        let born = labels.remove(BORN).is_some();
        let readings = by_labels.entry(labels).or_default();
        readings.extend(series.points.iter().map(|point| Reading {
            at_ms: point.at_ms,
            value: point.value,
            born,
        }));
    }
    for readings in by_labels.values_mut() {
        readings.sort_by_key(|reading| reading.at_ms);
    }
    by_labels
}

/// Gangs of all profiles that ended, per bin and in all.
fn ended(total: &[Series], processes: &BTreeMap<ProcessName, Process>, seen: &Seen, window: Window) -> (Bins, u64) {
    if total.is_empty() {
        return (Bins::default(), 0);
    }
    let start_ms = window.from_ms.div_euclid(BIN_MS) * BIN_MS;
    let bin = |at_ms: i64| usize::try_from((at_ms - 1 - start_ms).div_euclid(BIN_MS)).ok();
    let mut counts: Vec<Option<u64>> = vec![None; bin(window.to_ms).map_or(0, |last| last + 1)];
    for at_ms in grid(window).filter(|&at_ms| seen.at(at_ms)) {
        if let Some(count) = bin(at_ms).and_then(|bin| counts.get_mut(bin)) {
            *count = Some(0);
        }
    }
    let mut all = 0.0;
    for series in total {
        let mut before = None;
        let readings: Vec<Reading> = series
            .points
            .iter()
            .map(|point| Reading {
                at_ms: point.at_ms,
                value: point.value,
                // What was there when the window began may have been there before.
                born: before.replace(point.at_ms) != Some(point.at_ms - STEP_MS)
                    && point.at_ms > window.from_ms + STEP_MS,
            })
            .collect();
        let Some(process) = processes.get(&process_name(&series.labels)) else {
            continue;
        };
        for one in increases(&readings, process, window.from_ms).all {
            all += one.by;
            // What was counted over a gap is of a time of which nothing is known.
            if one.at_ms - one.from_ms <= 2 * STEP_MS
                && let Some(Some(count)) = bin(one.at_ms).and_then(|bin| counts.get_mut(bin))
            {
                *count = count.saturating_add(whole(one.by));
            }
        }
    }
    let bins = Bins {
        start_ms,
        bin_ms: BIN_MS,
        counts,
    };
    (bins, whole(all))
}

impl Tally {
    fn add(&mut self, reason: Reason, count: u64) {
        if count > 0 {
            let sum = self.0.entry(reason).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}

impl From<Tally> for Vec<Dropped> {
    fn from(tally: Tally) -> Self {
        let lines = tally.0.into_iter();
        lines.map(|(reason, count)| Dropped { reason, count }).collect()
    }
}
