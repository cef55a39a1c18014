//! How long machines take from their launch until their node is ready. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// As many as tell a quantile of .9, and few enough to follow a new image soon.
const KEPT: usize = 64;
/// A machine that took longer had other trouble.
const LONGEST_MS: i64 = 3_600_000;

/// The last boots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Boots(VecDeque<Boot>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    instance: String,
    took_ms: i64,
}

impl Boots {
    /// Adds a boot, once for each instance. Times that can't be are left out: whether it was added is returned.
    pub fn add(&mut self, instance: &str, launch_ms: i64, ready_ms: i64) -> bool {
        let took_ms = ready_ms.saturating_sub(launch_ms);
        if !(1..=LONGEST_MS).contains(&took_ms) || self.knows(instance) {
            return false;
        }
        self.0.push_back(Boot {
            instance: instance.to_owned(),
            took_ms,
        });
        while self.0.len() > KEPT {
            self.0.pop_front();
        }
        true
    }

    /// Whether an instance's boot is among the last.
    pub fn knows(&self, instance: &str) -> bool {
        self.0.iter().any(|boot| boot.instance == instance)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What so many hundredths of all boots did not exceed; none if there are none.
    pub fn quantile_ms(&self, hundredths: usize) -> Option<i64> {
        let mut took: Vec<i64> = self.0.iter().map(|boot| boot.took_ms).collect();
        took.sort_unstable();
        let rank = (took.len() * hundredths.min(100)).div_ceil(100).max(1);
        took.get(rank - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_64_count_each_once() {
        let mut boots = Boots::default();
        assert_eq!(boots.quantile_ms(50), None);
        for number in 1..=100 {
            assert!(boots.add(&format!("i-{number}"), 1_000, 1_000 + number * 1_000));
            assert!(!boots.add(&format!("i-{number}"), 1_000, 2_000));
        }
        assert_eq!(boots.len(), KEPT);
        // 37 to 100 s are left.
        assert_eq!(boots.quantile_ms(50), Some(68_000));
        assert_eq!(boots.quantile_ms(90), Some(94_000));
        assert_eq!(
            (boots.quantile_ms(0), boots.quantile_ms(100)),
            (Some(37_000), Some(100_000))
        );
    }

    #[test]
    fn times_that_cannot_be_are_left_out() {
        let mut boots = Boots::default();
        for (launch_ms, ready_ms) in [
            (1_000, 1_000),
            (2_000, 1_000),
            (0, LONGEST_MS + 1),
            (i64::MIN, i64::MAX),
        ] {
            assert!(!boots.add("i", launch_ms, ready_ms));
        }
        assert!(boots.is_empty() && boots.add("i", 0, LONGEST_MS));
    }
}
