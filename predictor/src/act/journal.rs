//! What was done, why, what it cost and what it saved. Pure; [`crate::act::diary`] keeps it in a file.

use std::collections::VecDeque;

use serde::Serialize;

use crate::judge::Counts;
use crate::settings::Settings;

/// So many are kept to be shown.
const ENTRIES_MAX: usize = 1_000;

/// One thing that was done, or came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What kind of thing.
    pub kind: Kind,
    /// The node group or the object; empty where it is about all of them.
    pub target: String,
    /// What was done, in words.
    pub what: String,
    /// Why, in words.
    pub why: String,
    /// What it has cost, in the operator's money; known at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// What it has saved, in the same money; known an hour later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<f64>,
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Another number of nodes is to be held.
    Aim,
    /// A call to the cloud, or one that failed.
    Write,
    /// A floor has ended.
    Ended,
    /// A group gets no floor, or not the wanted one.
    Refused,
    /// A capacity buffer or pause pods were made, changed or removed.
    Object,
    /// What came of a decision.
    Verdict,
}

/// The last entries, the last one first.
#[derive(Debug, Clone, Default)]
pub struct Journal(VecDeque<Entry>);

impl Journal {
    /// Keeps one.
    pub fn push(&mut self, entry: Entry) {
        self.0.push_front(entry);
        self.0.truncate(ENTRIES_MAX);
    }

    /// Keeps some.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        entries.into_iter().for_each(|entry| self.push(entry));
    }

    /// All that are kept, the last one first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}

/// What came of decisions whose nodes were held, with its price; nothing if none was judged.
pub fn verdict(settings: &Settings, at_ms: i64, counts: Counts) -> Option<Entry> {
    if counts == Counts::default() {
        return None;
    }
    let money = |node_ms: u64, price: u64| node_ms as f64 / 3_600_000.0 * price as f64 / 1e6;
    let Counts { hits, misses, .. } = counts;
    let what = format!("{hits} gangs found the held nodes ready, {misses} found too few");
    let entry = Entry::new(
        at_ms,
        Kind::Verdict,
        "",
        what,
        "what was decided an hour ago".to_owned(),
    );
    Some(Entry {
        cost: Some(money(counts.idle_node_ms, settings.prices.node_hour)),
        saved: Some(money(counts.saved_node_ms, settings.prices.wait_hour)),
        ..entry
    })
}

impl Entry {
    /// Without money.
    pub fn new(at_ms: i64, kind: Kind, target: &str, what: String, why: String) -> Self {
        Self {
            at_ms,
            kind,
            target: target.to_owned(),
            what,
            why,
            cost: None,
            saved: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_has_a_price() {
        let settings = crate::settings::tests::settings(2_000_000, 10_000_000);
        assert_eq!(verdict(&settings, 0, Counts::default()), None);
        let counts = Counts {
            hits: 2,
            misses: 1,
            idle_node_ms: 1_800_000,
            saved_node_ms: 360_000,
        };
        let entry = verdict(&settings, 0, counts).unwrap();
        assert_eq!((entry.cost, entry.saved), (Some(1.0), Some(1.0)));
        assert_eq!(entry.what, "2 gangs found the held nodes ready, 1 found too few");
    }

    #[test]
    fn the_last_ones_are_kept() {
        let mut journal = Journal::default();
        for at_ms in 0..1_500 {
            journal.push(Entry::new(at_ms, Kind::Aim, "", String::new(), String::new()));
        }
        let kept: Vec<i64> = journal.entries().map(|entry| entry.at_ms).collect();
        assert_eq!((kept.len(), kept[0], kept[999]), (1_000, 1_499, 500));
    }
}
