//! When samples were taken, on a grid of moments.

use crate::Window;

/// Distance of the moments at which is looked, milliseconds. Their times are its multiples.
pub(crate) const STEP_MS: i64 = 60_000;

/// Moments at which something was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen(Vec<i64>);

impl Seen {
    pub(crate) fn new(times: impl IntoIterator<Item = i64>) -> Self {
        let mut times: Vec<i64> = times.into_iter().collect();
        times.sort_unstable();
        times.dedup();
        Self(times)
    }

    pub(crate) fn at(&self, at_ms: i64) -> bool {
        self.0.binary_search(&at_ms).is_ok()
    }

    /// The last moment before this one.
    pub(crate) fn before(&self, at_ms: i64) -> Option<i64> {
        let index = self.0.partition_point(|&time| time < at_ms);
        self.0.get(index.checked_sub(1)?).copied()
    }

    pub(crate) fn first(&self) -> Option<i64> {
        self.0.first().copied()
    }

    pub(crate) fn times(&self) -> &[i64] {
        &self.0
    }

    /// Those of both.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    /// Without those of the other.
    pub(crate) fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().copied().filter(|&time| !other.at(time)).collect())
    }
}

/// The moments of a window: multiples of the step in it, and the one that its end falls on.
pub(crate) fn grid(window: Window) -> impl Iterator<Item = i64> {
    let first = up(window.from_ms, STEP_MS);
    (0..)
        .map(move |index| first + index * STEP_MS)
        .take_while(move |&at_ms| at_ms <= window.to_ms)
}

/// The next multiple of `step` at or after a moment.
pub(crate) fn up(at_ms: i64, step: i64) -> i64 {
    let down = at_ms.div_euclid(step) * step;
    if down == at_ms { down } else { down + step }
}

/// Runs of moments at which nothing was seen, as (last moment before it, its last moment). One missing moment alone is
/// no gap: a single scrape that failed hides nothing from counters, and pods are seen a minute later.
pub(crate) fn unseen(window: Window, seen: &Seen) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for at_ms in grid(window).filter(|&at_ms| !seen.at(at_ms)) {
        match runs.last_mut() {
            Some((_, to_ms)) if *to_ms == at_ms - STEP_MS => *to_ms = at_ms,
            _ => runs.push((at_ms - STEP_MS, at_ms)),
        }
    }
    runs.retain(|(from_ms, to_ms)| to_ms - from_ms > STEP_MS);
    for (from_ms, _) in &mut runs {
        *from_ms = (*from_ms).max(window.from_ms);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_unseen_moments_are_found() {
        let window = Window {
            from_ms: 30_000,
            to_ms: 600_000,
        };
        assert_eq!(grid(window).count(), 10);
        let seen = |minutes: &[i64]| Seen::new(minutes.iter().map(|minute| minute * STEP_MS));
        for (minutes, expected) in [
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10][..], vec![]),
            (&[1, 3, 4, 5, 6, 7, 8, 9, 10], vec![]),
            (&[1, 4, 5, 6, 7, 8, 9], vec![(1, 3)]),
            (&[3, 4, 5, 6, 7, 8], vec![(0, 2), (8, 10)]),
            (&[], vec![(0, 10)]),
        ] {
            let expected: Vec<(i64, i64)> = expected
                .into_iter()
                .map(|(from, to): (i64, i64)| ((from * STEP_MS).max(30_000), to * STEP_MS))
                .collect();
            assert_eq!(unseen(window, &seen(minutes)), expected, "{minutes:?}");
        }
    }

    #[test]
    fn the_next_moment_is_at_or_after() {
        assert_eq!([up(0, 60), up(1, 60), up(60, 60), up(-1, 60)], [0, 60, 60, 0]);
    }
}
