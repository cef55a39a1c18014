//! What has changed lately, for those who look now and then.

use std::collections::VecDeque;

/// The last changes in their order. Whoever has seen so many of them reads what came since.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    entries: VecDeque<T>,
    /// So many were forgotten.
    forgotten: u64,
}

/// Changes that are remembered. Whoever looks later than that starts anew.
const ENTRIES_MAX: usize = 16_384;

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            forgotten: 0,
        }
    }
}

impl<T: Copy> Journal<T> {
    pub(crate) fn note(&mut self, change: T) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        self.entries.push_back(change);
    }

    /// How many there were so far: what somebody has seen who sees all.
    pub(crate) fn seen(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    /// What came after the first `seen`; `None` where some of it is forgotten.
    pub(crate) fn since(&self, seen: u64) -> Option<impl Iterator<Item = T> + '_> {
        let start = usize::try_from(seen.checked_sub(self.forgotten)?).ok()?;
        Some(self.entries.range(start.min(self.entries.len())..).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reads_what_came_since() {
        let mut journal = Journal::default();
        journal.note(1);
        let seen = journal.seen();
        journal.note(2);
        journal.note(3);
        assert_eq!(journal.since(seen).unwrap().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(journal.since(journal.seen()).unwrap().count(), 0);
        for change in 0..ENTRIES_MAX {
            journal.note(change);
        }
        assert!(journal.since(seen).is_none(), "2 and 3 are forgotten");
        assert_eq!(journal.since(3).unwrap().count(), ENTRIES_MAX);
    }
}
