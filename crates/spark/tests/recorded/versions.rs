//! Versions that nothing is recorded of, and labels that say nothing: recorded applications as those would have sent them.

use kompass_spark::{DriverPod, TEMPLATE_KEY, Version, explain, version};
use serde_json::{Value, json};

use crate::recordings::Recorded;

/// The label that says the version, since 3.3.
const LABEL: &str = "spark-version";

fn of_version(version: &str) -> impl Iterator<Item = Recorded> {
    Recorded::all().into_iter().filter(move |app| app.version == version)
}

fn labels(app: &mut Recorded) -> &mut serde_json::Map<String, Value> {
    app.driver["metadata"]["labels"].as_object_mut().unwrap()
}

fn labelled(mut app: Recorded, label: &str) -> Recorded {
    labels(&mut app).insert(LABEL.to_owned(), json!(label));
    app
}

/// As 3.1 and 3.2 sent it.
fn unlabelled(mut app: Recorded) -> Recorded {
    labels(&mut app).remove(LABEL);
    labels(&mut app).remove("spark-app-name");
    for map in &mut app.config_maps {
        map["data"]
            .as_object_mut()
            .unwrap()
            .remove("spark.kubernetes.namespace");
    }
    app
}

/// As 3.0 sent it: another name of the configuration's volume and of its ConfigMap.
fn as_of_3_0(app: Recorded) -> Recorded {
    let mut app = unlabelled(app);
    let known = app.driver().conf_config_map().unwrap().to_owned();
    let name = format!("{}-conf-map", app.driver["metadata"]["name"].as_str().unwrap());
    let renamed = |value: &mut Value, from: &str, to: &str| {
        if *value == from {
            *value = json!(to);
        }
    };
    for volume in app.driver["spec"]["volumes"].as_array_mut().unwrap() {
        renamed(&mut volume["name"], "spark-conf-volume-driver", "spark-conf-volume");
        if let Some(map) = volume.get_mut("configMap") {
            renamed(&mut map["name"], &known, &name);
        }
    }
    for container in app.driver["spec"]["containers"].as_array_mut().unwrap() {
        for mount in container["volumeMounts"].as_array_mut().into_iter().flatten() {
            renamed(&mut mount["name"], "spark-conf-volume-driver", "spark-conf-volume");
        }
    }
    for map in &mut app.config_maps {
        renamed(&mut map["metadata"]["name"], &known, &name);
    }
    app
}

fn explained(app: &Recorded) -> explain::Explanation {
    let driver = app.driver();
    let template = app.text(driver.template_config_map(), TEMPLATE_KEY);
    explain::explain(&driver, Some(&app.conf()), template)
}

#[test]
fn versions_are_known_with_and_without_their_label() {
    for app in Recorded::all() {
        let known = Version::parse(&app.version).unwrap();
        let with = version::detect(&app.driver());
        let labelled = known >= Version::new(3, 3, 0);
        let expected = if labelled {
            app.version.clone()
        } else {
            "2.4".to_owned()
        };
        assert_eq!((with.text, with.warning), (Some(expected), None), "{}", app.name());

        let mut driver = app.driver.clone();
        driver["metadata"]["labels"]
            .as_object_mut()
            .unwrap()
            .remove("spark-version");
        let without = version::detect(&DriverPod::from_json(&driver).unwrap());
        let rules = if labelled {
            Version::new(3, 1, 0)
        } else {
            Version::new(2, 4, 0)
        };
        assert_eq!((without.rules, without.warning), (rules, None), "{}", app.name());
        if labelled {
            // As 3.0 built it.
            for volume in driver["spec"]["volumes"].as_array_mut().unwrap() {
                if volume["name"] == "spark-conf-volume-driver" {
                    volume["name"] = json!("spark-conf-volume");
                }
            }
            let oldest = version::detect(&DriverPod::from_json(&driver).unwrap());
            assert_eq!(oldest.rules, Version::new(3, 0, 0), "{}", app.name());
        }
    }
}

