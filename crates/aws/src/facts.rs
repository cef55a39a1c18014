//! What machines are like and cost, as it was last told: usable without AWS, with its age.
//!
//! Pure, as are [`boots`] and [`prices`]; [`Reader`] asks AWS, and [`file`] keeps it.

pub mod boots;
pub mod file;
pub mod prices;
mod reader;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use boots::Boots;
pub use reader::Reader;

/// Types, zones and prices on demand change seldom.
const SELDOM_MS: i64 = 6 * 3_600_000;
/// Spot prices change by the minute, but slowly.
const SPOT_MS: i64 = 15 * 60_000;
/// What failed, or lacked something, is asked for again after.
const AGAIN_MS: i64 = 15 * 60_000;

/// A price for an hour, in millionths of a dollar.
pub type Micros = u64;

/// All that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The region that it is about.
    pub region: String,
    /// What instance types are like, by name.
    pub types: Known<BTreeMap<String, Machine>>,
    /// The zones of the region that are in use.
    pub zones: Known<BTreeSet<String>>,
    /// Prices on demand, by type.
    pub on_demand: Known<BTreeMap<String, Micros>>,
    /// Spot prices, by type and zone.
    pub spot: Known<BTreeMap<String, BTreeMap<String, Micros>>>,
    /// How long machines of this cluster take from launch to ready.
    pub boots: Boots,
}

/// What an instance type is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Thousandths of a CPU, of which a node offers a little less.
    pub cpu_milli: u64,
    /// MiB of memory, of which a node offers less.
    pub memory_mib: u64,
    /// As Kubernetes calls it: `amd64` or `arm64`.
    pub architecture: String,
}

/// Something that AWS has told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known<T> {
    /// What it told.
    pub value: T,
    /// When, milliseconds since 1970 UTC; none if never.
    pub told_ms: Option<i64>,
    /// When it was last asked for.
    asked_ms: Option<i64>,
    /// Why the last question has no answer, in words.
    pub trouble: Option<String>,
}

impl<T> Known<T> {
    /// How old it is; none if nothing is known.
    pub fn age_ms(&self, now_ms: i64) -> Option<i64> {
        self.told_ms.map(|told_ms| now_ms.saturating_sub(told_ms).max(0))
    }

