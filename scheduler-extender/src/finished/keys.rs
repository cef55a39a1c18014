//! Which profile keys have series of their own.

use std::collections::VecDeque;

/// The label value of all that have none, and of gangs without a profile.
pub(super) const OTHER: &str = "other";
/// How long a key whose series were taken away gets none, milliseconds. Series that go and come back between scrapes look
/// to Prometheus like one that was never reset.
pub(super) const REST_MS: i64 = 3_600_000;

/// The keys whose gangs ended last have series; a new one takes the place of that which ended least recently.
#[derive(Debug)]
pub(super) struct Keys {
    /// By last end, oldest first.
    named: VecDeque<String>,
    named_max: usize,
    /// Keys that lost their series, oldest first.
    resting: VecDeque<Resting>,
    resting_max: usize,
}

#[derive(Debug)]
struct Resting {
    key: String,
    since_ms: i64,
    /// A gang has ended since.
    ended: bool,
}

/// Where an end is counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) value: String,
    /// The label value whose series have to go before.
    pub(super) evicted: Option<String>,
}

impl Keys {
    /// At most `named_max` keys have series, and `resting_max` are remembered that had some.
    pub(super) const fn new(named_max: usize, resting_max: usize) -> Self {
        Self {
            named: VecDeque::new(),
            named_max,
            resting: VecDeque::new(),
            resting_max,
        }
    }

    /// A gang with this key has ended. The first end of a key that lost its series counts under [`OTHER`], and so do those
    /// of the first hour: a key that ended but once since then need not push out another.
    pub(super) fn ended(&mut self, key: Option<&str>, now_ms: i64) -> Label {
        // A key that is the word itself is not told apart from it.
        let Some(key) = key.filter(|&key| key != OTHER) else {
            return Label::other();
        };
        if let Some(at) = self.named.iter().position(|named| named == key) {
            self.named.remove(at);
        } else if let Some(at) = self.resting.iter().position(|resting| resting.key == key) {
            let resting = &mut self.resting[at];
            if !std::mem::replace(&mut resting.ended, true) || !resting.rested(now_ms) {
                return Label::other();
            }
            self.resting.remove(at);
        }
        let mut evicted = None;
        if self.named.len() >= self.named_max {
            // One that could not be remembered might come back too soon.
            if self.resting.len() >= self.resting_max {
                if !self.resting.front().is_some_and(|oldest| oldest.rested(now_ms)) {
                    return Label::other();
                }
                self.resting.pop_front();
            }
            evicted = self.named.pop_front();
            self.resting.extend(evicted.iter().map(|key| Resting {
                key: key.clone(),
                since_ms: now_ms,
                ended: false,
            }));
        }
        self.named.push_back(key.to_owned());
        Label {
            value: key.to_owned(),
            evicted,
        }
    }
}

impl Resting {
    const fn rested(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= REST_MS
    }
}

impl Label {
    fn other() -> Self {
        Self {
            value: OTHER.to_owned(),
            evicted: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_ended_least_recently_goes_and_comes_back_after_an_hour() {
        let mut keys = Keys::new(2, 2);
        // Time, key, the label it counts under, the label that goes.
        for (line, &(now_ms, key, value, evicted)) in [
            (0, "a", "a", None),
            (0, "b", "b", None),
            (0, "other", OTHER, None),
            (1, "a", "a", None),
            (2, "c", "c", Some("b")),
            (REST_MS + 1, "b", OTHER, None),
            (REST_MS + 1, "b", OTHER, None),
            (REST_MS + 2, "b", "b", Some("a")),
            // Long after, but the first end since.
            (9 * REST_MS, "a", OTHER, None),
            (9 * REST_MS, "d", "d", Some("c")),
            // Two are remembered: the one that may be forgotten has rested, the next has not.
            (9 * REST_MS, "e", "e", Some("b")),
            (9 * REST_MS, "f", OTHER, None),
            (9 * REST_MS, "d", "d", None),
            (10 * REST_MS, "f", "f", Some("e")),
        ]
        .iter()
        .enumerate()
        {
            let expected = Label {
                value: value.to_owned(),
                evicted: evicted.map(str::to_owned),
            };
            assert_eq!(keys.ended(Some(key), now_ms), expected, "line {line}");
        }
        assert_eq!(keys.ended(None, 0), Label::other());
    }
}
