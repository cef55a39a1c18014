//! How long gangs run: per profile, leaning on wider kinds of it while little is known, and longer the longer one has run
//! already.
//!
//! Times fall into buckets of equal factor. Per bucket it is counted how many runs reached it and how many ended in it, so
//! that runs which are not over yet count as far as they are known (Kaplan and Meier). The risk of a bucket leans on that of
//! the wider key, as if so many more runs of it had been seen.

use std::collections::HashMap;

use kompass_core::profile::RuntimeEstimate;

/// Buckets per doubling of the time: a bucket is 19 % wide.
const PER_DOUBLING: f64 = 4.0;
/// Up to 2^26 seconds, two years.
const BUCKETS: usize = 26 * 4 + 1;
/// So many runs of the wider key count as much as runs of the own key.
const WIDER_RUNS: f64 = 3.0;
/// A run that counts as much as a new one after so many newer ones counts half: jobs change.
const HALF_AFTER: f64 = 64.0;
/// Keys that are remembered; the one that ran least recently is forgotten.
pub const MAX_KEYS: usize = 20_000;

/// A run, over or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// How long it ran, or has run until now, seconds.
    pub seconds: u64,
    /// Whether it is over.
    pub ended: bool,
}

/// Run times of many profiles.
#[derive(Debug, Default)]
pub struct Runtimes {
    kinds: HashMap<Box<str>, Kind>,
    used: u64,
}

/// An estimate and the key whose runs it is learned from, the narrowest that has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told<'a> {
    /// The key.
    pub key: &'a str,
    /// The estimate; of a gang that runs already, of the whole run and not of what is left of it.
    pub estimate: RuntimeEstimate,
}

/// What is known of the runs of one key.
#[derive(Debug)]
struct Kind {
    ended: Vec<f64>,
    /// Runs that are not over, by the bucket that they have reached. They left before its end.
    lost: Vec<f64>,
    runs: u64,
    used: u64,
}

impl Runtimes {
    /// Takes over a run that is over, or one that is not and will not be asked about again (its end was never seen).
    /// `keys`: its own key first, then wider ones, closest kin first.
    pub fn observe<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>, run: Run) {
        self.used += 1;
        for key in keys {
            if !self.kinds.contains_key(key) {
                self.make_room();
                self.kinds.insert(key.into(), Kind::default());
            }
            if let Some(kind) = self.kinds.get_mut(key) {
                kind.observe(run);
                kind.used = self.used;
            }
        }
    }

    /// What is expected of a run that has lasted `age_s` seconds, 0 for one that waits. `running` are other runs of the same
    /// key that are not over, by their age in seconds. `None` while none of the keys has had a run that ended.
    pub fn estimate<'a>(&self, keys: &[&'a str], age_s: u64, running: &[u64]) -> Option<Told<'a>> {
        let known = |key: &&'a str| Some((*key, self.kinds.get(*key).filter(|kind| kind.runs > 0)?));
        let kinds: Vec<(&str, &Kind)> = keys.iter().filter_map(known).collect();
        let &(key, own) = kinds.first()?;
        let mut running_in = vec![0.0; BUCKETS];
        if keys.first() == Some(&key) {
            for &seconds in running {
                running_in[bucket(seconds)] += 1.0;
            }
        }
        let none = vec![0.0; BUCKETS];
        let mut risks: Option<Vec<f64>> = None;
        for (index, (_, kind)) in kinds.iter().enumerate().rev() {
            let running = if index == 0 { &running_in } else { &none };
            risks = Some(kind.risks(running, risks.as_deref()));
        }
        let risks = risks?;
        let p50_s = quantile(&risks, age_s, 0.5);
        let p90_s = quantile(&risks, age_s, 0.9).max(p50_s);
        let samples = own.runs;
        let estimate = RuntimeEstimate { p50_s, p90_s, samples };
        Some(Told { key, estimate })
    }

    /// How many keys are known.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Forgets the quarter of the keys that ran least recently once there are too many: looking for them costs as much as
    /// there are keys, so it must not be done for each.
    fn make_room(&mut self) {
        if self.kinds.len() < MAX_KEYS {
            return;
        }
        let mut uses: Vec<u64> = self.kinds.values().map(|kind| kind.used).collect();
        let (_, &mut oldest, _) = uses.select_nth_unstable(MAX_KEYS / 4);
        self.kinds.retain(|_, kind| kind.used > oldest);
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            ended: vec![0.0; BUCKETS],
            lost: vec![0.0; BUCKETS],
            runs: 0,
            used: 0,
        }
    }
}

impl Kind {
    fn observe(&mut self, run: Run) {
        let keep = 0.5_f64.powf(1.0 / HALF_AFTER);
        self.ended
            .iter_mut()
            .chain(&mut self.lost)
            .for_each(|weight| *weight *= keep);
        let counts = if run.ended { &mut self.ended } else { &mut self.lost };
        counts[bucket(run.seconds)] += 1.0;
        self.runs += u64::from(run.ended);
    }

    /// Per bucket the share of the runs that reach it and end in it.
    fn risks(&self, running: &[f64], wider: Option<&[f64]>) -> Vec<f64> {
        let mut reached = 0.0;
        let mut risks = vec![0.0; BUCKETS];
        for index in (0..BUCKETS).rev() {
            // A run that is not over has passed the buckets below its own, and says nothing about that one.
            let (ended, lean) = (self.ended[index], if wider.is_some() { WIDER_RUNS } else { 0.0 });
            reached += ended;
            let expected = wider.map_or(0.0, |risks| risks[index]);
            let weight = reached + lean;
            risks[index] = if weight > 0.0 {
                (ended + lean * expected) / weight
            } else {
                0.0
            };
            reached += self.lost[index] + running[index];
        }
        risks
    }
}

/// The time by which a share of the runs has ended that lasted at least `age_s`; twice the age if none is known that did.
fn quantile(risks: &[f64], age_s: u64, share: f64) -> u64 {
    let mut left = 1.0;
    for (index, risk) in risks.iter().enumerate().skip(bucket(age_s)) {
        let after = left * (1.0 - risk);
        if 1.0 - after >= share {
            // Within the bucket, ends are taken to be spread evenly.
            let part = if left > after {
                (left - (1.0 - share)) / (left - after)
            } else {
                1.0
            };
            let (low, high) = (begin(index).max(age_s as f64), begin(index + 1));
            return seconds(low + (high - low).max(0.0) * part).max(age_s);
        }
        left = after;
    }
    age_s.saturating_mul(2).max(last_end(risks))
}

/// End of the last bucket in which a run has ended.
fn last_end(risks: &[f64]) -> u64 {
    risks
        .iter()
        .rposition(|risk| *risk > 0.0)
        .map_or(0, |index| seconds(begin(index + 1)))
}

fn bucket(seconds: u64) -> usize {
    // Positive and small.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bucket = ((seconds.max(1) as f64).log2() * PER_DOUBLING + 1e-9).floor() as usize;
    bucket.min(BUCKETS - 1)
}

/// When a bucket begins, seconds.
fn begin(bucket: usize) -> f64 {
    (bucket as f64 / PER_DOUBLING).exp2()
}

fn seconds(seconds: f64) -> u64 {
    // Positive, and at most that of the last bucket.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds.round() as u64;
    whole
}

#[cfg(test)]
mod tests;