    /// Takes an answer, or keeps what is known and says why.
    pub(crate) fn take(&mut self, answer: Result<T, String>, now_ms: i64) {
        self.asked_ms = Some(now_ms);
        match answer {
            Ok(value) => {
                self.value = value;
                self.told_ms = Some(now_ms);
                self.trouble = None;
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// Whether to ask: it is old, or lacks something, and the last question is a while ago. A clock that was set back
    /// makes it due.
    fn is_due(&self, now_ms: i64, every_ms: i64, lacks: bool) -> bool {
        let passed = |since_ms: Option<i64>, ms| {
            since_ms.is_none_or(|since_ms| !(0..ms).contains(&now_ms.saturating_sub(since_ms)))
        };
        let old = passed(self.told_ms, every_ms);
        (old || lacks) && passed(self.asked_ms, AGAIN_MS.min(every_ms))
    }
}

/// Something that is asked for by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Instance types.
    Types,
    /// Zones.
    Zones,
    /// Prices on demand.
    OnDemand,
    /// Spot prices.
    Spot,
}

impl Facts {
    /// What is to be asked for now, given the types that matter.
    pub fn due(&self, types: &BTreeSet<String>, now_ms: i64) -> Vec<Part> {
        let lacks = |known: &dyn Fn(&String) -> bool| types.iter().any(|name| !known(name));
        let lacks_type = lacks(&|name| self.types.value.contains_key(name));
        let lacks_price = lacks(&|name| self.on_demand.value.contains_key(name));
        let lacks_spot = lacks(&|name| self.spot.value.contains_key(name));
        let parts = [
            (Part::Types, self.types.is_due(now_ms, SELDOM_MS, lacks_type)),
            (Part::Zones, self.zones.is_due(now_ms, SELDOM_MS, false)),
            (Part::OnDemand, self.on_demand.is_due(now_ms, SELDOM_MS, lacks_price)),
            (Part::Spot, self.spot.is_due(now_ms, SPOT_MS, lacks_spot)),
        ];
        parts
            .into_iter()
            .filter(|(part, is_due)| *is_due && (!types.is_empty() || *part == Part::Zones))
            .map(|(part, _)| part)
            .collect()
    }

    /// What a machine costs for an hour: on demand, or as spot in the dearest of these zones (of all where none is
    /// named). None where it isn't known.
    pub fn price(&self, name: &str, spot: bool, zones: &[String]) -> Option<Micros> {
        if !spot {
            return self.on_demand.value.get(name).copied();
        }
        let prices = self.spot.value.get(name)?.iter();
        let prices = prices.filter(|(zone, _)| zones.is_empty() || zones.contains(zone));
        prices.map(|(_, price)| *price).max()
    }

    /// Forgets what is of another region.
    #[must_use]
    pub fn in_region(self, region: &str) -> Self {
        if self.region == region {
            return self;
        }
        Self {
            region: region.to_owned(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn wanted() -> BTreeSet<String> {
        BTreeSet::from(["a".to_owned()])
    }

    fn facts() -> Facts {
        let mut facts = Facts::default().in_region("r");
        let machine = Machine {
            cpu_milli: 8_000,
            memory_mib: 32_768,
            architecture: "amd64".to_owned(),
        };
        facts.types.take(Ok(BTreeMap::from([("a".to_owned(), machine)])), 0);
        facts.zones.take(Ok(BTreeSet::new()), 0);
        facts.on_demand.take(Ok(BTreeMap::from([("a".to_owned(), 400_000)])), 0);
        let zones = BTreeMap::from([("r-a".to_owned(), 100_000), ("r-b".to_owned(), 200_000)]);
        facts.spot.take(Ok(BTreeMap::from([("a".to_owned(), zones)])), 0);
        facts
    }

    #[test]
    fn what_is_old_or_lacking_is_asked_for() {
        let facts = facts();
        let all = vec![Part::Types, Part::Zones, Part::OnDemand, Part::Spot];
        assert_eq!(facts.due(&wanted(), SPOT_MS - 1), []);
        assert_eq!(facts.due(&wanted(), SPOT_MS), [Part::Spot]);
        assert_eq!(facts.due(&wanted(), 6 * HOUR_MS), all);
        assert_eq!(facts.due(&BTreeSet::new(), 6 * HOUR_MS), [Part::Zones]);
        let more = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(facts.due(&more, AGAIN_MS - 1), []);
        assert_eq!(facts.due(&more, AGAIN_MS), [Part::Types, Part::OnDemand, Part::Spot]);
        // The clock was set back.
        assert_eq!(facts.due(&wanted(), -1), all);
        assert_eq!(Facts::default().due(&wanted(), 0), all);
    }

    #[test]
    fn a_failure_keeps_what_is_known_and_is_not_repeated_at_once() {
        let mut facts = facts();
        facts.types.take(Err("gone".to_owned()), 7 * HOUR_MS);
        assert_eq!(facts.types.trouble.as_deref(), Some("gone"));
        assert_eq!(facts.types.age_ms(7 * HOUR_MS), Some(7 * HOUR_MS));
        assert!(facts.types.value.contains_key("a"));
        assert!(!facts.due(&wanted(), 7 * HOUR_MS + AGAIN_MS - 1).contains(&Part::Types));
        assert!(facts.due(&wanted(), 7 * HOUR_MS + AGAIN_MS).contains(&Part::Types));
        facts.types.take(Ok(BTreeMap::new()), 8 * HOUR_MS);
        assert_eq!(
            (facts.types.trouble.as_ref(), facts.types.told_ms),
            (None, Some(8 * HOUR_MS))
        );
    }

    #[test]
    fn a_price_is_that_of_the_dearest_zone() {
        let facts = facts();
        let zone = |name: &str| vec![name.to_owned()];
        assert_eq!(facts.price("a", false, &[]), Some(400_000));
        assert_eq!(facts.price("a", true, &[]), Some(200_000));
        assert_eq!(facts.price("a", true, &zone("r-a")), Some(100_000));
        assert_eq!(facts.price("a", true, &zone("r-c")), None);
        assert_eq!(facts.price("b", false, &[]), None);
        assert_eq!(facts.clone().in_region("r"), facts);
        assert_eq!(facts.in_region("q").price("a", false, &[]), None);
    }
}
