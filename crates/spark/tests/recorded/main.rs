//! Everything predicted from a driver's pod and its `ConfigMap`s is held against what that Spark then really sent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in its helpers too")]

mod recordings;
mod versions;

use std::collections::BTreeMap;

use kompass_core::profile::{JobProfile, Source};
use kompass_core::{Resources, Role};
use kompass_spark::explain::{Field, Origin};
use kompass_spark::{CONF_KEY, Conf, TEMPLATE_KEY, explain, placement, profile, profile_key, requests, role};

use crate::recordings::Recorded;

#[test]
fn every_recorded_executor_requests_exactly_what_was_predicted() {
    let mut checked = 0;
    for app in Recorded::all() {
        let profile = app.profile();
        for executor in &app.executors {
            assert_eq!(role::of(executor), Some(Role::Executor), "{}", app.name());
            let requested = requests::pod_requests(executor);
            assert!(requested.cpu_milli > 0 && requested.memory_bytes > 0, "{}", app.name());
            assert_eq!(profile.executor.resources(), requested, "{}", app.name());
            assert_eq!(
                profile.executor_constraints,
                placement::constraints(executor),
                "{}",
                app.name()
            );
            let priority_class = executor["spec"]["priorityClassName"].as_str();
            assert_eq!(
                profile.executor_priority_class.as_deref(),
                priority_class,
                "{}",
                app.name()
            );
            checked += 1;
        }
    }
    assert_eq!(checked, 56, "some recorded executors are missing");
}

#[test]
fn every_recorded_profile_is_whole_and_without_warning() {
    let expected = BTreeMap::from([
        ("a-basic-scala", (3, Some(3), false)),
        ("b-minimal", (2, Some(2), false)),
        ("c-python-dynalloc", (4, Some(20), true)),
        ("d-pod-template", (5, Some(5), false)),
        ("e-gpu-overhead", (8, Some(8), false)),
        ("f-volcano", (4, Some(4), false)),
        ("h-proxyuser-args", (2, Some(2), false)),
    ]);
    for app in Recorded::all() {
        let profile = app.profile();
        let found = (
            profile.executors_at_start,
            profile.executors_max,
            profile.dynamic_allocation,
        );
        assert_eq!(Some(&found), expected.get(app.scenario.as_str()), "{}", app.name());
        assert_eq!(profile.source, Source::Conf, "{}", app.name());
        assert!(profile.warnings.is_empty(), "{}: {:?}", app.name(), profile.warnings);
        assert_eq!(
            profile.driver.resources(),
            requests::pod_requests(&app.driver),
            "{}",
            app.name()
        );
        assert_eq!(JobProfile::from_annotation(&profile.to_annotation()).unwrap(), profile);
    }
}

#[test]
fn drivers_are_measured_with_their_sidecars_and_init_containers() {
    let app = Recorded::all()
        .into_iter()
        .find(|app| app.name() == "4.3.0 d-pod-template")
        .unwrap();
    // Init container: 2 CPU and 4 GiB; containers together: 1250m and 1664 MiB.
    let expected = Resources::from_mib(2000, 4096).with("ephemeral-storage", 5 << 30);
    assert_eq!(requests::pod_requests(&app.driver), expected);
}

#[test]
fn each_configuration_is_found_by_the_drivers_volume() {
    for app in Recorded::all() {
        let driver = app.driver();
        let name = driver
            .conf_config_map()
            .unwrap_or_else(|| panic!("{}: no volume", app.name()));
        assert!(app.text(Some(name), CONF_KEY).is_some(), "{}: {name}", app.name());
        let has_template = app.scenario == "d-pod-template" && !app.version.starts_with("2.");
        assert_eq!(driver.template_config_map().is_some(), has_template, "{}", app.name());
        assert_eq!(
            app.text(driver.template_config_map(), TEMPLATE_KEY).is_some(),
            has_template,
            "{}",
            app.name()
        );
    }
}

#[test]
fn executors_name_their_driver_as_owner() {
    for app in Recorded::all() {
        for executor in &app.executors {
            let owner = role::driver_of(executor).unwrap_or_else(|| panic!("{}: no owner", app.name()));
            assert!(
                owner.name.ends_with("-driver") && !owner.uid.is_empty(),
                "{}: {owner:?}",
                app.name()
            );
        }
    }
}

