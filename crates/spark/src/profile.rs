//! The job profile of a driver: what the whole application will ask of the cluster.

use std::collections::BTreeMap;

use kompass_core::profile::{JobProfile, MAX_EXECUTORS, Shape, Source, VERSION};
use serde_json::Value;

use crate::conf::{Conf, Family, Key, Reader};
use crate::explain::{Consulted, Field};
use crate::profile_key;
use crate::releases::Release;
use crate::role::DriverPod;
use crate::{json, patience, placement, requests, scheduler, spacing, template, version};

/// Executors of an application that says nothing about them.
const DEFAULT_EXECUTORS: u64 = 2;

/// The profile of a driver from its configuration and, where it has one, its executors' pod template (YAML).
///
/// Without a configuration the profile is a guess: the driver alone, executors unknown.
pub fn build(driver: &DriverPod<'_>, conf: Option<&Conf>, template: Option<&str>) -> JobProfile {
    trace(driver, conf, template).0
}

/// The same, with the keys of the configuration that were looked at for each field, and whether the template counts.
pub(crate) fn trace(
    driver: &DriverPod<'_>,
    conf: Option<&Conf>,
    template: Option<&str>,
) -> (JobProfile, Vec<(Field, Consulted)>, bool) {
    let version::Detected {
        rules,
        text: spark_version,
        warning,
    } = version::detect(driver);
    let keys = profile_key::keys(driver);
    let mut profile = JobProfile {
        version: VERSION,
        spark_version,
        driver: Shape::from(&requests::pod_requests(driver.json())),
        executor: Shape::default(),
        executors_at_start: 0,
        executors_max: None,
        dynamic_allocation: false,
        executor_constraints: kompass_core::Constraints::default(),
        executor_spacing: kompass_core::Spacing::default(),
        executor_labels: BTreeMap::new(),
        executor_pod_rules: kompass_core::PodRules::default(),
        executor_priority_class: None,
        profile_key: keys.own,
        executor_batch_delay_ms: None,
        executor_scheduler: None,
        start_within_ms: patience::start_within_ms(driver),
        wider_keys: keys.wider,
        executor_additions: Shape::default(),
        runtime: None,
        source: Source::Guess,
        warnings: warning.into_iter().collect(),
    };
    let Some(conf) = conf else {
        let (executor, _) = requests::executor_requests(&Conf::default(), rules, None);
        profile.executor = Shape::from(&executor);
        profile
            .warnings
            .push("the configuration is not there: the number and size of executors are unknown".to_owned());
        return (profile, Vec::new(), false);
    };

    let mut reader = conf.reader(rules);
    let template = template_of(driver, template, &mut reader);
    let mut pod = requests::executor_pod(&mut reader, template.as_ref());
    let executors = Executors::of(&mut reader);
    profile.executor = Shape::from(&requests::pod_requests(&pod));
    profile.executors_at_start = executors.at_start;
    profile.executors_max = executors.max;
    profile.dynamic_allocation = executors.dynamic;
    profile.executor_constraints = placement::constraints(&pod);
    reader.about(Field::ExecutorConstraints);
    // Spark adds its selectors to the template's, the executors' own last.
    for family in [Family::NodeSelector, Family::ExecutorNodeSelector] {
        let selector = reader
            .family(family)
            .map(|(label, value)| (label.to_owned(), value.to_owned()));
        profile.executor_constraints.node_selector.extend(selector);
    }
    // What selectors of the executors' own rules are held against.
    reader.about(Field::ExecutorSpacing);
    for (label, value) in reader.family(Family::ExecutorLabel) {
        set_label(&mut pod, label, value);
    }
    profile.executor_labels = labels(&pod);
    let about_pods = spacing::rules(&pod, Some(driver.json()));
    (profile.executor_spacing, profile.executor_pod_rules) = (about_pods.spacing, about_pods.others);
    for text in about_pods.warnings {
        reader.warn(text);
    }
    profile.executor_priority_class = json::text(&pod, "/spec/priorityClassName").map(str::to_owned);
    profile.executor_scheduler = scheduler::of_executors(&mut reader, &pod);
    reader.about(Field::ExecutorBatchDelay);
    profile.executor_batch_delay_ms = reader.milliseconds(Key::AllocationBatchDelay);
    profile.source = Source::Conf;
    reader.about(Field::ExecutorsAtStart);
    if reader
        .text(Key::PodsAllocator)
        .is_some_and(|allocator| !Release::of(rules).allocators.contains(&allocator))
    {
        reader.warn(format!(
            "{}: executors of an allocator of one's own may not be recognised",
            Key::PodsAllocator.name()
        ));
    }
    let (warnings, consulted) = reader.finish();
    profile.warnings.extend(warnings);
    (profile, consulted, template.is_some())
}

