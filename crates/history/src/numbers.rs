//! Numbers of samples as integers.

/// No time or count is larger, so that sums of some can be taken: 30,000 years in milliseconds.
const LARGEST: f64 = 1e15;

/// Seconds as milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "rounded, and cut to a range that fits")]
pub(crate) fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1_000.0).round().clamp(-LARGEST, LARGEST) as i64
}

/// A count or an amount.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, and cut to a range that fits"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.round().clamp(0.0, LARGEST) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_cut_to_what_can_be_added_up() {
        assert_eq!(
            [whole(1.5), whole(-1.0), whole(f64::INFINITY)],
            [2, 0, 1_000_000_000_000_000]
        );
        assert_eq!(
            [milliseconds(0.0015), milliseconds(-2.0), milliseconds(1e300)],
            [2, -2_000, 1_000_000_000_000_000]
        );
        assert_eq!((whole(f64::NAN), milliseconds(f64::NAN)), (0, 0));
    }
}