#[test]
fn class_resource_and_name_are_read_in_every_version() {
    for app in Recorded::all() {
        let driver = app.driver();
        let old = app.version.starts_with("2.");
        let (class, resource, name) = match app.scenario.as_str() {
            "a-basic-scala" | "b-minimal" => {
                let name = if app.scenario.starts_with('a') {
                    "nightly-etl"
                } else {
                    "org-apache-spark-examples-sparkpi"
                };
                let jar = "local:///opt/spark/examples/jars/spark-examples.jar";
                (Some("org.apache.spark.examples.SparkPi"), (!old).then_some(jar), name)
            }
            "c-python-dynalloc" => (
                None,
                Some(if old { "/app/agg.py" } else { "local:///app/agg.py" }),
                "daily-agg",
            ),
            "h-proxyuser-args" => (
                Some("com.example.etl.Main"),
                Some("local:///app/x.jar"),
                driver.app_name().unwrap(),
            ),
            "d-pod-template" => (Some("x.Y"), (!old).then_some("local:///app/x.jar"), "templ"),
            "e-gpu-overhead" => (Some("x.Y"), (!old).then_some("local:///app/x.jar"), "gpu-job"),
            "f-volcano" => (Some("x.Y"), Some("local:///app/x.jar"), "volc"),
            other => panic!("unknown scenario {other}"),
        };
        assert_eq!(driver.main_class(), class, "{}", app.name());
        assert_eq!(driver.primary_resource(), resource, "{}", app.name());
        let found = driver.app_name().unwrap();
        assert_eq!(found.replace('_', "-"), name, "{}", app.name());
    }
}

#[test]
fn a_job_keeps_its_key_over_runs_and_versions_with_the_same_arguments() {
    let mut keys: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for app in Recorded::all() {
        let key = profile_key::of("spark-jobs", &app.driver());
        assert!(!key.bytes().any(|b| b == b'.' || b == b'_'), "{key}");
        keys.entry(app.scenario.clone())
            .or_default()
            .push((app.version.clone(), key));
    }
    for (scenario, versions) in &keys {
        let of = |version: &str| versions.iter().find(|(known, _)| known == version).map(|(_, key)| key);
        assert_eq!(of("2.4.0"), of("2.4.8"), "{scenario}");
        if of("3.3.4").is_some() {
            assert_eq!(of("3.3.4"), of("4.1.4"), "{scenario}");
            assert_eq!(of("4.1.4"), of("4.3.0"), "{scenario}");
        }
    }
    let mut newest: Vec<&String> = keys
        .values()
        .filter_map(|versions| versions.last())
        .map(|(_, key)| key)
        .collect();
    newest.sort();
    newest.dedup();
    assert_eq!(newest.len(), keys.len(), "two scenarios share a key");
}

#[test]
fn no_value_of_a_configuration_shows_in_what_may_be_logged() {
    for app in Recorded::all() {
        let driver = app.driver();
        let text = app.text(driver.conf_config_map(), CONF_KEY).unwrap();
        let conf = Conf::parse(&format!(
            "{text}\nspark.hadoop.fs.s3a.secret.key=hunter2\nspark.executor.memory=hunter2\n"
        ));
        let profile = profile::build(&driver, Some(&conf), None);
        assert!(!format!("{conf:?} {profile:?}").contains("hunter2"), "{}", app.name());
    }
}

#[test]
fn every_recorded_profile_is_explained_field_by_field() {
    for app in Recorded::all() {
        let driver = app.driver();
        let template = app.text(driver.template_config_map(), TEMPLATE_KEY);
        let explanation = explain::explain(&driver, Some(&app.conf()), template);
        assert_eq!(explanation.profile, app.profile(), "{}", app.name());
        for field in [
            Field::SparkVersion,
            Field::ProfileKey,
            Field::Driver,
            Field::ExecutorCpu,
            Field::ExecutorMemory,
            Field::ExecutorsAtStart,
            Field::DynamicAllocation,
        ] {
            assert!(explanation.origins.contains_key(&field), "{}: {field:?}", app.name());
        }
        let templated = explanation.origins[&Field::ExecutorMemory].contains(&Origin::Template);
        assert_eq!(templated, template.is_some(), "{}", app.name());
    }
}
