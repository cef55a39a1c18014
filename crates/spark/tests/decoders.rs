//! Whatever a pod looks like, nothing that reads one panics: recorded pods with parts replaced, removed and doubled, and
//! JSON that is no pod at all.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

use kompass_core::{GangPlan, JobProfile};
use kompass_spark::{Conf, DriverPod, explain, placement, profile, profile_key, requests, role, spacing, template};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const DRIVER: &str = include_str!("data/spark-objects/3.5.9/d-pod-template/01-POST-pods.json");
const EXECUTOR: &str = include_str!("data/spark-objects/3.5.9/d-pod-template/driver-phase/06-POST-pods.json");

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9./_-]{0,12}".prop_map(Value::from),
        "[-+]?[0-9]{1,30}(\\.[0-9]{1,12})?([EPTGMKmunk]i?|e[0-9]{1,3})?".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-zA-Z]{1,10}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// All places of a value, by their pointers.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(entries) => {
            for (key, inner) in entries {
                places(
                    inner,
                    &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    all,
                );
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                places(inner, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

/// A recorded pod with some places replaced.
fn broken(recorded: &'static str) -> impl Strategy<Value = Value> {
    proptest::collection::vec((any::<prop::sample::Index>(), anything()), 1..6).prop_map(move |edits| {
        let mut pod: Value = serde_json::from_str(recorded).unwrap();
        for (index, value) in edits {
            let mut all = Vec::new();
            places(&pod, "", &mut all);
            if let Some(place) = pod.pointer_mut(&all[index.index(all.len())]) {
                *place = value;
            }
        }
        pod
    })
}

fn read(pod: &Value) {
    let _ = (role::of(pod), role::driver_of(pod), role::allocated_application(pod));
    let _ = (requests::pod_requests(pod), placement::constraints(pod));
    let _ = spacing::rules(pod, Some(pod));
    if let Some(driver) = DriverPod::from_json(pod) {
        let _ = (driver.conf_config_map(), driver.template_config_map());
        let keys = profile_key::keys(&driver);
        assert!(keys.own.len() <= 63, "{}", keys.own);
        let conf = Conf::parse("spark.executor.instances=3\n");
        let made = profile::build(&driver, Some(&conf), Some(&pod.to_string()));
        assert_eq!(JobProfile::from_annotation(&made.to_annotation()).unwrap(), made);
        assert_eq!(
            explain::explain(&driver, Some(&conf), None).profile.executors_at_start,
            3
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_broken_driver_is_read(pod in broken(DRIVER)) {
        read(&pod);
    }

    #[test]
    fn a_broken_executor_is_read(pod in broken(EXECUTOR)) {
        read(&pod);
    }

    #[test]
    fn what_is_no_pod_is_read(value in anything(), text in any::<String>()) {
        read(&value);
        read(&json!({"metadata": value, "spec": value, "status": value}));
        let _ = (template::parse(&text), template::parse(&value.to_string()));
        let _ = (JobProfile::from_annotation(&text), JobProfile::from_annotation(&value.to_string()));
        let _ = (GangPlan::from_annotation(&text), GangPlan::from_annotation(&value.to_string()));
    }
}
