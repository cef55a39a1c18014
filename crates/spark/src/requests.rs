//! What pods request: of any pod as kube-scheduler counts it, of an executor before it exists as Spark will ask it.

use kompass_core::Resources;
use kompass_core::quantity;
use serde_json::{Value, json};

use crate::conf::{Conf, Family, Key, Reader};
use crate::explain::Field;
use crate::json;
use crate::template::{self, SparkResources};
use crate::units::{self, Unit};
use crate::version::Version;

/// `spark.executor.memory` of nobody's choice, MiB.
const DEFAULT_MEMORY_MIB: u64 = 1024;
/// Least memory overhead, MiB; adjustable from Spark 4.0 on.
const MIN_OVERHEAD_MIB: u64 = 384;
/// Memory overhead factor of JVM applications and of all others.
const JVM_OVERHEAD_FACTOR: f64 = 0.1;
const OTHER_OVERHEAD_FACTOR: f64 = 0.4;

/// What kube-scheduler counts for a pod: the sum over its containers and restartable init containers, at least each
/// plain init container together with the restartable ones before it; requests of the pod as a whole instead, where it
/// has any; plus its overhead. For a resized container the larger of what is asked and what is in force.
///
/// As the API server does, a limit stands for a missing request. Amounts that are no quantity count as zero: the API
/// server refuses such pods. Rules: `PodRequests` of `k8s.io/component-helpers/resource`.
pub fn pod_requests(pod: &Value) -> Resources {
    let infeasible = json::list(pod, "/status/conditions").iter().any(|condition| {
        json::text(condition, "/type") == Some("PodResizePending")
            && json::text(condition, "/reason") == Some("Infeasible")
    });
    let of = |container: &Value, statuses: &str| {
        let name = json::text(container, "/name").unwrap_or_default();
        let status = json::list(pod, statuses)
            .iter()
            .find(|status| json::text(status, "/name") == Some(name));
        in_force(container_requests(container), status, infeasible)
    };

    let mut total = Resources::default();
    for container in json::list(pod, "/spec/containers") {
        total.add(&of(container, "/status/containerStatuses"));
    }
    let mut restartable = Resources::default();
    let mut initial = Resources::default();
    for container in json::list(pod, "/spec/initContainers") {
        if json::text(container, "/restartPolicy") == Some("Always") {
            let requests = of(container, "/status/initContainerStatuses");
            total.add(&requests);
            restartable.add(&requests);
            initial = initial.max(&restartable);
        } else {
            let mut requests = container_requests(container);
            requests.add(&restartable);
            initial = initial.max(&requests);
        }
    }
    total = total.max(&initial);

    for (name, amount) in json::entries(pod, "/spec/resources/requests") {
        if matches!(name, "cpu" | "memory") || name.starts_with("hugepages-") {
            set(&mut total, name, amount);
        }
    }
    total.add(&amounts(json::entries(pod, "/spec/overhead")));
    total
}

/// The larger of what a container asks and what is allocated to it or was last actuated, after a resize.
fn in_force(asked: Resources, status: Option<&Value>, infeasible: bool) -> Resources {
    let Some(status) = status.filter(|status| status.get("resources").is_some_and(Value::is_object)) else {
        return asked;
    };
    let actuated = amounts(json::entries(status, "/resources/requests"));
    let allocated = amounts(json::entries(status, "/allocatedResources"));
    let there = actuated.max(&allocated);
    if infeasible { there } else { asked.max(&there) }
}

fn container_requests(container: &Value) -> Resources {
    let mut requests = amounts(json::entries(container, "/resources/limits"));
    for (name, amount) in json::entries(container, "/resources/requests") {
        set(&mut requests, name, amount);
    }
    requests
}

fn amounts<'a>(entries: impl Iterator<Item = (&'a str, &'a Value)>) -> Resources {
    let mut resources = Resources::default();
    entries.for_each(|(name, amount)| set(&mut resources, name, amount));
    resources
}

