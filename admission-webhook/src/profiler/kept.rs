//! Driver pods between two looks, as text, which takes much less than trees: thousands may wait at once.

use std::sync::Arc;

use serde_json::Value;

/// What says nothing of the job, nor of who may have its driver, and takes much room.
const UNUSED: [(&str, &[&str]); 3] = [
    ("", &["status"]),
    ("/metadata", &["creationTimestamp", "generation", "managedFields"]),
    ("/spec", &["tolerations"]),
];
/// The same of a container.
const UNUSED_OF_CONTAINER: [&str; 9] = [
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "securityContext",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
];

/// A pod as it was read, without what nobody looks at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept(Arc<str>);

impl Kept {
    /// Keeps a pod.
    pub(super) fn new(mut pod: Value) -> Self {
        for (path, fields) in UNUSED {
            remove(pod.pointer_mut(path), fields);
        }
        for path in ["/spec/containers", "/spec/initContainers"] {
            for container in items(&mut pod, path) {
                remove(Some(container), &UNUSED_OF_CONTAINER);
            }
        }
        for volume in items(&mut pod, "/spec/volumes") {
            // Others than those of ConfigMaps only have to be there.
            if let Some(volume) = volume.as_object_mut() {
                volume.retain(|field, _| field == "name" || field == "configMap");
            }
        }
        Self(pod.to_string().into())
    }

    /// The pod.
    pub(super) fn pod(&self) -> Option<Value> {
        serde_json::from_str(&self.0).ok()
    }
}

fn items<'a>(pod: &'a mut Value, path: &str) -> impl Iterator<Item = &'a mut Value> {
    let items = pod.pointer_mut(path).and_then(Value::as_array_mut);
    items.into_iter().flatten()
}

fn remove(object: Option<&mut Value>, fields: &[&str]) {
    if let Some(object) = object.and_then(Value::as_object_mut) {
        object.retain(|field, _| !fields.contains(&field.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use kompass_spark::{Conf, DriverPod, profile, profile_key};
    use serde_json::json;

    use super::*;

    /// A driver as the API server answers it: with what it adds itself.
    fn driver() -> Value {
        json!({
            "metadata": {
                "name": "etl-0123456789abcdef-driver", "namespace": "jobs", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1,
                "managedFields": [{"manager": "fabric8", "fieldsV1": {"f:spec": {}}}],
                "labels": {"spark-role": "driver", "spark-version": "4.1.4", "spark-app-name": "etl", "dag_id": "d",
                    "task_id": "t", "kompass.dev/queue": "q"},
                "annotations": {"kompass.dev/start-within": "10m"},
            },
            "spec": {
                "schedulerName": "kompass", "schedulingGates": [{"name": "kompass.dev/gang"}],
                "nodeSelector": {"pool": "spark"}, "overhead": {"cpu": "10m"}, "serviceAccountName": "spark",
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
                "initContainers": [{"name": "proxy", "restartPolicy": "Always", "image": "proxy",
                    "resources": {"requests": {"cpu": "100m"}}, "imagePullPolicy": "Always"}],
                "containers": [
                    {"name": "sidecar", "resources": {"requests": {"memory": "64Mi"}}},
                    {"name": "spark-kubernetes-driver", "image": "spark:4.1.4", "terminationMessagePath": "/dev/log",
                        "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
                        "ports": [{"containerPort": 7078}], "securityContext": {"runAsUser": 185},
                        "livenessProbe": {"exec": {}}, "env": [{"name": "SPARK_CONF_DIR", "value": "/opt/spark/conf"}],
                        "args": ["driver", "--class", "x.Y", "local:///a.jar"],
                        "resources": {"requests": {"cpu": "1", "memory": "1408Mi"}},
                        "volumeMounts": [{"name": "spark-conf-volume-driver", "mountPath": "/opt/spark/conf"}]},
                ],
                "volumes": [
                    {"name": "spark-conf-volume-driver", "configMap": {"name": "conf"}},
                    {"name": "pod-template-volume", "configMap": {"name": "template"}},
                    {"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
                ],
            },
            "status": {"phase": "Pending", "qosClass": "Burstable"},
        })
    }

    #[test]
    fn what_is_kept_gives_the_same_profile() {
        let pod = driver();
        let kept = Kept::new(pod.clone()).pod().unwrap();
        let (before, after) = (
            DriverPod::from_json(&pod).unwrap(),
            DriverPod::from_json(&kept).unwrap(),
        );
        let conf = Conf::parse("spark.executor.instances=3\nspark.executor.memory=2g\n");
        for conf in [None, Some(&conf)] {
            assert_eq!(profile::build(&before, conf, None), profile::build(&after, conf, None));
        }
        assert_eq!(profile_key::keys(&before), profile_key::keys(&after));
        assert_eq!(
            (after.conf_config_map(), after.template_config_map()),
            (Some("conf"), Some("template"))
        );
    }

    #[test]
    fn who_may_have_the_pod_and_how_it_is_written_stays() {
        let pod = driver();
        let kept = Kept::new(pod.clone()).pod().unwrap();
        for path in [
            "/metadata/uid",
            "/metadata/resourceVersion",
            "/metadata/labels",
            "/metadata/annotations",
            "/spec/schedulerName",
            "/spec/schedulingGates",
            "/spec/nodeSelector",
        ] {
            assert_eq!(kept.pointer(path), pod.pointer(path), "{path}");
        }
    }

    #[test]
    fn what_nobody_looks_at_is_not_kept() {
        let text = Kept::new(driver()).0;
        for unused in [
            "managedFields",
            "status",
            "NoExecute",
            "ports",
            "projected",
            "terminationMessage",
            "probe",
        ] {
            assert!(!text.contains(unused), "{unused}: {text}");
        }
    }

    #[test]
    fn odd_pods_are_kept_as_they_are() {
        for pod in [
            json!(null),
            json!([1]),
            json!({"spec": {"containers": 1, "volumes": ["x"]}}),
        ] {
            assert_eq!(Kept::new(pod.clone()).pod(), Some(pod));
        }
    }
}
