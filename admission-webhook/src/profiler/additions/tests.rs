use kompass_core::Resources;
use kompass_core::profile::VERSION;
use proptest::prelude::*;

use super::*;

fn profile(key: &str, cpu_milli: u64) -> JobProfile {
    JobProfile {
        version: VERSION,
        spark_version: None,
        driver: Shape::default(),
        executor: Shape {
            cpu_milli,
            memory_mib: 1_024,
            ..Shape::default()
        },
        executor_additions: Shape::default(),
        executors_at_start: 2,
        executors_max: None,
        dynamic_allocation: false,
        executor_constraints: kompass_core::Constraints::default(),
        executor_spacing: kompass_core::Spacing::default(),
        executor_labels: std::collections::BTreeMap::new(),
        executor_pod_rules: kompass_core::PodRules::default(),
        executor_priority_class: None,
        profile_key: key.into(),
        executor_batch_delay_ms: None,
        executor_scheduler: None,
        start_within_ms: None,
        wider_keys: Vec::new(),
        runtime: None,
        source: Source::Conf,
        warnings: Vec::new(),
    }
}

fn driver(uid: &str, profile: JobProfile) -> Pod {
    Pod {
        uid: uid.into(),
        namespace: "jobs".into(),
        role: Some(Role::Driver),
        profile: Some(profile),
        ..Pod::default()
    }
}

fn executor(driver: &str, cpu_milli: u64) -> Pod {
    Pod {
        uid: format!("{driver}-1"),
        namespace: "jobs".into(),
        role: Some(Role::Executor),
        owner_pod_uid: Some(driver.into()),
        requests: Resources::from_mib(cpu_milli, 1_024),
        ..Pod::default()
    }
}

/// Additions after a run of each of these jobs: CPU as configured and as its executor has it.
fn after(runs: &[(&str, u64, u64)]) -> Additions {
    let mut additions = Additions::default();
    for (number, &(key, configured, real)) in runs.iter().enumerate() {
        let uid = number.to_string();
        additions.observe(&driver(&uid, profile(key, configured)));
        additions.observe(&executor(&uid, real));
    }
    additions
}

/// CPU of the next profile of a job with `cpu_milli` configured.
fn next(additions: &Additions, key: &str, cpu_milli: u64) -> u64 {
    let mut profile = profile(key, cpu_milli);
    additions.add_to("jobs", &mut profile);
    assert_eq!(without_additions(&profile).cpu_milli, cpu_milli);
    assert_eq!(
        profile.warnings.len(),
        usize::from(profile.executor.cpu_milli > cpu_milli)
    );
    profile.executor.cpu_milli
}

#[test]
fn the_next_run_asks_for_what_the_last_one_really_did() {
    let additions = after(&[("job", 1_000, 1_100)]);
    assert_eq!(next(&additions, "job", 1_000), 1_100);
    let additions = after(&[("job", 1_000, 1_100), ("job", 1_000, 1_000)]);
    assert_eq!(next(&additions, "job", 1_000), 1_000, "the sidecar is gone");
}

#[test]
fn additions_do_not_add_up_from_run_to_run() {
    let mut additions = Additions::default();
    for run in ["a", "b", "c"] {
        let mut profile = profile("job", 1_000);
        additions.add_to("jobs", &mut profile);
        additions.observe(&driver(run, profile));
        additions.observe(&executor(run, 1_100));
    }
    assert_eq!(next(&additions, "job", 1_000), 1_100);
}

#[test]
fn only_the_first_executor_of_the_default_size_counts() {
    let mut additions = Additions::default();
    additions.observe(&driver("d", profile("job", 1_000)));
    let mut of_a_stage = executor("d", 9_000);
    of_a_stage.resource_profile_id = Some("1".into());
    additions.observe(&of_a_stage);
    assert_eq!(next(&additions, "job", 1_000), 1_000);
    let mut first = executor("d", 1_100);
    first.resource_profile_id = Some("0".into());
    additions.observe(&first);
    additions.observe(&executor("d", 1_200));
    additions.observe(&driver("d", profile("job", 1_000)));
    additions.observe(&executor("d", 1_300));
    assert_eq!(next(&additions, "job", 1_000), 1_100);
}

#[test]
fn an_executor_may_be_seen_before_its_driver() {
    let mut additions = Additions::default();
    additions.observe(&executor("d", 1_100));
    additions.observe(&driver("d", profile("job", 1_000)));
    assert_eq!(next(&additions, "job", 1_000), 1_100);
}

#[test]
fn guesses_are_not_compared() {
    let mut additions = Additions::default();
    let mut guess = profile("job", 1_000);
    guess.source = Source::Guess;
    additions.observe(&driver("d", guess));
    additions.observe(&executor("d", 4_000));
    assert_eq!(next(&additions, "job", 1_000), 1_000);
}

#[test]
fn other_jobs_get_what_the_last_ones_have_in_common() {
    // One that asks for more by its own code says nothing of its neighbours.
    assert_eq!(next(&after(&[("a", 1_000, 200_000)]), "new", 1_000), 1_000);
    let additions = after(&[("a", 1_000, 200_000), ("b", 1_000, 1_100)]);
    assert_eq!(next(&additions, "new", 2_000), 2_100);
    assert_eq!(next(&additions, "a", 1_000), 200_000);
    assert_eq!(next(&additions, "a", 200_000), 200_100, "it is configured now");
    let mut elsewhere = profile("new", 1_000);
    additions.add_to("other", &mut elsewhere);
    assert_eq!(elsewhere, profile("new", 1_000));
    let additions = after(&[("a", 1, 101), ("b", 1, 101), ("c", 1, 101), ("d", 1, 51)]);
    assert_eq!(next(&additions, "new", 1), 51);
    let additions = after(&[("a", 1, 1), ("b", 1, 101), ("c", 1, 101), ("d", 1, 101)]);
    assert_eq!(next(&additions, "new", 1), 101, "the oldest is forgotten");
}

#[test]
fn memory_is_bounded() {
    let mut additions = Additions::default();
    for n in 0..=MAX_JOBS {
        let uid = n.to_string();
        let mut job = driver(&uid, profile(&uid, 1));
        job.namespace.clone_from(&uid);
        additions.observe(&job);
        additions.observe(&executor(&uid, 2));
        additions.remove(&uid);
        additions.observe(&executor(&format!("stray-{n}"), 2));
    }
    assert!(additions.jobs.len() <= MAX_JOBS && additions.namespaces.len() <= MAX_NAMESPACES);
    assert!(additions.runs.is_empty() && additions.strays.len() <= MAX_STRAYS);
}

proptest! {
    #[test]
    fn nothing_is_ever_subtracted(
        runs in proptest::collection::vec((0..3_u8, 1..4_000_u64, 1..4_000_u64), 0..12),
        key in 0..4_u8,
        cpu_milli in 1..4_000_u64,
    ) {
        let mut additions = Additions::default();
        for (number, (key, configured, real)) in runs.into_iter().enumerate() {
            let uid = number.to_string();
            additions.observe(&driver(&uid, profile(&key.to_string(), configured)));
            additions.observe(&executor(&uid, real));
        }
        prop_assert!(next(&additions, &key.to_string(), cpu_milli) >= cpu_milli);
    }
}
