//! The profile that is written on a pod, beside the one that its objects alone give. Pure.
//!
//! The profiler knows more than the objects: what executors of earlier runs requested, the last run of the job, the
//! predictor's estimate. And it writes once, while objects change.

use kompass_core::profile::{Shape, Source};
use kompass_core::{JobProfile, names};
use serde::Serialize;
use serde_json::{Value, json};

/// What the pod says of its profile and of who has it.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Written {
    /// Where the written profile comes from; `None` without one that can be read.
    pub(super) source: Option<Source>,
    /// Where it differs from the one explained.
    pub(super) differences: Vec<Difference>,
    /// Who has the pod beside KOMPASS, or instead of it, and what else there is to know, in words.
    pub(super) remarks: Vec<String>,
}

/// One field.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    /// Its path in the profile.
    pub(super) field: &'static str,
    /// As it is written.
    pub(super) written: Value,
    /// As the objects alone give it.
    pub(super) computed: Value,
    /// Why they differ.
    pub(super) because: String,
}

/// Reads it off a pod; `None` for one that is in no cluster and has no profile.
pub(super) fn of(pod: &Value, computed: &JobProfile) -> Option<Written> {
    let annotations = pod.pointer("/metadata/annotations");
    let text = annotations.and_then(|all| all.get(names::PROFILE_ANNOTATION)?.as_str());
    if text.is_none() && pod.pointer("/metadata/uid").is_none() {
        return None;
    }
    let mut written = Written {
        remarks: holders(pod),
        ..Written::default()
    };
    match text.map(JobProfile::from_annotation) {
        None => written.remarks.push("no profile is written on the pod".to_owned()),
        // What is wrong with it could quote it.
        Some(Err(_)) => written
            .remarks
            .push(format!("the annotation {} can't be read", names::PROFILE_ANNOTATION)),
        Some(Ok(profile)) => {
            written.source = Some(profile.source);
            written.differences = differences(&profile, computed);
        }
    }
    Some(written)
}

/// Who else has a say about when and where the pod runs.
fn holders(pod: &Value) -> Vec<String> {
    let mut holders = Vec::new();
    let labels = pod.pointer("/metadata/labels");
    if labels.and_then(|all| all.get(names::ENABLED_LABEL)) == Some(&json!("false")) {
        holders.push(format!("its label {}=false leaves it to others", names::ENABLED_LABEL));
    }
    let scheduler = pod.pointer("/spec/schedulerName").and_then(Value::as_str);
    let scheduler = scheduler
        .filter(|name| !name.is_empty())
        .unwrap_or(names::DEFAULT_SCHEDULER);
    if scheduler != names::SCHEDULER {
        holders.push(format!(
            "the scheduler {scheduler} has it, not KOMPASS: its owner, an operator or a queue manager said so, or it came past \
             the webhook"
        ));
    }
    let gates = pod.pointer("/spec/schedulingGates").and_then(Value::as_array);
    let foreign = gates.into_iter().flatten().filter_map(|gate| gate["name"].as_str());
    for gate in foreign.filter(|gate| *gate != names::GANG_GATE) {
        holders.push(format!(
            "held by the gate {gate}, which an operator or a queue manager opens: KOMPASS plans it after that"
        ));
    }
    holders
}

