//! Quantiles of what arrived at the same hour of the days before: what a calendar alone can tell.

use std::collections::VecDeque;

use crate::past::Past;
use crate::policy::Policy;
use crate::shape::Shape;

const BUCKET_MS: i64 = 5 * 60_000;
/// Buckets in an hour and in a day.
const HOUR: i64 = 12;
const DAY: i64 = 24 * HOUR;
/// Days that are remembered.
const DAYS: i64 = 28;
/// A node that is asked for now stands in a few minutes: what counts is what arrives in this many buckets.
const AHEAD: usize = 2;

/// For several quantiles, the node-size that arrived within 10 minutes, from any 5 minutes of the same hour of the last 28
/// days on.
#[derive(Debug)]
pub struct TimeOfDay {
    shape: Shape,
    quantiles_milli: Vec<u32>,
    /// Submissions that were read.
    read: usize,
    /// Node-size by bucket, the last one is of `bucket`.
    sizes: VecDeque<u128>,
    /// The bucket that is being filled, numbered from time 0.
    bucket: i64,
    /// The hour that the quantiles are of, counted from time 0, and these, in nodes.
    known: Option<(i64, Vec<u32>)>,
}

impl TimeOfDay {
    /// For each quantile in thousandths; 0 is nothing at all.
    pub fn new(shape: Shape, quantiles_milli: Vec<u32>) -> Self {
        Self {
            shape,
            quantiles_milli,
            read: 0,
            sizes: VecDeque::new(),
            bucket: 0,
            known: None,
        }
    }

    fn read(&mut self, now_ms: i64, past: &Past<'_>) {
        while let Some(gang) = past.submitted.get(self.read).filter(|gang| gang.at_ms <= now_ms) {
            self.fill_to(gang.at_ms.div_euclid(BUCKET_MS));
            if let Some(last) = self.sizes.back_mut() {
                *last += u128::from(gang.size);
            }
            self.read += 1;
        }
        self.fill_to(now_ms.div_euclid(BUCKET_MS));
    }

    /// Makes `bucket` the last one. The first one that is seen begins the history.
    fn fill_to(&mut self, bucket: i64) {
        if self.sizes.is_empty() {
            self.sizes.push_back(0);
            self.bucket = bucket;
        }
        let kept = (DAYS + 1) * DAY;
        // After a silence longer than what is remembered there is nothing to remember.
        if bucket - self.bucket > kept {
            self.sizes.clear();
            self.sizes.push_back(0);
            self.bucket = bucket - kept;
        }
        while self.bucket < bucket {
            self.sizes.push_back(0);
            self.bucket += 1;
        }
        while i64::try_from(self.sizes.len()).is_ok_and(|len| len > kept) {
            self.sizes.pop_front();
        }
    }

    /// Quantiles for an hour from the hours of the days before it, in nodes.
    fn quantiles(&self, hour: i64) -> Vec<u32> {
        let mut seen: Vec<u128> = Vec::new();
        for day in 1..=DAYS {
            for bucket in (hour * HOUR - day * DAY..).take(12) {
                // The last bucket is still being filled.
                let back = usize::try_from(self.bucket - bucket).unwrap_or(0);
                if let Some(first) = (self.sizes.len() - 1).checked_sub(back)
                    && back >= AHEAD
                {
                    seen.push(self.sizes.range(first..first + AHEAD).sum());
                }
            }
        }
        seen.sort_unstable();
        let quantile = |&milli: &u32| {
            // The smallest value that at least this share of all is not above.
            let rank = (seen.len() * milli as usize).div_ceil(1_000);
            let parts = rank.checked_sub(1).and_then(|index| seen.get(index));
            parts.map_or(0, |&parts| self.shape.nodes(parts, 1_000))
        };
        self.quantiles_milli.iter().map(quantile).collect()
    }
}

impl Policy for TimeOfDay {
    fn headroom(&mut self, now_ms: i64, past: &Past<'_>, nodes: &mut [u32]) {
        self.read(now_ms, past);
        let hour = now_ms.div_euclid(BUCKET_MS * HOUR);
        let known = match self.known.take() {
            Some((of, known)) if of == hour => known,
            _ => self.quantiles(hour),
        };
        nodes.copy_from_slice(&known);
        self.known = Some((hour, known));
    }

    fn fit_until_ms(&self) -> Option<i64> {
        self.known.as_ref().map(|(hour, _)| hour * HOUR * BUCKET_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past::Submitted;
    use crate::shape::Members;

    const MINUTE_MS: i64 = 60_000;
    const HOUR_MS: i64 = 60 * MINUTE_MS;
    const DAY_MS: i64 = 24 * HOUR_MS;

    fn at(now_ms: i64, times_ms: &[i64]) -> [u32; 4] {
        let shape = Shape::new(1_000, 1_000).unwrap();
        let submitted: Vec<Submitted> = times_ms
            .iter()
            .filter(|&&at_ms| at_ms <= now_ms)
            .map(|&at_ms| Submitted {
                at_ms,
                profile: 0,
                members: [Members::default(); 2],
                size: shape.parts(),
            })
            .collect();
        let past = Past {
            shape,
            submitted: &submitted,
            ended: &[],
        };
        let mut nodes = [9; 4];
        TimeOfDay::new(shape, vec![0, 500, 900, 1_000]).headroom(now_ms, &past, &mut nodes);
        nodes
    }

    #[test]
    fn the_same_hour_of_other_days_counts() {
        // Every day from 7:00 to 7:55, one gang each 5 minutes: two in any 10 minutes but the last ones of the hour.
        let mut times: Vec<i64> = (0..10)
            .flat_map(|day| (0..12).map(move |number| day * DAY_MS + 7 * HOUR_MS + number * 5 * MINUTE_MS))
            .collect();
        times.sort_unstable();
        assert_eq!(at(10 * DAY_MS + 7 * HOUR_MS, &times), [0, 2, 2, 2]);
        assert_eq!(at(10 * DAY_MS + 8 * HOUR_MS, &times), [0, 0, 0, 0]);
        // Of the 10 minutes from any time in this hour on, only those from 6:55 on had any.
        assert_eq!(at(10 * DAY_MS + 6 * HOUR_MS, &times), [0, 0, 0, 1]);
        // Long afterwards nothing is remembered.
        assert_eq!(at(60 * DAY_MS + 7 * HOUR_MS, &times), [0, 0, 0, 0]);
    }

    #[test]
    fn without_a_past_nothing_is_held() {
        assert_eq!(at(0, &[]), [0; 4]);
        assert_eq!(at(5 * DAY_MS, &[]), [0; 4]);
        assert_eq!(at(HOUR_MS, &[0, MINUTE_MS]), [0; 4]);
    }
}
