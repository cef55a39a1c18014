//! What counters counted, from their values: resets, beginnings, gaps and spikes told apart.

use crate::seen::{STEP_MS, Seen};

/// Values back that a spike is looked for.
const SPIKE_VALUES: usize = 3;
/// A second server that scrapes the same sees a value so much later at most, milliseconds.
const LAG_MS: i64 = 5 * STEP_MS;

/// A value of a counter. Values that are the same as a step before are left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// When, on the grid.
    pub(super) at_ms: i64,
    pub(super) value: f64,
    /// There was no value one step before.
    pub(super) born: bool,
}

/// A counter counted so much between two moments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Increase {
    /// When the process was last seen before.
    pub(super) from_ms: i64,
    /// When more was seen.
    pub(super) at_ms: i64,
    pub(super) by: f64,
}

/// What is known of the process that counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    /// When it was looked at.
    pub(super) seen: Seen,
    /// From when on (on the grid) a process was seen that started then (by its own clock); in order.
    pub(super) starts: Vec<(i64, i64)>,
}

/// All that a counter tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Increases {
    pub(super) all: Vec<Increase>,
    pub(super) negative: u64,
    pub(super) spikes: u64,
    pub(super) no_start: u64,
}

impl Process {
    /// When the process that was seen at a moment had started.
    fn started(&self, at_ms: i64) -> Option<i64> {
        let index = self.starts.partition_point(|&(seen_ms, _)| seen_ms <= at_ms);
        Some(self.starts.get(index.checked_sub(1)?)?.1)
    }
}

/// The increases of a counter of a process; the readings are in order, and those before `from_ms` only say where it stood.
///
/// Prometheus's own `increase` guesses what happened between samples, takes a spike for a reset and does not see the value
/// that a series begins with. Here the process's start tells a reset from a spike, and presence of the process a series
/// that begins from one that was not looked at.
pub(super) fn increases(readings: &[Reading], process: &Process, from_ms: i64) -> Increases {
    let mut found = Increases::default();
    // Values that counted, each with how many increases there were before it.
    let mut values: Vec<(Reading, usize)> = Vec::new();
    for reading in readings {
        if reading.value < 0.0 {
            found.negative += 1;
            continue;
        }
        if is_late(reading, &values) {
            continue;
        }
        let seen_before = process.seen.at(reading.at_ms - STEP_MS);
        let by = match values.last().copied() {
            None => first(reading, process, from_ms),
            Some((last, _)) => {
                let epochs = (process.started(last.at_ms), process.started(reading.at_ms));
                let same = matches!(epochs, (Some(one), Some(other)) if one == other);
                let restarted = epochs.0.is_some() && epochs.1.is_some() && !same;
                if restarted || (reading.born && seen_before) {
                    Some(reading.value)
                } else if reading.value >= last.value {
                    Some(reading.value - last.value)
                } else if same && !reading.born {
                    Some(after_spike(reading, &mut values, &mut found))
                } else {
                    Some(reading.value)
                }
            }
        };
        let before = found.all.len();
        match by {
            Some(by) if by > 0.0 && reading.at_ms >= from_ms => found.all.push(Increase {
                from_ms: process.seen.before(reading.at_ms).unwrap_or(reading.at_ms - STEP_MS),
                at_ms: reading.at_ms,
                by,
            }),
            None if reading.at_ms >= from_ms => found.no_start += 1,
            _ => {}
        }
        values.push((*reading, before));
    }
    found
}

/// The increase of the first value; none if it is not known what it was before. It began at 0 where its process was seen
/// before without it, or started in the window.
fn first(reading: &Reading, process: &Process, from_ms: i64) -> Option<f64> {
    if reading.at_ms < from_ms {
        return Some(0.0);
    }
    let seen = process.seen.before(reading.at_ms).is_some();
    let new = process
        .started(reading.at_ms)
        .is_some_and(|started_ms| started_ms >= from_ms);
    (reading.born && (seen || new)).then_some(reading.value)
}

/// Whether it is a value that was seen a short while ago and is below the last one: a second server that scrapes the same
/// process has seen it only now. A counter that was set back begins a series anew.
fn is_late(reading: &Reading, values: &[(Reading, usize)]) -> bool {
    let mut recent = values
        .iter()
        .rev()
        .take_while(|(one, _)| reading.at_ms - one.at_ms <= LAG_MS);
    let below = values.last().is_some_and(|(last, _)| reading.value < last.value);
    // The same bits: they are the same sample.
    below && !reading.born && recent.any(|(one, _)| one.value.to_bits() == reading.value.to_bits())
}

