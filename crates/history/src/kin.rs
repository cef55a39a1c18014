//! Which jobs are kin.
//!
//! KOMPASS shows for each profile key the wider keys that its job shares with others (`profile_key_info`). They may have
//! changed while the job went on under the same key: those that were seen last count.

use std::collections::BTreeMap;

use kompass_spark::profile_key::Level;

use crate::series::label;
use crate::{Kin, Series};

/// Wider keys that are kept of a profile key, as KOMPASS shows no more at a time.
const WIDER_MAX: usize = 4;

/// Wider keys by profile key, closest kin first.
pub(crate) fn read(series: Vec<Series>) -> Kin {
    let mut last: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for series in series {
        let (key, wider) = (label(&series.labels, "profile_key"), label(&series.labels, "wider"));
        let seen = series.points.iter().filter(|point| point.value > 0.0);
        let Some(at_ms) = seen.map(|point| point.at_ms).max() else {
            continue;
        };
        if key.is_empty() || wider.is_empty() {
            continue;
        }
        let known = last.entry(key.to_owned()).or_default().entry(wider.to_owned());
        known.and_modify(|known| *known = at_ms.max(*known)).or_insert(at_ms);
    }
    let kin = last.into_iter().map(|(key, wider)| {
        let now_ms = wider.values().max().copied();
        let wider = wider.into_iter().filter(|&(_, at_ms)| Some(at_ms) == now_ms);
        let mut wider: Vec<String> = wider.map(|(wider, _)| wider).collect();
        wider.sort_by_key(|wider| Level::of(wider));
        wider.truncate(WIDER_MAX);
        (key, wider)
    });
    kin.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labels, Point};

    fn series(key: &str, wider: &str, seen_ms: &[i64]) -> Series {
        let labels = [("profile_key", key), ("wider", wider)];
        Series {
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter()
                .collect::<Labels>(),
            points: seen_ms.iter().map(|&at_ms| Point { at_ms, value: 1.0 }).collect(),
        }
    }

    #[test]
    fn those_that_were_seen_last_count_and_the_closest_kin_comes_first() {
        let told = read(vec![
            series("etl-1", "name.etl", &[0, 20]),
            series("etl-1", "program.main", &[0, 10]),
            series("etl-1", "dag.nightly", &[20]),
            // In two pieces.
            series("report-2", "name.report", &[10]),
            series("report-2", "name.report", &[0]),
            series("report-2", "", &[30]),
            series("", "name.x", &[30]),
            series("gone-3", "name.y", &[]),
        ]);
        let kin = |key: &str| told.get(key).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(kin("etl-1"), ["dag.nightly", "name.etl"]);
        assert_eq!(kin("report-2"), ["name.report"]);
        assert_eq!(told.len(), 2);
    }
}
