//! A map that forgets what was written longest ago.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Values by key, no more than a fixed number.
#[derive(Debug)]
pub(super) struct Recent<V> {
    entries: FxHashMap<Arc<str>, (u64, V)>,
    counter: u64,
    max: usize,
}

impl<V> Recent<V> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            entries: FxHashMap::default(),
            counter: 0,
            max,
        }
    }

    /// Writes a value. `true` if others were forgotten for it.
    pub(super) fn insert(&mut self, key: impl Into<Arc<str>>, value: V) -> bool {
        self.counter += 1;
        self.entries.insert(key.into(), (self.counter, value));
        let is_full = self.entries.len() > self.max;
        if is_full {
            // A tenth at once, so that the search for the oldest is rare.
            let kept = u64::try_from(self.max - self.max / 10).unwrap_or(0);
            let keep_from = self.counter.saturating_sub(kept);
            self.entries.retain(|_, (at, _)| *at > keep_from);
        }
        is_full
    }

    /// A key as it is kept here, so that others can share it; a new one where it is not.
    pub(super) fn shared(&self, key: &str) -> Arc<str> {
        let known = self.entries.get_key_value(key);
        known.map_or_else(|| key.into(), |(known, _)| Arc::clone(known))
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Takes a value out; a default one where there was none.
    pub(super) fn take_or_default(&mut self, key: &str) -> V
    where
        V: Default,
    {
        self.entries.remove(key).map_or_else(V::default, |(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_last_stays() {
        let mut recent = Recent::new(10);
        for n in 0..10 {
            assert!(!recent.insert(n.to_string(), n));
        }
        recent.insert("0", 100);
        assert!(recent.insert("new", 10));
        assert_eq!(recent.len(), 9);
        assert_eq!((recent.get("0"), recent.get("new")), (Some(&100), Some(&10)));
        assert_eq!((recent.get("1"), recent.get("2")), (None, None));
    }
}