#[test]
fn releases_without_recordings_are_profiled_by_their_own_rules() {
    type Change = fn(Recorded) -> Recorded;
    type Case = (&'static str, Change, &'static str, u64, u64, u64, Option<u64>);
    // Which recordings become which version, what the profile says of it, MiB of the Python job's and the GPU job's
    // executors, executors at a time and how many may wait.
    let cases: [Case; 4] = [
        // Neither memory off the heap nor the executors' own overhead factor count.
        (
            "3.3.4",
            as_of_3_0,
            "3.0",
            8_192 + 3_276 + 1_024,
            20_480 + 3_072,
            5,
            Some(5),
        ),
        // Off the heap, but not the factor.
        (
            "3.3.4",
            unlabelled,
            "3.1",
            8_192 + 3_276 + 1_024 + 2_048,
            20_480 + 3_072,
            5,
            None,
        ),
        (
            "3.5.9",
            |app| labelled(app, "4.0.5"),
            "4.0.5",
            8_192 + 3_276 + 1_024 + 2_048,
            20_480 + 5_120,
            10,
            None,
        ),
        (
            "4.3.0",
            |app| labelled(app, "4.2.1"),
            "4.2.1",
            8_192 + 3_276 + 1_024 + 2_048,
            20_480 + 5_120,
            20,
            None,
        ),
    ];
    for (recorded, change, version, python_mib, gpu_mib, batch, pending_max) in cases {
        for app in of_version(recorded) {
            let app = change(app);
            let name = format!("{version} {}", app.scenario);
            let explanation = explained(&app);
            let profile = &explanation.profile;
            assert_eq!(profile.spark_version.as_deref(), Some(version), "{name}");
            assert!(profile.warnings.is_empty(), "{name}: {:?}", profile.warnings);
            let (at_start, max, cpu_milli, memory_mib, gpus) = match app.scenario.as_str() {
                "a-basic-scala" => (3, Some(3), 2_000, 2_432, 0),
                "b-minimal" | "h-proxyuser-args" => (2, Some(2), 1_000, 1_408, 0),
                "c-python-dynalloc" => (4, Some(20), 3_500, python_mib, 0),
                "d-pod-template" => (5, Some(5), 1_100, 1_536, 0),
                "e-gpu-overhead" => (8, Some(8), 2_000, gpu_mib, 2),
                "f-volcano" => (4, Some(4), 1_000, 1_408, 0),
                other => panic!("unknown scenario {other}"),
            };
            assert_eq!(
                (profile.executors_at_start, profile.executors_max),
                (at_start, max),
                "{name}"
            );
            let executor = &profile.executor;
            assert_eq!(
                (
                    executor.cpu_milli,
                    executor.memory_mib,
                    executor.resources().units("nvidia.com/gpu")
                ),
                (cpu_milli, memory_mib, gpus),
                "{name}"
            );
            let allocation = explanation.allocation.unwrap();
            assert_eq!(
                (allocation.batch, allocation.pending_max),
                (batch, pending_max),
                "{name}"
            );
        }
    }
}

#[test]
fn any_label_gets_an_answer() {
    let newest = Version::NEWEST;
    let long = format!("3.5.1-{}", "x".repeat(64));
    for (label, rules, is_version, warns) in [
        ("3.5.1-amzn-0", Version::new(3, 5, 1), true, false),
        ("4.0.0-preview2", Version::new(4, 0, 0), true, false),
        (&long, Version::new(3, 5, 1), true, false),
        ("4.9.0-SNAPSHOT", newest, true, true),
        ("5.0.0", newest, true, true),
        ("3.9.0", Version::new(3, 5, 0), true, true),
        ("2.3.4", Version::OLDEST, true, true),
        ("garbage", newest, false, true),
        ("", newest, false, true),
        ("4", newest, false, true),
        ("v4.1.4", newest, false, true),
        (&"9".repeat(70), newest, false, true),
        (&format!("{}.1.1", "9".repeat(70)), newest, false, true),
    ] {
        for app in Recorded::all() {
            let app = labelled(app, label);
            let detected = version::detect(&app.driver());
            assert_eq!(detected.rules, rules, "{label:?}");
            assert_eq!(detected.text, is_version.then(|| label.to_owned()), "{label:?}");
            assert_eq!(detected.warning.is_some(), warns, "{label:?}");
            assert!(app.profile().executors_at_start > 0, "{label:?} {}", app.name());
        }
    }
}

#[test]
fn a_version_beyond_the_releases_is_treated_as_the_nearest_and_told() {
    let newest = Version::NEWEST.to_string();
    let oldest = Version::OLDEST.to_string();
    for (label, nearest) in [("9.0.0", &newest), ("garbage", &newest), ("1.6.3", &oldest)] {
        for app in Recorded::all() {
            let name = app.name();
            let known = explained(&labelled(app.clone(), nearest));
            let mut found = explained(&labelled(app, label));
            assert_eq!(found.profile.warnings.len(), 1, "{label:?} {name}");
            found.profile.warnings.clear();
            found.profile.spark_version.clone_from(&known.profile.spark_version);
            assert_eq!(found.profile, known.profile, "{label:?} {name}");
            assert_eq!(found.allocation, known.allocation, "{label:?} {name}");
        }
    }
}
