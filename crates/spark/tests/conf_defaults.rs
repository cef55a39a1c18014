//! The table of keys is held against the list of keys and defaults of each real Spark version.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in its helpers too")]

use std::fs;
use std::path::Path;

use kompass_spark::conf::{Conf, Key};
use kompass_spark::{DriverPod, Version, explain, requests};
use serde_json::json;

/// Keys that executors follow only later than they exist; the reasons stand in the table itself.
const LATER: [Key; 3] = [Key::DriverMaster, Key::OffHeapEnabled, Key::OffHeapSize];
/// Keys that Spark reads by their bare names (2.4), or declares in an object that the recorded lists leave out (Python's,
/// from 3.0 on): the lists do not have them, and still they count.
const UNDECLARED: [(Key, u32); 3] = [
    (Key::DynamicAllocation, 2),
    (Key::ExecutorCores, 2),
    (Key::ExecutorPysparkMemory, 3),
];

struct Line {
    key: Key,
    defaults: Vec<(Version, Option<String>)>,
}

fn table() -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/conf-defaults.tsv");
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let versions: Vec<Version> = lines.next().unwrap()[1..]
        .iter()
        .map(|text| Version::parse(text).unwrap())
        .collect();
    let lines: Vec<Line> = lines
        .map(|columns| {
            let key = Key::ALL.into_iter().find(|key| key.name() == columns[0]).unwrap();
            let defaults = columns[1..].iter().map(|&text| (text != "-").then(|| text.to_owned()));
            Line {
                key,
                defaults: versions.iter().copied().zip(defaults).collect(),
            }
        })
        .collect();
    assert_eq!(lines.len(), Key::ALL.len(), "a key is missing in the recorded table");
    lines
}

#[test]
fn no_key_counts_in_a_version_that_does_not_have_it() {
    for line in table() {
        for (version, default) in line.defaults {
            let counts = version >= line.key.since();
            let undeclared = |&(key, major): &(Key, u32)| {
                key == line.key && (version.major == major || (major == 3 && version.major > 3))
            };
            if default.is_none() && UNDECLARED.iter().any(undeclared) {
                assert!(counts, "{} counts in {version}", line.key.name());
            } else if default.is_none() {
                assert!(!counts, "{} does not exist in {version}", line.key.name());
            } else if !LATER.contains(&line.key) {
                assert!(counts, "{} exists in {version}", line.key.name());
            }
        }
    }
}

#[test]
fn an_unset_key_is_the_same_as_its_default() {
    let table = table();
    for (index, (version, _)) in table[0].defaults.iter().enumerate() {
        let defaults = table
            .iter()
            .filter_map(|line| Some((line.key, line.defaults[index].1.as_deref()?)));
        let text = defaults
            .filter(|(_, default)| !default.starts_with('<') && !default.is_empty())
            .map(|(key, default)| format!("{}={default}\n", key.name()))
            .collect::<Vec<_>>()
            .concat();
        let (explicit, warnings) = requests::executor_requests(&Conf::parse(&text), *version, None);
        let (unset, _) = requests::executor_requests(&Conf::default(), *version, None);
        assert_eq!((explicit, warnings), (unset, vec![]), "{version}");
    }
}

#[test]
fn drivers_ask_for_as_many_executors_at_a_time_as_their_release_does() {
    let table = table();
    let line = table.iter().find(|line| line.key == Key::AllocationBatchSize).unwrap();
    for (version, default) in &line.defaults {
        let pod = json!({
            "metadata": {"labels": {"spark-role": "driver", "spark-version": version.to_string()}},
            "spec": {"containers": [{"args": ["driver"]}]},
        });
        let explanation = explain::explain(&DriverPod::from_json(&pod).unwrap(), None, None);
        let batch = explanation.allocation.unwrap().batch.to_string();
        assert_eq!(Some(&batch), default.as_ref(), "{version}");
    }
}
