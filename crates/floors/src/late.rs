//! What may still come of writes whose end is not known: it is ours, whenever it comes.

use crate::tag::Tag;

const MINUTE_MS: i64 = 60_000;
/// What was sent can come so late: as long as a signed request counts.
const LATE_MAX_MS: i64 = 16 * MINUTE_MS;
/// Looks after a release.
const LOOKS_MS: [i64; 3] = [0, MINUTE_MS, LATE_MAX_MS];

/// Of one group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Late {
    /// Sizes that were sent and of which it is not known what became, and when.
    sent: Vec<(u32, i64)>,
    /// A floor that was given back, and when.
    released: Option<(Tag, i64)>,
    /// The looks that are still to come.
    looks_ms: Vec<i64>,
}

impl Late {
    /// Sizes that may still come or have come, and when they were sent.
    pub(crate) fn sent(&self) -> &[(u32, i64)] {
        &self.sent
    }

    /// Whether it is to be looked at again.
    pub(crate) fn is_due(&self, now_ms: i64) -> bool {
        self.looks_ms.first().is_some_and(|&at_ms| now_ms >= at_ms)
    }

    /// It is being looked at.
    pub(crate) fn looked(&mut self, now_ms: i64) {
        self.looks_ms.retain(|&at_ms| at_ms > now_ms);
    }

    /// It is not known what became of a size.
    pub(crate) fn lost(&mut self, min: u32, now_ms: i64) {
        self.sent.push((min, now_ms));
    }

    /// A floor was given back, even where it was not seen to have been raised: what was sent may still come.
    pub(crate) fn released(&mut self, tag: Tag, now_ms: i64) {
        self.released = Some((tag, now_ms));
        self.looks_ms = LOOKS_MS.iter().map(|after_ms| now_ms + after_ms).collect();
    }

    /// The base, where something late has raised what was given back. To be asked until it is so no more.
    pub(crate) fn raised(&mut self, now_ms: i64, min: u32) -> Option<u32> {
        let (before, at_ms) = self.released.as_mut()?;
        let lately = is_within(*at_ms, now_ms, LATE_MAX_MS + MINUTE_MS);
        let is_ours = before.is_ours(min) || self.sent.iter().any(|&(sent, _)| sent == min);
        if !lately || !is_ours || min == before.base {
            return None;
        }
        // From now on: what takes it back may be late, too.
        *at_ms = now_ms;
        self.looks_ms = LOOKS_MS[1..].iter().map(|after_ms| now_ms + after_ms).collect();
        Some(before.base)
    }

    /// Forgets what can't come any more. Not before a look has been made use of: what has come since the last one is known
    /// by it.
    pub(crate) fn forget(&mut self, now_ms: i64) {
        self.sent.retain(|&(_, at_ms)| is_within(at_ms, now_ms, LATE_MAX_MS));
    }
}

/// Whether a moment is less than so long ago. One of the future is of a clock that was set back.
pub(crate) fn is_within(at_ms: i64, now_ms: i64, span_ms: i64) -> bool {
    (0..span_ms).contains(&(now_ms - at_ms))
}