/// The increase of a value that is below the last one though the process runs on. If one before that one is not above it,
/// the counter has leapt up and come back, and what lies between did not happen. Else it was set back.
fn after_spike(reading: &Reading, values: &mut Vec<(Reading, usize)>, found: &mut Increases) -> f64 {
    let recent = values.len().saturating_sub(SPIKE_VALUES + 1);
    let Some(index) = (recent..values.len())
        .rev()
        .find(|&index| values[index].0.value <= reading.value)
    else {
        return reading.value;
    };
    let (base, spike) = (values[index].0, values[index + 1].1);
    found.all.truncate(spike);
    found.spikes += (values.len() - index - 1) as u64;
    values.truncate(index + 1);
    reading.value - base.value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FROM: i64 = 10 * STEP_MS;

    /// `(minute, value, born)`.
    fn readings(list: &[(i64, f64, bool)]) -> Vec<Reading> {
        list.iter()
            .map(|&(minute, value, born)| Reading {
                at_ms: minute * STEP_MS,
                value,
                born,
            })
            .collect()
    }

    /// Seen at these minutes, with starts at `(seen from minute, started at minute)`.
    fn process(seen: impl IntoIterator<Item = i64>, starts: &[(i64, i64)]) -> Process {
        Process {
            seen: Seen::new(seen.into_iter().map(|minute| minute * STEP_MS)),
            starts: starts
                .iter()
                .map(|&(seen, started)| (seen * STEP_MS, started * STEP_MS))
                .collect(),
        }
    }

    fn told(list: &[(i64, f64, bool)], process: &Process) -> (Vec<(i64, i64, f64)>, u64, u64) {
        let found = increases(&readings(list), process, FROM);
        let all = found.all.iter();
        let all = all.map(|one| (one.from_ms / STEP_MS, one.at_ms / STEP_MS, one.by));
        (all.collect(), found.spikes, found.no_start)
    }

    #[test]
    fn a_counter_counts_from_where_it_stood() {
        let process = process(5..40, &[(5, 1)]);
        // It stood at 7, counted, and a series that begins while its process is seen begins at 0.
        let list = [(9, 7.0, false), (12, 8.0, false), (13, 10.0, false)];
        assert_eq!(told(&list, &process), (vec![(11, 12, 1.0), (12, 13, 2.0)], 0, 0));
        assert_eq!(told(&[(20, 2.0, true)], &process), (vec![(19, 20, 2.0)], 0, 0));
    }

    #[test]
    fn a_reset_and_a_spike_are_told_apart_by_the_process() {
        let fall = [(9, 100.0, false), (12, 10_000.0, false), (13, 101.0, false)];
        let steady = process(5..40, &[(5, 1)]);
        assert_eq!(told(&fall, &steady), (vec![(12, 13, 1.0)], 1, 0));
        let restarted = process(5..40, &[(5, 1), (13, 12)]);
        assert_eq!(
            told(&fall, &restarted),
            (vec![(11, 12, 9_900.0), (12, 13, 101.0)], 0, 0)
        );
        // Nobody knows when it started: as Prometheus does it.
        let unknown = process(5..40, &[]);
        assert_eq!(told(&fall, &unknown), told(&fall, &restarted));
        // A spike of two values.
        let fall = [
            (9, 5.0, false),
            (12, 500.0, false),
            (13, 501.0, false),
            (14, 6.0, false),
            (20, 7.0, false),
        ];
        assert_eq!(told(&fall, &steady), (vec![(13, 14, 1.0), (19, 20, 1.0)], 2, 0));
    }

    #[test]
    fn a_reset_to_the_same_value_counts() {
        let restarted = process(5..40, &[(5, 1), (13, 12)]);
        let list = [(9, 0.0, false), (11, 1.0, false), (14, 1.0, true)];
        assert_eq!(told(&list, &restarted), (vec![(10, 11, 1.0), (13, 14, 1.0)], 0, 0));
    }

    #[test]
    fn series_that_were_taken_away_and_come_again_begin_at_zero() {
        let steady = process(5..40, &[(5, 1)]);
        let list = [(9, 0.0, false), (11, 3.0, false), (30, 3.0, true), (31, 5.0, false)];
        assert_eq!(
            told(&list, &steady),
            (vec![(10, 11, 3.0), (29, 30, 3.0), (30, 31, 2.0)], 0, 0)
        );
    }

    #[test]
    fn over_a_gap_the_counter_goes_on_or_begins_anew() {
        let seen = || (5..15).chain(30..40);
        let list = [(9, 4.0, false), (30, 6.0, true)];
        assert_eq!(
            told(&list, &process(seen(), &[(5, 1)])),
            (vec![(14, 30, 2.0)], 0, 0),
            "the same process"
        );
        assert_eq!(
            told(&list, &process(seen(), &[(5, 1), (30, 20)])),
            (vec![(14, 30, 6.0)], 0, 0),
            "another one"
        );
        // What it stood at before is not known.
        let list = [(30, 6.0, true), (31, 7.0, false)];
        let late = process(30..40, &[(30, 1)]);
        assert_eq!(told(&list, &late), (vec![(30, 31, 1.0)], 0, 1));
        // A series that is new after a gap is of the gap.
        let list = [(30, 6.0, true)];
        assert_eq!(told(&list, &process(seen(), &[(5, 1)])), (vec![(14, 30, 6.0)], 0, 0));
        let list = [(30, 6.0, true), (31, 7.0, false)];
        // But a process that began in the window began at 0.
        let new = process(30..40, &[(30, 29)]);
        assert_eq!(told(&list, &new), (vec![(29, 30, 6.0), (30, 31, 1.0)], 0, 0));
    }

    proptest! {
        #[test]
        fn what_a_second_server_sees_later_does_not_count_again(
            counts in prop::collection::vec(0..4_u32, 1..60), lag in 0..5_i64, known in any::<bool>(),
        ) {
            let mut values = std::collections::BTreeMap::new();
            let mut value = 3.0;
            for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                value += f64::from(count);
                let minute = 10 + i64::try_from(index).unwrap();
                for at in [minute, minute + lag] {
                    let largest: &mut f64 = values.entry(at).or_default();
                    *largest = largest.max(value);
                }
            }
            let list: Vec<_> = std::iter::once((9, 3.0, false))
                .chain(values.into_iter().map(|(minute, value)| (minute, value, false)))
                .collect();
            let starts = if known { &[(5, 1)][..] } else { &[] };
            let (told, spikes, _) = told(&list, &process(5..100, starts));
            let sum: f64 = told.iter().map(|(_, _, by)| by).sum();
            prop_assert_eq!((sum, spikes), (f64::from(counts.iter().sum::<u32>()), 0));
        }

        #[test]
        fn nothing_is_counted_below_zero_or_more_than_the_values_say(
            steps in prop::collection::vec((0..5_i64, -3.0..100.0_f64, any::<bool>()), 0..40),
            starts in prop::collection::vec(5..100_i64, 0..4),
            gap in (20..60_i64, 0..20_i64),
        ) {
            let mut minute = 8;
            let list: Vec<(i64, f64, bool)> = steps.iter().map(|&(step, value, born)| {
                minute += step + 1;
                (minute, value, born)
            }).collect();
            let mut starts: Vec<(i64, i64)> = starts.into_iter().map(|minute| (minute, minute)).collect();
            starts.sort_unstable();
            let seen = (5..gap.0).chain(gap.0 + gap.1..200);
            let found = increases(&readings(&list), &process(seen, &starts), FROM);
            prop_assert!(found.all.iter().all(|one| one.by > 0.0 && one.from_ms < one.at_ms));
            let sum: f64 = found.all.iter().map(|one| one.by).sum();
            let values: f64 = list.iter().map(|(_, value, _)| value.max(0.0)).sum();
            prop_assert!(sum <= values + 1e-6);
        }

        #[test]
        fn resets_and_gaps_lose_nothing_that_was_counted_before_a_look(
            counts in prop::collection::vec((0..4_u32, 0..30_u8), 1..100),
        ) {
            // Each minute some are counted; sometimes the process starts anew after it was looked at, and counts nothing
            // in its first minute: a value that is the same as a step before would not be told.
            let (mut value, mut truth, mut last) = (0.0, 0.0, None);
            let mut starts = vec![(0, 0)];
            let mut list = Vec::new();
            for (index, &(count, fate)) in counts.iter().enumerate() {
                let minute = 10 + i64::try_from(index).unwrap();
                let count = if fate == 0 { 0 } else { count };
                if fate == 0 {
                    starts.push((minute, minute));
                    (value, last) = (0.0, None);
                }
                value += f64::from(count);
                truth += f64::from(count);
                // A series shows once it has counted; a value like the one before is left out.
                if value > 0.0 && last != Some(value) {
                    list.push((minute, value, last.is_none()));
                    last = Some(value);
                }
            }
            let found = increases(&readings(&list), &process(5..200, &starts), FROM);
            let sum: f64 = found.all.iter().map(|one| one.by).sum();
            prop_assert!((sum - truth).abs() < 1e-9, "{} counted, {} told", truth, sum);
        }
    }
}