/// A field's path, and its value.
type Field = (&'static str, fn(&JobProfile) -> Value);

/// What is compared. What is not here says where the others come from.
const FIELDS: [Field; 19] = [
    ("source", |profile| json!(profile.source)),
    ("spark_version", |profile| json!(profile.spark_version)),
    ("profile_key", |profile| json!(profile.profile_key)),
    ("driver", |profile| json!(profile.driver)),
    ("executor.cpu_milli", |profile| json!(profile.executor.cpu_milli)),
    ("executor.memory_mib", |profile| json!(profile.executor.memory_mib)),
    ("executor.extended", |profile| json!(profile.executor.extended)),
    ("executors_at_start", |profile| json!(profile.executors_at_start)),
    ("executors_max", |profile| json!(profile.executors_max)),
    ("dynamic_allocation", |profile| json!(profile.dynamic_allocation)),
    ("executor_constraints", |profile| json!(profile.executor_constraints)),
    ("executor_spacing", |profile| json!(profile.executor_spacing)),
    ("executor_labels", |profile| json!(profile.executor_labels)),
    ("executor_pod_rules", |profile| json!(profile.executor_pod_rules)),
    ("executor_priority_class", |profile| {
        json!(profile.executor_priority_class)
    }),
    ("executor_batch_delay_ms", |profile| {
        json!(profile.executor_batch_delay_ms)
    }),
    ("executor_scheduler", |profile| json!(profile.executor_scheduler)),
    ("start_within_ms", |profile| json!(profile.start_within_ms)),
    ("runtime", |profile| json!(profile.runtime)),
];

fn differences(written: &JobProfile, computed: &JobProfile) -> Vec<Difference> {
    let compare = |&(field, pick): &Field| {
        let (was, is) = (pick(written), pick(computed));
        (was != is).then(|| Difference {
            field,
            because: because(field, written, computed),
            written: was,
            computed: is,
        })
    };
    FIELDS.iter().filter_map(compare).collect()
}

fn because(field: &str, written: &JobProfile, computed: &JobProfile) -> String {
    let additions = addition(field, &written.executor_additions);
    let basis = match (written.source, computed.source) {
        _ if field == "runtime" => return "an estimate of the predictor".to_owned(),
        // Of these the profiler knows no more than the pod itself.
        _ if ["spark_version", "profile_key", "driver"].contains(&field) => None,
        _ if written.executor_scheduler != computed.executor_scheduler
            && ["executor_scheduler", "executors_at_start", "executors_max"].contains(&field) =>
        {
            Some("the webhook takes over other schedulers than --takeover says here".to_owned())
        }
        (Source::History, _) => Some(format!("from an earlier run: {}", written.warnings.join(". "))),
        (Source::Guess, Source::Conf) => {
            Some("guessed from the pod alone: the configuration could not be read in time".to_owned())
        }
        (Source::Conf, Source::Guess) => Some("the configuration is not there any more".to_owned()),
        _ => None,
    };
    let parts: Vec<String> = basis.into_iter().chain(additions).collect();
    if parts.is_empty() {
        "an object has changed since, or another version of KOMPASS wrote it".to_owned()
    } else {
        parts.join("; ")
    }
}

/// What was added to a field since executors of earlier runs asked for it.
fn addition(field: &str, additions: &Shape) -> Option<String> {
    let added = match field {
        "executor.cpu_milli" => (additions.cpu_milli > 0).then(|| additions.cpu_milli.to_string()),
        "executor.memory_mib" => (additions.memory_mib > 0).then(|| additions.memory_mib.to_string()),
        "executor.extended" => {
            let units = additions.extended.iter().map(|(name, units)| format!("{units} {name}"));
            let units: Vec<String> = units.collect();
            (!units.is_empty()).then(|| units.join(", "))
        }
        _ => None,
    };
    added.map(|added| format!("{added} more, as executors seen in this namespace requested beyond their configuration"))
}

#[cfg(test)]
mod tests {
    use kompass_core::profile::RuntimeEstimate;
    use kompass_spark::{Conf, DriverPod, explain};

    use super::*;
    use crate::explain::show;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "d", "uid": "u", "labels": {"spark-role": "driver", "spark-version": "3.5.9"}},
            "spec": {
                "schedulerName": "kompass",
                "containers": [{"args": ["driver"], "resources": {"requests": {"cpu": "1", "memory": "1408Mi"}}}],
            },
        })
    }

    fn computed(conf: Option<&str>) -> JobProfile {
        let pod = pod();
        let driver = DriverPod::from_json(&pod).unwrap();
        explain::explain(&driver, conf.map(Conf::parse).as_ref(), None).profile
    }

    const CONF: Option<&str> = Some("spark.executor.instances=3\nspark.executor.memory=2g\n");

    fn beside(profile: &JobProfile, computed: &JobProfile) -> Written {
        let mut pod = pod();
        pod["metadata"]["annotations"] = json!({names::PROFILE_ANNOTATION: profile.to_annotation()});
        of(&pod, computed).unwrap()
    }

    fn fields(written: &Written) -> Vec<(&str, &str)> {
        let differences = written.differences.iter();
        differences
            .map(|difference| (difference.field, difference.because.as_str()))
            .collect()
    }

    #[test]
    fn the_same_profile_differs_nowhere() {
        let profile = computed(CONF);
        let expected = Written {
            source: Some(Source::Conf),
            ..Written::default()
        };
        assert_eq!(beside(&profile, &profile), expected);
    }

    #[test]
    fn additions_and_estimates_are_named() {
        let fresh = computed(CONF);
        let mut profile = fresh.clone();
        profile.executor.cpu_milli += 100;
        profile.executor.memory_mib += 256;
        profile.executor_additions.cpu_milli = 100;
        profile.executor_additions.memory_mib = 256;
        profile.executor.extended.insert("r/x".into(), 2);
        profile.executor_additions.extended.insert("r/x".into(), 2);
        profile.runtime = Some(RuntimeEstimate {
            p50_s: 60,
            p90_s: 90,
            samples: 5,
        });
        let written = beside(&profile, &fresh);
        let words = "more, as executors seen in this namespace requested beyond their configuration";
        assert_eq!(
            fields(&written),
            [
                ("executor.cpu_milli", format!("100 {words}").as_str()),
                ("executor.memory_mib", format!("256 {words}").as_str()),
                ("executor.extended", format!("2 r/x {words}").as_str()),
                ("runtime", "an estimate of the predictor"),
            ]
        );
        assert_eq!(
            (&written.differences[1].written, &written.differences[1].computed),
            (&json!(2_688), &json!(2_432))
        );
    }

    #[test]
    fn it_is_shown_as_a_table_and_as_json() {
        let pod = pod();
        let driver = DriverPod::from_json(&pod).unwrap();
        let explanation = explain::explain(&driver, CONF.map(Conf::parse).as_ref(), None);
        let mut profile = explanation.profile.clone();
        profile.executors_at_start = 7;
        let differing = beside(&profile, &explanation.profile);
        let text = show::written(&differing);
        assert!(text.contains("executors_at_start  7"), "{text}");
        assert!(show::written(&beside(&explanation.profile, &explanation.profile)).contains("is the same"));
        let json = show::json(&explanation, Some(&differing)).unwrap();
        assert_eq!(json["written"]["source"], "conf");
        assert_eq!(json["written"]["differences"][0]["field"], "executors_at_start");
    }

    #[test]
    fn an_earlier_run_is_named_with_what_was_added_to_it() {
        let fresh = computed(CONF);
        let mut profile = fresh.clone();
        profile.source = Source::History;
        profile.warnings = vec!["executors are taken to be as in the last run".into()];
        profile.executors_at_start = 7;
        profile.executor.memory_mib += 1;
        profile.executor_additions.memory_mib = 1;
        let written = beside(&profile, &fresh);
        assert_eq!(written.source, Some(Source::History));
        let past = "from an earlier run: executors are taken to be as in the last run";
        let added = "1 more, as executors seen in this namespace requested beyond their configuration";
        assert_eq!(
            fields(&written),
            [
                ("source", past),
                ("executor.memory_mib", format!("{past}; {added}").as_str()),
                ("executors_at_start", past),
            ]
        );
    }

    #[test]
    fn a_guess_a_lost_configuration_and_a_changed_pod_are_told_apart() {
        let (fresh, guess) = (computed(CONF), computed(None));
        let in_time = "guessed from the pod alone: the configuration could not be read in time";
        assert!(fields(&beside(&guess, &fresh)).contains(&("executors_at_start", in_time)));
        let gone = "the configuration is not there any more";
        assert!(fields(&beside(&fresh, &guess)).contains(&("executors_at_start", gone)));
        let mut resized = fresh.clone();
        resized.driver.cpu_milli += 1;
        let changed = "an object has changed since, or another version of KOMPASS wrote it";
        assert_eq!(fields(&beside(&resized, &fresh)), [("driver", changed)]);
    }

    #[test]
    fn whoever_else_has_the_pod_is_named() {
        let profile = computed(CONF);
        let mut held = pod();
        held["spec"]["schedulerName"] = json!("volcano");
        held["spec"]["schedulingGates"] = json!([{"name": "kueue.x-k8s.io/admission"}, {"name": names::GANG_GATE}]);
        held["metadata"]["labels"][names::ENABLED_LABEL] = json!("false");
        let remarks = of(&held, &profile).unwrap().remarks;
        for (remark, words) in remarks.iter().zip([
            "kompass.dev/enabled=false",
            "scheduler volcano has it",
            "gate kueue.x-k8s.io/admission",
            "no profile is written",
        ]) {
            assert!(remark.contains(words), "{remark}");
        }
        assert_eq!(remarks.len(), 4, "{remarks:?}");
        let mut broken = pod();
        broken["metadata"]["annotations"] = json!({names::PROFILE_ANNOTATION: "hunter2"});
        let remarks = of(&broken, &profile).unwrap().remarks.join("");
        assert!(remarks.contains("can't be read") && !remarks.contains("hunter2"));
        let mut recorded = pod();
        recorded["metadata"].as_object_mut().unwrap().remove("uid");
        assert_eq!(of(&recorded, &profile), None, "it is in no cluster");
    }

    #[test]
    fn every_field_of_a_profile_is_compared_or_known_not_to_be() {
        let schema: Value = serde_json::from_str(include_str!("../../../docs/job-profile.schema.json")).unwrap();
        let all = schema["properties"].as_object().unwrap().keys().map(String::as_str);
        let compared = FIELDS.map(|(field, _)| field.split('.').next().unwrap());
        let not_compared = ["version", "wider_keys", "executor_additions", "warnings"];
        let missing: Vec<&str> = all
            .filter(|field| !compared.contains(field) && !not_compared.contains(field))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn schedulers_that_only_the_webhook_takes_over_are_named() {
        let fresh = computed(CONF);
        let mut left = fresh.clone();
        (left.executor_scheduler, left.executors_at_start) = (Some("volcano".into()), 0);
        let because = "the webhook takes over other schedulers than --takeover says here";
        assert_eq!(
            fields(&beside(&fresh, &left)),
            [("executors_at_start", because), ("executor_scheduler", because)]
        );
    }
}
