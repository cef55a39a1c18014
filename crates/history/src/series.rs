//! Time series as a Prometheus answers them, in pieces and perhaps more than once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Names and values of labels.
pub type Labels = BTreeMap<String, String>;

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The value; may be NaN or infinite.
    pub value: f64,
}

/// Values over time with one set of labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What tells it from others.
    pub labels: Labels,
    /// In any order, perhaps some twice.
    pub points: Vec<Point>,
}

/// Series, each with its own labels and its points in order, none twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// By labels.
    pub series: Vec<Series>,
    /// Points that were NaN or infinite, and are left out.
    pub not_finite: u64,
}

/// Puts together what belongs together. Of several values at the same time the largest one counts: replicas that look at
/// the same counter see it at slightly different moments, and the largest has seen most.
pub fn merged(parts: impl IntoIterator<Item = Series>) -> Merged {
    let mut by_labels: BTreeMap<Labels, BTreeMap<i64, f64>> = BTreeMap::new();
    let mut not_finite = BTreeMap::<Labels, BTreeSet<i64>>::new();
    for part in parts {
        for point in part.points {
            if !point.value.is_finite() {
                let odd = not_finite.entry(part.labels.clone()).or_default();
                odd.insert(point.at_ms);
                continue;
            }
            if !by_labels.contains_key(&part.labels) {
                by_labels.insert(part.labels.clone(), BTreeMap::new());
            }
            let Some(points) = by_labels.get_mut(&part.labels) else {
                continue;
            };
            match points.entry(point.at_ms) {
                Entry::Vacant(entry) => {
                    entry.insert(point.value);
                }
                Entry::Occupied(mut entry) => {
                    let larger = entry.get().max(point.value);
                    entry.insert(larger);
                }
            }
        }
    }
    let series = by_labels.into_iter().map(|(labels, points)| Series {
        labels,
        points: points
            .into_iter()
            .map(|(at_ms, value)| Point { at_ms, value })
            .collect(),
    });
    Merged {
        series: series.collect(),
        not_finite: not_finite.values().map(|odd| odd.len() as u64).sum(),
    }
}

/// The value of a label, empty where there is none, as Prometheus has it.
pub(crate) fn label<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(name: &str, points: &[(i64, f64)]) -> Series {
        Series {
            labels: Labels::from([("name".to_owned(), name.to_owned())]),
            points: points.iter().map(|&(at_ms, value)| Point { at_ms, value }).collect(),
        }
    }

    #[test]
    fn pieces_are_put_together() {
        let got = merged([
            series("b", &[(1, 1.0)]),
            series("a", &[(3, 3.0), (1, f64::NAN)]),
            series("a", &[(2, 2.0), (3, 2.5), (1, f64::NAN), (4, f64::INFINITY)]),
        ]);
        assert_eq!(
            got.series,
            [series("a", &[(2, 2.0), (3, 3.0)]), series("b", &[(1, 1.0)])]
        );
        assert_eq!(got.not_finite, 2);
    }

    proptest! {
        #[test]
        fn cuts_order_and_repetition_change_nothing(
            points in prop::collection::vec((0..4_u8, 0..50_i64, 0..9_u8), 0..60),
            cut in 0..60_usize,
            repeated in 0..60_usize,
        ) {
            let part = |points: &[(u8, i64, u8)]| -> Vec<Series> {
                points.iter().map(|&(name, at, value)| series(&name.to_string(), &[(at, f64::from(value))])).collect()
            };
            let whole = merged(part(&points));
            let cut = cut.min(points.len());
            let mut pieces = part(&points[cut..]);
            pieces.extend(part(&points[..cut]));
            pieces.extend(part(&points[..repeated.min(points.len())]));
            prop_assert_eq!(merged(pieces), whole);
        }
    }
}
