use std::collections::{BTreeMap, BTreeSet};

use kompass_core::{Outcome, Resources};
use kompass_service::metrics::Registry;
use proptest::prelude::*;

use super::keys::{OTHER, REST_MS};
use super::*;

/// Two executors of two CPUs for 59 s each, in a run of 60 s.
fn gang(name: &str, key: Option<&str>) -> FinishedGang {
    FinishedGang {
        namespace: "ns".into(),
        name: name.into(),
        uid: name.into(),
        queue: "default".into(),
        profile_key: key.map(Into::into),
        wider_keys: key.iter().map(|key| format!("dag.{key}")).collect(),
        driver: Resources::from_mib(1000, 1024),
        executor: Some(Resources::new(2000, 2_048)),
        executors_min: 2,
        executors_max: Some(2),
        submitted_ms: 0,
        profiled_ms: Some(1_000),
        planned_ms: Some(1_500),
        bound_ms: Some(2_000),
        first_executor_ms: Some(3_000),
        started_ms: Some(2_500),
        ended_ms: 62_500,
        wait_ms: 2_000,
        run_ms: Some(60_000),
        executor_ms: 118_500,
        executors_peak: 2,
        outcome: Outcome::Succeeded,
        whole: true,
    }
}

#[test]
fn series_are_bounded_and_the_last_are_kept() {
    let registry = Registry::new();
    let (finished, metrics) = (Finished::default(), Metrics::register(&registry));
    for n in 0..MAX_KEYS + KEPT {
        finished.add(gang(&format!("d{n}"), Some(&format!("key-{n}"))), 0, &metrics);
    }
    finished.add(gang("none", None), 0, &metrics);
    assert_eq!(finished.recent().len(), KEPT);
    assert!(finished.find("ns", "d0").is_none());
    assert_eq!(finished.find("ns", "d699").unwrap().run_ms, Some(60_000));
    let text = registry.render();
    let series = text.matches("kompass_extender_gangs_finished_total{").count();
    assert_eq!(series, MAX_KEYS + 1);
    assert!(text.contains(r#"kompass_extender_gangs_ended_total{outcome="succeeded"} 701"#));
    assert!(!text.contains("\"key-499\"") && text.contains("\"key-500\""));
}

/// The samples of profile keys, without the common start of their names and without buckets.
fn samples(registry: &Registry) -> Vec<String> {
    let text = registry.render();
    text.lines()
        .filter_map(|line| line.strip_prefix("kompass_extender_gang"))
        .filter(|line| line.contains("profile_key=") && !line.contains("_bucket{"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_gang_that_succeeded_shows_all_that_is_known_of_it() {
    let registry = Registry::new();
    let mut one = gang("one", Some("etl"));
    one.executor = one.executor.map(|executor| executor.with("nvidia.com/gpu", 1));
    Finished::default().add(one, 0, &Metrics::register(&registry));
    let expected = r#"
_driver_cpu_core_seconds_total{profile_key="etl"} 60
_driver_memory_byte_seconds_total{profile_key="etl"} 64424509440
_executor_cpu_core_seconds_total{profile_key="etl"} 237
_executor_cpu_cores{profile_key="etl"} 2
_executor_extended_unit_seconds_total{profile_key="etl",resource="nvidia.com/gpu"} 118.5
_executor_memory_byte_seconds_total{profile_key="etl"} 242688
_executor_memory_bytes{profile_key="etl"} 2048
_executor_seconds_total{profile_key="etl"} 118.5
_executors{profile_key="etl"} 2
_executors_peak_sum{profile_key="etl"} 2
_executors_peak_count{profile_key="etl"} 1
_executors_start_total{profile_key="etl"} 2
_run_seconds_sum{profile_key="etl"} 60
_run_seconds_count{profile_key="etl"} 1
_stage_seconds_sum{profile_key="etl",stage="bind"} 0.5
_stage_seconds_count{profile_key="etl",stage="bind"} 1
_stage_seconds_sum{profile_key="etl",stage="first-executor"} 1
_stage_seconds_count{profile_key="etl",stage="first-executor"} 1
_stage_seconds_sum{profile_key="etl",stage="plan"} 0.5
_stage_seconds_count{profile_key="etl",stage="plan"} 1
_stage_seconds_sum{profile_key="etl",stage="profile"} 1
_stage_seconds_count{profile_key="etl",stage="profile"} 1
_wait_seconds_sum{profile_key="etl"} 2
_wait_seconds_count{profile_key="etl"} 1
s_finished_total{outcome="succeeded",profile_key="etl"} 1"#;
    assert_eq!(samples(&registry), expected.lines().skip(1).collect::<Vec<_>>());
    let buckets = |bound: &str| format!(r#"_run_seconds_bucket{{profile_key="etl",le="{bound}"}}"#);
    let text = registry.render();
    assert!(text.contains(&format!("{} 0\n", buckets("30"))) && text.contains(&format!("{} 1\n", buckets("60"))));
}

#[test]
fn what_was_cut_off_has_series_of_its_own() {
    let registry = Registry::new();
    let (finished, metrics) = (Finished::default(), Metrics::register(&registry));
    let failed = FinishedGang {
        executor: None,
        profiled_ms: None,
        first_executor_ms: None,
        outcome: Outcome::Failed,
        whole: false,
        ..gang("failed", Some("etl"))
    };
    let never_bound = FinishedGang {
        planned_ms: None,
        bound_ms: None,
        first_executor_ms: None,
        started_ms: None,
        run_ms: None,
        executor_ms: 0,
        executors_peak: 0,
        outcome: Outcome::Deleted,
        ..gang("deleted", None)
    };
    finished.add(failed, 0, &metrics);
    finished.add(never_bound, 0, &metrics);
    let expected = r#"
_cut_run_seconds_sum{outcome="failed",profile_key="etl"} 60
_cut_run_seconds_count{outcome="failed",profile_key="etl"} 1
_cut_wait_seconds_sum{profile_key="other"} 2
_cut_wait_seconds_count{profile_key="other"} 1
_driver_cpu_core_seconds_total{profile_key="etl"} 60
_driver_memory_byte_seconds_total{profile_key="etl"} 64424509440
_executor_cpu_cores{profile_key="other"} 2
_executor_memory_bytes{profile_key="other"} 2048
_executor_seconds_total{profile_key="etl"} 118.5
_executors{profile_key="etl"} 2
_executors_peak_sum{profile_key="etl"} 2
_executors_peak_count{profile_key="etl"} 1
_executors_start_total{profile_key="etl"} 2
_stage_seconds_sum{profile_key="etl",stage="bind"} 0.5
_stage_seconds_count{profile_key="etl",stage="bind"} 1
_stage_seconds_sum{profile_key="other",stage="profile"} 1
_stage_seconds_count{profile_key="other",stage="profile"} 1
_wait_seconds_sum{profile_key="etl"} 2
_wait_seconds_count{profile_key="etl"} 1
s_finished_total{outcome="deleted",profile_key="other"} 1
s_finished_total{outcome="failed",profile_key="etl"} 1
s_partial_total{profile_key="etl"} 1"#;
    assert_eq!(samples(&registry), expected.lines().skip(1).collect::<Vec<_>>());
}

#[test]
fn the_wider_keys_of_a_key_are_shown_as_they_are_now() {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry);
    let finished = Finished::with_keys(Keys::new(1, 3));
    let info = || {
        let text = registry.render();
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("kompass_extender_profile_key_info"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let end = |key: &str, wider: &[&str]| {
        let wider_keys = wider.iter().map(|&key| key.to_owned()).collect();
        let one = FinishedGang {
            wider_keys,
            ..gang("one", Some(key))
        };
        finished.add(one, 0, &metrics);
    };
    end("etl", &["dag.x", "name.y"]);
    end("etl", &["dag.x", "name.y"]);
    let line = |key: &str, wider: &str| format!(r#"{{profile_key="{key}",wider="{wider}"}} 1"#);
    assert_eq!(info(), [line("etl", "dag.x"), line("etl", "name.y")]);
    end("etl", &["name.y", "program.z"]);
    assert_eq!(info(), [line("etl", "name.y"), line("etl", "program.z")]);
    end("other-job", &["1", "2", "3", "4", "5"]);
    assert_eq!(info(), ["1", "2", "3", "4"].map(|wider| line("other-job", wider)));
    // It shares its series with others now.
    end("etl", &["dag.x"]);
    assert_eq!(info().len(), 4);
}

#[test]
fn resources_are_bounded() {
    let registry = Registry::new();
    let (finished, metrics) = (Finished::default(), Metrics::register(&registry));
    for n in 0..20 {
        let mut one = gang("one", Some("etl"));
        one.executor = one.executor.map(|executor| executor.with(&format!("r/{n:02}"), 1));
        finished.add(one, 0, &metrics);
    }
    let text = registry.render();
    assert_eq!(text.matches("resource=\"r/").count(), 8);
    assert!(text.contains(r#"resource="r/07""#), "{text}");
}

/// The value of a label in a sample.
fn label<'a>(sample: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = sample.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0)
}

/// Keys that have any series, and ended gangs by key and outcome.
fn shown(registry: &Registry) -> (BTreeSet<String>, BTreeMap<(String, String), u64>) {
    let text = registry.render();
    let keys = text.lines().filter_map(|line| label(line, "profile_key"));
    let counts = text
        .lines()
        .filter_map(|line| line.strip_prefix("kompass_extender_gangs_finished_total{"));
    let counts = counts.map(|line| {
        let names = (label(line, "profile_key").unwrap(), label(line, "outcome").unwrap());
        let count = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        ((names.0.to_owned(), names.1.to_owned()), count)
    });
    (keys.map(str::to_owned).collect(), counts.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever ends when: few keys have series, every end is counted once, and a key that lost its series is counted
    /// under the common one at first.
    #[test]
    fn any_sequence_of_ends_is_counted_in_bounded_series(
        ends in prop::collection::vec((0_usize..7, 0_usize..3, any::<bool>(), 0_i64..REST_MS / 2), 1..50),
    ) {
        const NAMED: usize = 3;
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        // Six keys: as many may rest as ever can.
        let finished = Finished::with_keys(Keys::new(NAMED, 3));
        let (mut now_ms, mut gone) = (0, BTreeSet::new());
        let (mut all, mut removed) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
        for (key, outcome, ran, passed_ms) in ends {
            let (key, resource) = ((key < 6).then(|| format!("key-{key}")), format!("r/{key}"));
            let (outcome, name) = [
                (Outcome::Succeeded, "succeeded"),
                (Outcome::Failed, "failed"),
                (Outcome::Deleted, "deleted"),
            ][outcome];
            now_ms += passed_ms;
            let mut one = FinishedGang { outcome, whole: false, ..gang("one", key.as_deref()) };
            one.executor = one.executor.map(|executor| executor.with(&resource, 1));
            if !ran {
                (one.run_ms, one.bound_ms) = (None, None);
            }
            let (keys_before, before) = shown(&registry);
            finished.add(one, now_ms, &metrics);
            let (keys, after) = shown(&registry);

            prop_assert!(keys.iter().filter(|&key| key != OTHER).count() <= NAMED);
            let other = (OTHER.to_owned(), name.to_owned());
            if key.as_ref().is_none_or(|key| gone.remove(key)) {
                prop_assert_eq!(after[&other], before.get(&other).unwrap_or(&0) + 1);
                prop_assert!(key.is_none_or(|key| !keys.contains(&key)));
            }
            for key in keys_before.difference(&keys) {
                gone.insert(key.clone());
                for ((_, outcome), count) in before.iter().filter(|((named, _), _)| named == key) {
                    *removed.entry(outcome.clone()).or_default() += count;
                }
            }
            *all.entry(name.to_owned()).or_default() += 1;
            let mut seen = removed.clone();
            for ((_, outcome), count) in after {
                *seen.entry(outcome).or_default() += count;
            }
            prop_assert_eq!(&seen, &all);
        }
        for (outcome, count) in all {
            let line = format!("kompass_extender_gangs_ended_total{{outcome=\"{outcome}\"}} {count}\n");
            prop_assert!(registry.render().contains(&line), "{}", line);
        }
    }
}