/// The labels of a pod.
fn labels(pod: &Value) -> BTreeMap<String, String> {
    let all = json::entries(pod, "/metadata/labels");
    all.filter_map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned())))
        .collect()
}

/// A label of a pod, unless what should hold labels is something else.
fn set_label(pod: &mut Value, label: &str, value: &str) {
    let mut at = Some(pod);
    for key in ["metadata", "labels"] {
        at = at.and_then(Value::as_object_mut).map(|object| {
            object
                .entry(key)
                .or_insert_with(|| Value::Object(serde_json::Map::new()))
        });
    }
    if let Some(labels) = at.and_then(Value::as_object_mut) {
        labels.insert(label.to_owned(), value.into());
    }
}

/// The template that this version of Spark uses.
fn template_of(driver: &DriverPod<'_>, text: Option<&str>, reader: &mut Reader<'_>) -> Option<Value> {
    if reader.version() < Key::ExecutorTemplateFile.since() {
        return None;
    }
    match text.map(template::parse) {
        Some(Ok(template)) => Some(template),
        Some(Err(error)) => {
            reader.warn(format!("{error}; executors are taken to have none"));
            None
        }
        None => {
            if driver.template_config_map().is_some() {
                reader.warn("the executor pod template is not there: executors are taken to have none".to_owned());
            }
            None
        }
    }
}

/// How many executors an application asks for.
#[derive(Debug, PartialEq, Eq)]
struct Executors {
    at_start: u64,
    max: Option<u64>,
    dynamic: bool,
}