fn set(resources: &mut Resources, name: &str, amount: &Value) {
    let text = match amount {
        Value::String(text) => text.clone(),
        // Hand-written templates hold bare numbers.
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    match name {
        "cpu" => resources.cpu_milli = quantity::milli(&text).unwrap_or(0),
        "memory" => resources.memory_bytes = quantity::units(&text).unwrap_or(0),
        _ => match quantity::units(&text).unwrap_or(0) {
            0 => drop(resources.extended.remove(name)),
            units => drop(resources.extended.insert(name.to_owned(), units)),
        },
    }
}

/// One executor's requests, predicted from configuration and executor pod template, and the warnings on the way.
pub fn executor_requests(conf: &Conf, version: Version, template: Option<&Value>) -> (Resources, Vec<String>) {
    let mut reader = conf.reader(version);
    let pod = executor_pod(&mut reader, template);
    (pod_requests(&pod), reader.into_warnings())
}

/// The executor pod that Spark will make, as far as it decides about room.
pub(crate) fn executor_pod(reader: &mut Reader<'_>, template: Option<&Value>) -> Value {
    reader.about(Field::ExecutorMemory);
    let memory = json!(format!("{}Mi", memory_mib(reader)));
    reader.about(Field::ExecutorCpu);
    let cores = reader
        .integer(Key::ExecutorCores)
        .filter(|&cores| cores > 0)
        .unwrap_or(1);
    let cpu_milli = reader
        .cpu_milli(Key::ExecutorRequestCores)
        .unwrap_or_else(|| cores.saturating_mul(1000));
    let mut resources = SparkResources {
        requests: vec![
            ("cpu".into(), json!(format!("{cpu_milli}m"))),
            ("memory".into(), memory.clone()),
        ],
        limits: vec![("memory".into(), memory)],
    };
    if let Some(limit) = reader.cpu_milli(Key::ExecutorLimitCores) {
        resources.limits.push(("cpu".into(), json!(format!("{limit}m"))));
    }
    reader.about(Field::ExecutorExtended);
    resources.limits.extend(custom(reader));

    reader.about(Field::Executor);
    let template = template.filter(|_| Key::ExecutorTemplateFile.since() <= reader.version());
    let container = reader.text(Key::ExecutorTemplateContainer);
    let (pod, missing) = template::executor(template.cloned().unwrap_or_default(), container, resources);
    if missing && template.is_some() {
        reader.warn(format!(
            "{}: no container of the template has this name; its first is taken, as Spark does",
            Key::ExecutorTemplateContainer.name()
        ));
    }
    pod
}

/// Executor memory in MiB: heap + overhead + off-heap + Python, by Spark's own formula
/// (`BasicExecutorFeatureStep`, `ResourceProfile.getResourcesForClusterManager`).
fn memory_mib(reader: &mut Reader<'_>) -> u64 {
    let kind = reader.text(Key::ResourceType).unwrap_or("java");
    let (python, jvm) = (kind == "python", !matches!(kind, "python" | "r"));
    let heap = reader
        .mebibytes(Key::ExecutorMemory, Unit::Mebibyte)
        .unwrap_or(DEFAULT_MEMORY_MIB);
    let overhead = reader
        .mebibytes(Key::ExecutorMemoryOverhead, Unit::Mebibyte)
        .unwrap_or_else(|| {
            let factor = reader
                .factor(Key::ExecutorMemoryOverheadFactor)
                .or_else(|| reader.factor(Key::MemoryOverheadFactor))
                .unwrap_or(if jvm {
                    JVM_OVERHEAD_FACTOR
                } else {
                    OTHER_OVERHEAD_FACTOR
                });
            let least = reader
                .mebibytes(Key::ExecutorMinMemoryOverhead, Unit::Mebibyte)
                .unwrap_or(MIN_OVERHEAD_MIB);
            units::share(factor, heap).max(least)
        });
    let off_heap = match reader.boolean(Key::OffHeapEnabled) {
        Some(true) => reader.mebibytes(Key::OffHeapSize, Unit::Byte).unwrap_or(0),
        _ => 0,
    };
    let interpreter = if python {
        reader
            .mebibytes(Key::ExecutorPysparkMemory, Unit::Mebibyte)
            .unwrap_or(0)
    } else {
        0
    };
    [overhead, off_heap, interpreter]
        .into_iter()
        .fold(heap, u64::saturating_add)
}

/// GPUs and the like: `<vendor>/<name>` of `spark.executor.resource.<name>.{amount,vendor}`.
fn custom(reader: &mut Reader<'_>) -> Vec<(String, Value)> {
    let entries: Vec<_> = reader.family(Family::ExecutorResource).collect();
    let mut resources = Vec::new();
    for (name, amount) in entries
        .iter()
        .filter_map(|(rest, value)| Some((rest.strip_suffix(".amount")?, value)))
    {
        let vendor = entries
            .iter()
            .find(|(rest, _)| rest.strip_suffix(".vendor") == Some(name))
            .map(|(_, value)| value);
        match (units::integer(amount), vendor) {
            (Some(0), _) => {}
            (Some(amount), Some(vendor)) => {
                resources.push((format!("{vendor}/{name}"), json!(amount.to_string())));
            }
            _ => reader.warn("spark.executor.resource: one without vendor or without a whole amount is ignored".into()),
        }
    }
    resources
}

#[cfg(test)]
mod tests {
    use kompass_core::resources::MIB;
    use proptest::prelude::*;

    use super::*;

    fn container(cpu: &str, memory: &str) -> Value {
        json!({"name": format!("c{cpu}{memory}"), "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    fn sidecar(cpu: &str, memory: &str) -> Value {
        let mut container = container(cpu, memory);
        container["restartPolicy"] = json!("Always");
        container
    }

    #[test]
    fn a_pod_requests_what_kube_scheduler_counts() {
        for (what, pod, expected) in [
            (
                "sum of containers",
                json!({"spec": {"containers": [container("1", "1Gi"), container("250m", "256Mi")]}}),
                Resources::from_mib(1250, 1280),
            ),
            (
                "a large init container",
                json!({"spec": {"containers": [container("1", "1Gi")], "initContainers": [container("2", "512Mi")]}}),
                Resources::from_mib(2000, 1024),
            ),
            (
                "a sidecar counts for the whole life",
                json!({"spec": {"containers": [container("1", "1Gi")], "initContainers": [sidecar("1", "1Gi")]}}),
                Resources::from_mib(2000, 2048),
            ),
            (
                "an init container runs with the sidecars before it",
                json!({"spec": {"containers": [container("1", "1Gi")], "initContainers": [sidecar("1", "1Gi"), container("2", "2Gi"), sidecar("1", "1Gi")]}}),
                Resources::from_mib(3000, 3072),
            ),
            (
                "overhead",
                json!({"spec": {"containers": [container("1", "1Gi")], "overhead": {"cpu": "250m", "memory": "120Mi"}}}),
                Resources::from_mib(1250, 1144),
            ),
            (
                "the pod as a whole",
                json!({"spec": {"containers": [container("1", "1Gi")], "resources": {"requests": {"cpu": "4", "example.com/x": "1"}}, "overhead": {"cpu": "1"}}}),
                Resources::from_mib(5000, 1024),
            ),
            (
                "limits stand for requests",
                json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "2"}, "requests": {"cpu": "500m"}}}]}}),
                Resources::new(500, 0).with("nvidia.com/gpu", 2),
            ),
            (
                "bare numbers",
                json!({"spec": {"containers": [{"resources": {"requests": {"cpu": 1.5, "memory": 1024}}}]}}),
                Resources::new(1500, 1024),
            ),
            ("nothing", json!({"spec": {"containers": [{}]}}), Resources::default()),
            (
                "no quantity",
                json!({"spec": {"containers": [container("much", "more")]}}),
                Resources::default(),
            ),
            ("no pod", json!([]), Resources::default()),
        ] {
            assert_eq!(pod_requests(&pod), expected, "{what}");
        }
    }

    #[test]
    fn a_resized_container_counts_with_the_larger_amount() {
        let mut pod = json!({
            "spec": {"containers": [container("1", "1Gi")]},
            "status": {"containerStatuses": [{
                "name": "c11Gi", "allocatedResources": {"cpu": "2", "memory": "512Mi"},
                "resources": {"requests": {"cpu": "500m", "memory": "2Gi"}},
            }]},
        });
        assert_eq!(pod_requests(&pod), Resources::from_mib(2000, 2048));
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("8");
        assert_eq!(pod_requests(&pod), Resources::from_mib(8000, 2048));
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
        assert_eq!(pod_requests(&pod), Resources::from_mib(2000, 2048));
    }

    fn predicted(version: (u32, u32), conf: &str) -> (u64, u64) {
        let (requests, _) = executor_requests(&Conf::parse(conf), Version::new(version.0, version.1, 0), None);
        (requests.cpu_milli, requests.memory_bytes / MIB)
    }

    #[test]
    fn each_rule_holds_from_its_version_on() {
        let off_heap = "spark.memory.offHeap.enabled=true\nspark.memory.offHeap.size=2g";
        let factors = "spark.executor.memory=10g\nspark.executor.memoryOverheadFactor=0.5\nspark.kubernetes.memoryOverheadFactor=0.2";
        let least = "spark.executor.minMemoryOverhead=1g";
        let python =
            "spark.kubernetes.resource.type=python\nspark.executor.pyspark.memory=1g\nspark.executor.memory=8g";
        let java = "spark.kubernetes.resource.type=java\nspark.executor.pyspark.memory=1g";
        for (conf, version, memory) in [
            ("", (2, 4), 1408),
            ("", (4, 3), 1408),
            (off_heap, (2, 4), 1408),
            (off_heap, (3, 0), 1408),
            (off_heap, (3, 1), 3456),
            (off_heap, (4, 3), 3456),
            ("spark.memory.offHeap.size=2g", (4, 3), 1408),
            (
                "spark.memory.offHeap.enabled=true\nspark.memory.offHeap.size=2147483648",
                (3, 5),
                3456,
            ),
            (factors, (3, 2), 12288),
            (factors, (3, 3), 15360),
            (least, (3, 5), 1408),
            (least, (4, 0), 2048),
            (
                "spark.executor.memoryOverhead=100\nspark.executor.minMemoryOverhead=1g",
                (4, 0),
                1124,
            ),
            (python, (2, 4), 8192 + 3276 + 1024),
            (python, (3, 0), 8192 + 3276 + 1024),
            (python, (4, 1), 8192 + 3276 + 1024),
            (java, (4, 1), 1408),
            (
                "spark.kubernetes.resource.type=r\nspark.executor.memory=8g",
                (4, 1),
                8192 + 3276,
            ),
        ] {
            assert_eq!(
                predicted(version, conf),
                (1000, memory),
                "Spark {version:?} of {conf:?}"
            );
        }
    }

    #[test]
    fn cores_and_gpus() {
        assert_eq!(
            predicted(
                (2, 4),
                "spark.executor.cores=4\nspark.kubernetes.executor.request.cores=3500m"
            )
            .0,
            3500
        );
        assert_eq!(
            predicted(
                (4, 1),
                "spark.executor.cores=4\nspark.kubernetes.executor.limit.cores=8"
            )
            .0,
            4000
        );
        let gpu = Conf::parse("spark.executor.resource.gpu.amount=2\nspark.executor.resource.gpu.vendor=nvidia.com");
        assert_eq!(executor_requests(&gpu, Version::new(2, 4, 8), None).0.extended.len(), 0);
        let (requests, warnings) = executor_requests(&gpu, Version::new(3, 0, 0), None);
        assert_eq!((requests.units("nvidia.com/gpu"), warnings.len()), (2, 0));
        let (requests, warnings) = executor_requests(
            &Conf::parse("spark.executor.resource.gpu.amount=2"),
            Version::NEWEST,
            None,
        );
        assert_eq!((requests.extended.len(), warnings.len()), (0, 1));
    }

    #[test]
    fn values_that_spark_refuses_become_its_defaults_with_a_warning() {
        for (conf, warnings) in [
            ("spark.executor.memory=1e9\nspark.executor.cores=two", 2),
            ("spark.executor.memory=-4g\nspark.executor.memoryOverhead=x", 2),
            ("spark.executor.memory=99999999999999999999g", 1),
            (
                "spark.kubernetes.memoryOverheadFactor=NaN\nspark.kubernetes.executor.request.cores=-2",
                2,
            ),
            ("spark.executor.cores=1e9\nspark.memory.offHeap.enabled=perhaps", 2),
        ] {
            let (requests, found) = executor_requests(&Conf::parse(conf), Version::NEWEST, None);
            assert_eq!(
                (requests, found.len()),
                (Resources::from_mib(1000, 1408), warnings),
                "{conf}: {found:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn more_memory_asked_is_never_less_requested(a in 0..1_u64 << 20, b in 0..1_u64 << 20, factor in 0.0..2.0_f64) {
            let of = |mib: u64| predicted((4, 3), &format!("spark.executor.memory={mib}m\nspark.kubernetes.memoryOverheadFactor={factor}")).1;
            prop_assert!(of(a.min(b)) <= of(a.max(b)));
            prop_assert!(of(a) >= a + MIN_OVERHEAD_MIB);
        }
    }
}
