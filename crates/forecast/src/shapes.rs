//! What gangs are made of: how many executors of which size, per profile, leaning on wider kinds of it while little is known.
//!
//! Of the last runs of each key the number of executors is kept. Its quantiles lean on those of the wider key as if so many
//! runs more of it had been seen, as with run times ([`crate::runtimes`]). Sizes are not averaged: no pod has such a size.
//! The last run's counts.

use std::collections::{HashMap, VecDeque};

/// Runs of a key that are remembered.
const RUNS_MAX: usize = 64;
/// So many runs of the wider key count as much as runs of the own key.
const WIDER_RUNS: f64 = 3.0;
/// Keys that are remembered; the one that ran least recently is forgotten.
pub const KEYS_MAX: usize = 20_000;

/// What the pods of a gang request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// CPU of the driver, thousandths.
    pub driver_cpu_milli: u64,
    /// Memory of the driver, MiB.
    pub driver_memory_mib: u64,
    /// CPU of each executor, thousandths.
    pub executor_cpu_milli: u64,
    /// Memory of each executor, MiB.
    pub executor_memory_mib: u64,
}

/// Shapes of many profiles.
#[derive(Debug, Default)]
pub struct Shapes {
    kinds: HashMap<Box<str>, Kind>,
    used: u64,
}

/// What is expected of a gang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told<'a> {
    /// The key whose runs it is learned from, the narrowest that has any.
    pub key: &'a str,
    /// Most executors at once, which half of all runs do not exceed.
    pub executors_p50: u64,
    /// The same for nine of ten.
    pub executors_p90: u64,
    /// Of the last run with that key.
    pub size: Size,
    /// Runs of that key.
    pub samples: u64,
}

#[derive(Debug, Default)]
struct Kind {
    executors: VecDeque<u64>,
    size: Size,
    used: u64,
}

impl Shapes {
    /// Takes over a run. `keys`: its own key first, then wider ones, closest kin first.
    pub fn observe<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>, executors: u64, size: Size) {
        self.used += 1;
        for key in keys {
            if !self.kinds.contains_key(key) {
                self.make_room();
            }
            let kind = self.kinds.entry(key.into()).or_default();
            kind.executors.push_back(executors);
            if kind.executors.len() > RUNS_MAX {
                kind.executors.pop_front();
            }
            (kind.size, kind.used) = (size, self.used);
        }
    }

    /// What is expected of a gang with these keys, its own first, then wider ones. `None` while none of them has run.
    pub fn estimate<'a>(&self, keys: &[&'a str]) -> Option<Told<'a>> {
        let known = |key: &&'a str| Some((*key, self.kinds.get(*key)?));
        let kinds: Vec<(&str, &Kind)> = keys.iter().filter_map(known).collect();
        let &(key, own) = kinds.first()?;
        // From the widest to the own key: what is there already counts as so many runs.
        let mut runs: Vec<(u64, f64)> = Vec::new();
        for (_, kind) in kinds.iter().rev() {
            let weight: f64 = runs.iter().map(|(_, weight)| weight).sum();
            if weight > 0.0 {
                for run in &mut runs {
                    run.1 *= WIDER_RUNS / weight;
                }
            }
            runs.extend(kind.executors.iter().map(|&executors| (executors, 1.0)));
        }
        runs.sort_unstable_by_key(|run| run.0);
        Some(Told {
            key,
            executors_p50: quantile(&runs, 0.5),
            executors_p90: quantile(&runs, 0.9),
            size: own.size,
            samples: own.executors.len() as u64,
        })
    }

    /// Forgets the quarter of the keys that ran least recently once there are too many.
    fn make_room(&mut self) {
        if self.kinds.len() < KEYS_MAX {
            return;
        }
        let mut uses: Vec<u64> = self.kinds.values().map(|kind| kind.used).collect();
        let (_, &mut oldest, _) = uses.select_nth_unstable(KEYS_MAX / 4);
        self.kinds.retain(|_, kind| kind.used > oldest);
    }
}

/// Of weighted numbers in their order: the first one up to which this share of the weight lies.
fn quantile(runs: &[(u64, f64)], share: f64) -> u64 {
    let all: f64 = runs.iter().map(|(_, weight)| weight).sum();
    let mut sum = 0.0;
    for &(executors, weight) in runs {
        sum += weight;
        // Sums of thirds are a little off.
        if sum >= share * all - 1e-9 {
            return executors;
        }
    }
    runs.last().map_or(0, |run| run.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(executor_cpu_milli: u64) -> Size {
        Size {
            executor_cpu_milli,
            ..Size::default()
        }
    }

    #[test]
    fn the_last_runs_tell_and_few_lean_on_kin() {
        let mut shapes = Shapes::default();
        for executors in [2, 4, 4, 4, 4, 4, 4, 4, 4, 20] {
            shapes.observe(["etl-1", "dag.x"], executors, size(1_000));
        }
        let own = shapes.estimate(&["etl-1"]).unwrap();
        assert_eq!((own.executors_p50, own.executors_p90, own.samples), (4, 4, 10));
        // One run of a hundred beside its kin, which counts as three: the median is theirs.
        shapes.observe(["new-2"], 100, size(2_000));
        let told = shapes.estimate(&["new-2", "dag.x"]).unwrap();
        assert_eq!((told.key, told.executors_p50, told.executors_p90), ("new-2", 4, 100));
        assert_eq!((told.size.executor_cpu_milli, told.samples), (2_000, 1));
        // With three more its own runs have the say.
        for _ in 0..3 {
            shapes.observe(["new-2"], 100, size(2_000));
        }
        assert_eq!(shapes.estimate(&["new-2", "dag.x"]).unwrap().executors_p50, 100);
        let never = shapes.estimate(&["never", "dag.x"]).unwrap();
        assert_eq!(
            (never.key, never.executors_p50, never.size.executor_cpu_milli),
            ("dag.x", 4, 1_000)
        );
        assert!(shapes.estimate(&["never"]).is_none());
    }

    #[test]
    fn old_runs_and_idle_keys_are_forgotten() {
        let mut shapes = Shapes::default();
        shapes.observe(["first"], 1, size(1));
        for number in 0..RUNS_MAX as u64 + 5 {
            shapes.observe(["busy"], if number < 5 { 1 } else { 9 }, size(1));
        }
        let busy = shapes.estimate(&["busy"]).unwrap();
        assert_eq!((busy.executors_p50, busy.samples), (9, RUNS_MAX as u64));
        for number in 0..KEYS_MAX {
            shapes.observe([format!("job-{number}").as_str(), "busy"], 3, size(1));
        }
        assert!(shapes.kinds.len() <= KEYS_MAX && shapes.estimate(&["first"]).is_none());
        assert!(shapes.estimate(&["busy"]).is_some());
    }

    proptest! {
        #[test]
        fn quantiles_are_in_order_and_were_seen(
            runs in prop::collection::vec((0..4_usize, 0..1_000_u64), 1..80),
        ) {
            const KEYS: [&[&str]; 4] = [&["a", "dag.1"], &["b", "dag.1", "name.x"], &["c", "name.x"], &["d"]];
            let mut shapes = Shapes::default();
            for &(job, executors) in &runs {
                shapes.observe(KEYS[job].iter().copied(), executors, size(executors));
            }
            for keys in KEYS {
                let Some(told) = shapes.estimate(keys) else { continue };
                prop_assert!(told.executors_p50 <= told.executors_p90);
                for executors in [told.executors_p50, told.executors_p90] {
                    prop_assert!(runs.iter().any(|run| run.1 == executors));
                }
                prop_assert!(told.samples > 0);
            }
        }
    }
}