impl Executors {
    /// As Spark's `SchedulerBackendUtils.getInitialTargetExecutorNumber` counts.
    fn of(reader: &mut Reader<'_>) -> Self {
        reader.about(Field::ExecutorsAtStart);
        // Since 3.4 a driver may be told to be all there is.
        if reader
            .text(Key::DriverMaster)
            .is_some_and(|master| master.starts_with("local"))
        {
            return Self {
                at_start: 0,
                max: Some(0),
                dynamic: false,
            };
        }
        let instances = reader.integer(Key::ExecutorInstances);
        reader.about(Field::DynamicAllocation);
        let dynamic = reader.boolean(Key::DynamicAllocation).unwrap_or(false);
        reader.about(Field::ExecutorsAtStart);
        let (mut at_start, mut max) = if dynamic {
            let min = reader.integer(Key::MinExecutors).unwrap_or(0);
            let initial = reader.integer(Key::InitialExecutors).unwrap_or(min);
            let at_start = min.max(initial).max(instances.unwrap_or(0));
            reader.about(Field::ExecutorsMax);
            // 2^31 - 1 is Spark's way to write no limit.
            let max = reader
                .integer(Key::MaxExecutors)
                .filter(|&max| max > 0 && max < i32::MAX as u64);
            (at_start, max)
        } else {
            let count = instances.unwrap_or(DEFAULT_EXECUTORS);
            (count, Some(count))
        };
        reader.about(Field::ExecutorsMax);
        if let Some(all) = reader
            .integer(Key::AllocationMaximum)
            .filter(|&all| all > 0 && all < i32::MAX as u64)
        {
            max = Some(max.map_or(all, |max| max.min(all)));
        }
        if max.is_some_and(|max| at_start > max) {
            reader.warn("more executors at start than at most: the lower number is taken".to_owned());
            at_start = max.unwrap_or(at_start);
        }
        if at_start > MAX_EXECUTORS {
            reader.warn(format!(
                "more than {MAX_EXECUTORS} executors at start: taken for {MAX_EXECUTORS}"
            ));
            at_start = MAX_EXECUTORS;
        }
        Self {
            at_start,
            max: max.map(|max| max.max(at_start)),
            dynamic,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::version::Version;

    fn executors(version: Version, conf: &str) -> (u64, Option<u64>, bool, usize) {
        let conf = Conf::parse(conf);
        let mut reader = conf.reader(version);
        let executors = Executors::of(&mut reader);
        (
            executors.at_start,
            executors.max,
            executors.dynamic,
            reader.into_warnings().len(),
        )
    }

    #[test]
    fn executors_are_counted_as_spark_counts_them() {
        let dynamic = "spark.dynamicAllocation.enabled=true\n";
        for (conf, expected) in [
            (String::new(), (2, Some(2), false, 0)),
            ("spark.executor.instances=7".into(), (7, Some(7), false, 0)),
            ("spark.executor.instances=0".into(), (0, Some(0), false, 0)),
            ("spark.dynamicAllocation.minExecutors=5".into(), (2, Some(2), false, 0)),
            (dynamic.into(), (0, None, true, 0)),
            (
                format!(
                    "{dynamic}spark.executor.instances=5\nspark.dynamicAllocation.initialExecutors=2\nspark.dynamicAllocation.minExecutors=1"
                ),
                (5, None, true, 0),
            ),
            (
                format!("{dynamic}spark.dynamicAllocation.minExecutors=3"),
                (3, None, true, 0),
            ),
            (
                format!("{dynamic}spark.dynamicAllocation.minExecutors=3\nspark.dynamicAllocation.initialExecutors=1"),
                (3, None, true, 0),
            ),
            (
                format!("{dynamic}spark.dynamicAllocation.maxExecutors=20"),
                (0, Some(20), true, 0),
            ),
            (
                format!("{dynamic}spark.dynamicAllocation.maxExecutors=2147483647"),
                (0, None, true, 0),
            ),
            (
                format!("{dynamic}spark.dynamicAllocation.maxExecutors=2\nspark.executor.instances=5"),
                (2, Some(2), true, 1),
            ),
            (
                "spark.executor.instances=1000000000".into(),
                (MAX_EXECUTORS, Some(1_000_000_000), false, 1),
            ),
            ("spark.executor.instances=1e9".into(), (2, Some(2), false, 1)),
            ("spark.executor.instances=-3".into(), (2, Some(2), false, 1)),
            ("spark.dynamicAllocation.enabled=maybe".into(), (2, Some(2), false, 1)),
            ("spark.kubernetes.driver.master=local[*]".into(), (0, Some(0), false, 0)),
            (
                "spark.kubernetes.driver.master=https://kubernetes.default.svc".into(),
                (2, Some(2), false, 0),
            ),
            ("spark.kubernetes.allocation.maximum=1".into(), (1, Some(1), false, 1)),
        ] {
            assert_eq!(executors(Version::NEWEST, &conf), expected, "{conf}");
        }
        assert_eq!(
            executors(Version::new(3, 3, 4), "spark.kubernetes.driver.master=local[*]").0,
            2
        );
        assert_eq!(
            executors(Version::new(3, 5, 9), "spark.kubernetes.allocation.maximum=1").0,
            2
        );
    }

    fn pod(labels: &Value) -> Value {
        json!({
            "metadata": {"name": "d", "namespace": "ns", "labels": labels},
            "spec": {"containers": [{"args": ["driver"], "resources": {"requests": {"cpu": "1", "memory": "1408Mi"}}}]},
        })
    }

    #[test]
    fn without_a_configuration_the_profile_is_the_driver_alone() {
        let pod = pod(&json!({"spark-role": "driver", "spark-version": "4.1.4"}));
        let profile = build(&DriverPod::from_json(&pod).unwrap(), None, None);
        assert_eq!(
            (profile.source, profile.executors_at_start, profile.executors_max),
            (Source::Guess, 0, None)
        );
        assert_eq!((profile.driver.memory_mib, profile.executor.memory_mib), (1408, 1408));
        assert_eq!(profile.warnings.len(), 1);
    }

    #[test]
    fn an_allocator_that_the_release_does_not_have_is_a_warning() {
        for (version, allocator, warnings) in [
            ("3.5.9", "direct", 0),
            ("3.5.9", "statefulset", 0),
            ("3.5.9", "deployment", 1),
            ("4.2.1", "deployment", 0),
            ("4.2.1", "com.example.Allocator", 1),
            // The key is of 3.3.
            ("3.2.4", "com.example.Allocator", 0),
        ] {
            let pod = pod(&json!({"spark-role": "driver", "spark-version": version}));
            let conf = Conf::parse(&format!("spark.kubernetes.allocation.pods.allocator={allocator}"));
            let profile = build(&DriverPod::from_json(&pod).unwrap(), Some(&conf), None);
            assert_eq!(profile.warnings.len(), warnings, "{version} {allocator}");
        }
    }

    #[test]
    fn selectors_of_the_configuration_stand_over_the_templates() {
        let pod = pod(&json!({"spark-role": "driver", "spark-version": "3.3.0"}));
        let conf = Conf::parse(
            "spark.kubernetes.node.selector.a=all\nspark.kubernetes.node.selector.b=all\n\
             spark.kubernetes.executor.node.selector.b=executor\n",
        );
        let template = "spec: {nodeSelector: {a: template, c: template}, priorityClassName: low, overhead: {cpu: 1}}";
        let profile = build(&DriverPod::from_json(&pod).unwrap(), Some(&conf), Some(template));
        let expected = [("a", "all"), ("b", "executor"), ("c", "template")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(profile.executor_constraints.node_selector, expected.into());
        assert_eq!(profile.executor_priority_class.as_deref(), Some("low"));
        assert_eq!(profile.executor.cpu_milli, 2000);
        assert!(profile.warnings.is_empty(), "{:?}", profile.warnings);
    }

    #[test]
    fn rules_of_executors_about_each_other_are_the_templates() {
        let pod = pod(&json!({"spark-role": "driver", "spark-version": "4.1.4"}));
        let template = "{spec: {containers: [{ports: [{containerPort: 1, hostPort: 4040}]}],
            affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [
                {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {spark-role: executor}}},
                {topologyKey: rack, labelSelector: {matchLabels: {spark-role: executor}}}]}}}}";
        let profile = build(
            &DriverPod::from_json(&pod).unwrap(),
            Some(&Conf::default()),
            Some(template),
        );
        let expected = kompass_core::Spacing {
            host_ports: vec![4040],
            per_node_max: Some(1),
            ..kompass_core::Spacing::default()
        };
        assert_eq!((profile.executor_spacing, profile.warnings.len()), (expected, 1));
    }

    #[test]
    fn executors_rules_may_speak_of_labels_that_the_configuration_gives() {
        let pod = pod(&json!({"spark-role": "driver", "spark-version": "4.1.4"}));
        let driver = DriverPod::from_json(&pod).unwrap();
        let per_node = |metadata: &str, conf: &str| {
            let template = format!(
                "{{metadata: {metadata}, spec: {{affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [
                {{topologyKey: kubernetes.io/hostname, labelSelector: {{matchLabels: {{team: etl}}}}}}]}}}}}}}}"
            );
            let profile = build(&driver, Some(&Conf::parse(conf)), Some(&template));
            assert!(
                !format!("{:?}", profile.warnings).contains("etl"),
                "values are never shown"
            );
            profile.executor_spacing.per_node_max
        };
        let etl = "spark.kubernetes.executor.label.team=etl";
        assert_eq!(per_node("{}", ""), None);
        assert_eq!(per_node("{}", etl), Some(1));
        assert_eq!(
            per_node("{labels: {team: web}}", etl),
            Some(1),
            "the configuration stands over the template"
        );
        assert_eq!(
            per_node("{labels: {team: etl}}", "spark.kubernetes.executor.label.team=web"),
            None
        );
        for broken in ["7", "[]", "{labels: 7}", "{labels: [a]}", "null"] {
            let _ = per_node(broken, etl);
        }
    }

    #[test]
    fn a_template_that_is_broken_or_missing_is_a_warning() {
        let mut pod = pod(&json!({"spark-role": "driver", "spark-version": "4.0.0"}));
        pod["spec"]["volumes"] = json!([{"name": "pod-template-volume", "configMap": {"name": "t"}}]);
        let driver = DriverPod::from_json(&pod).unwrap();
        let conf = Conf::default();
        assert_eq!(build(&driver, Some(&conf), Some("a: [")).warnings.len(), 1);
        assert_eq!(build(&driver, Some(&conf), None).warnings.len(), 1);
        assert_eq!(build(&driver, Some(&conf), Some("spec: {}")).warnings.len(), 0);
    }

    proptest! {
        #[test]
        fn every_configuration_makes_a_profile_that_can_be_read_again(
            numbers in proptest::collection::vec(any::<i64>(), 5),
            garbage in "[^\\\\\r\n]{0,20}",
            template in "[a-z:{}\\[\\], \n]{0,40}",
        ) {
            let conf = Conf::parse(&format!(
                "spark.executor.instances={}\nspark.executor.memory={}g\nspark.executor.cores={}\n\
                 spark.dynamicAllocation.enabled=true\nspark.dynamicAllocation.maxExecutors={}\n\
                 spark.executor.memoryOverhead={}\nspark.kubernetes.resource.type={garbage}\n\
                 spark.kubernetes.node.selector.{garbage}={garbage}\n",
                numbers[0], numbers[1], numbers[2], numbers[3], numbers[4],
            ));
            let pod = pod(&json!({"spark-role": "driver", "spark-version": garbage}));
            let profile = build(&DriverPod::from_json(&pod).unwrap(), Some(&conf), Some(&template));
            prop_assert!(profile.executors_at_start <= MAX_EXECUTORS);
            prop_assert!(profile.executors_max.is_none_or(|max| max >= profile.executors_at_start));
            prop_assert_eq!(JobProfile::from_annotation(&profile.to_annotation()).unwrap(), profile);
        }
    }
}
