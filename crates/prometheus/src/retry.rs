//! How long to wait before the same is asked again.

use std::time::Duration;

/// The first pause at most.
const FIRST: Duration = Duration::from_millis(250);
/// No pause is longer, whatever the server wishes.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

/// The pause after a number of failures in a row, from 0 on: twice as long each time, by chance between half of that and
/// all of it, so that many who failed together don't come again together.
pub(crate) fn pause(failures: u32, chance: u64) -> Duration {
    let longest = FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST);
    let half = longest / 2;
    let thousandths = u32::try_from(mixed(chance.wrapping_add(u64::from(failures))) % 1_001).unwrap_or(0);
    half + half * thousandths / 1_000
}

/// Spreads a number over all of its bits (the finaliser of `SplitMix64`).
const fn mixed(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_grow_to_a_bound(failures in any::<u32>(), chance in any::<u64>()) {
            let pause = pause(failures, chance);
            let longest = FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST);
            prop_assert!(longest / 2 <= pause && pause <= longest);
        }
    }

    #[test]
    fn pauses_differ_by_chance() {
        let different: BTreeSet<Duration> = (0..100).map(|chance| pause(3, chance)).collect();
        assert!(different.len() > 50, "{}", different.len());
    }
}
