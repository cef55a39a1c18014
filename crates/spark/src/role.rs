//! Which pods are Spark's, and what a driver pod tells of its application.

use kompass_core::Role;
use kompass_core::names::{SPARK_APP_SELECTOR_LABEL, SPARK_ROLE_LABEL};
use serde_json::Value;

use crate::json;

/// Where Spark's images expect the configuration.
const CONF_DIR: &str = "/opt/spark/conf";
/// The volume of the executors' pod template, in every version from 3.0 on.
const TEMPLATE_VOLUME: &str = "pod-template-volume";
/// What the entry point of Spark's images is told to be, by role.
const DRIVER_COMMANDS: [&str; 3] = ["driver", "driver-py", "driver-r"];
const EXECUTOR_COMMANDS: [&str; 1] = ["executor"];
/// Class that stands for the script in Python and R applications.
const SCRIPT_RUNNERS: [&str; 2] = [
    "org.apache.spark.deploy.PythonRunner",
    "org.apache.spark.deploy.RRunner",
];

/// What a pod is to Spark: by its label `spark-role`, confirmed by a container that runs Spark in that role. `None`
/// for all others, among them pods that only carry the label (a Spark Connect server of an operator).
pub fn of(pod: &Value) -> Option<Role> {
    let role = match json::label(pod, SPARK_ROLE_LABEL)? {
        "driver" => Role::Driver,
        "executor" => Role::Executor,
        _ => return None,
    };
    spark_container(pod, role).map(|_| role)
}

/// By what a container shows that it runs Spark in a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// One of these among its args.
    pub commands: &'static [&'static str],
    /// Or one of these as its name.
    pub names: &'static [&'static str],
}

impl Marks {
    /// Those of a role.
    pub const fn of(role: Role) -> Self {
        match role {
            Role::Driver => Self {
                commands: &DRIVER_COMMANDS,
                names: &["spark-kubernetes-driver"],
            },
            Role::Executor => Self {
                commands: &EXECUTOR_COMMANDS,
                names: &["spark-kubernetes-executor", "executor"],
            },
        }
    }
}

/// Index in `spec.containers` of the container that runs Spark. Never assume the first: sidecars of a pod template
/// come before it.
pub fn spark_container(pod: &Value, role: Role) -> Option<usize> {
    let Marks { commands, names } = Marks::of(role);
    let containers = json::list(pod, "/spec/containers");
    let is_command = |arg: &Value| arg.as_str().is_some_and(|arg| commands.contains(&arg));
    let first_arg = |container: &Value| json::list(container, "/args").first().is_some_and(is_command);
    // A pod template's own args come before Spark's.
    let any_arg = |container: &Value| json::list(container, "/args").iter().any(is_command);
    let name = |container: &Value| json::text(container, "/name").is_some_and(|name| names.contains(&name));
    let position = |test: &dyn Fn(&Value) -> bool| containers.iter().position(test);
    position(&first_arg)
        .or_else(|| position(&any_arg))
        .or_else(|| position(&name))
}

/// A pod that controls another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its `metadata.name`.
    pub name: &'a str,
    /// Its `metadata.uid`.
    pub uid: &'a str,
}

/// The driver that owns an executor: the controller owner reference, which must be to a pod. `None` in client mode
/// without `spark.kubernetes.driver.pod.name`, and for executors of a StatefulSet or Deployment.
pub fn driver_of(executor: &Value) -> Option<Owner<'_>> {
    let owner = json::list(executor, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
    if json::text(owner, "/kind") != Some("Pod") || json::text(owner, "/apiVersion") != Some("v1") {
        return None;
    }
    Some(Owner {
        name: json::text(owner, "/name")?,
        uid: json::text(owner, "/uid")?,
    })
}

/// The id of the application that an executor belongs to, where a StatefulSet or a Deployment makes its executors and not
/// the driver itself (`spark.kubernetes.allocation.pods.allocator`).
pub fn allocated_application(executor: &Value) -> Option<&str> {
    let owner = json::list(executor, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
    let is_allocator = matches!(json::text(owner, "/kind"), Some("StatefulSet" | "ReplicaSet"))
        && json::text(owner, "/apiVersion") == Some("apps/v1");
    is_allocator.then(|| json::label(executor, SPARK_APP_SELECTOR_LABEL))?
}

/// A driver pod of cluster mode.
#[derive(Debug, Clone, Copy)]
pub struct DriverPod<'a> {
    pod: &'a Value,
    container: &'a Value,
}

impl<'a> DriverPod<'a> {
    /// The pod seen as a driver; `None` when it is none.
    pub fn from_json(pod: &'a Value) -> Option<Self> {
        if of(pod) != Some(Role::Driver) {
            return None;
        }
        let container = json::list(pod, "/spec/containers").get(spark_container(pod, Role::Driver)?)?;
        Some(Self { pod, container })
    }

    /// The whole pod.
    pub fn json(&self) -> &'a Value {
        self.pod
    }

    /// The container that runs Spark.
    pub fn container(&self) -> &'a Value {
        self.container
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&'a str> {
        json::label(self.pod, name)
    }

    /// Whether the Spark container has an environment variable.
    pub fn has_env(&self, name: &str) -> bool {
        json::list(self.container, "/env")
            .iter()
            .any(|entry| json::text(entry, "/name") == Some(name))
    }

    /// Whether the pod has a volume of this name.
    pub fn has_volume(&self, name: &str) -> bool {
        self.volume(name).is_some()
    }

    /// The name of the ConfigMap with the application's configuration, which appears after the pod: that of the
    /// volume mounted at Spark's configuration directory. Its name follows no rule that holds for all versions.
    pub fn conf_config_map(&self) -> Option<&'a str> {
        let directory = json::env(self.container, "SPARK_CONF_DIR")
            .unwrap_or(CONF_DIR)
            .trim_end_matches('/');
        let mounted = json::list(self.container, "/volumeMounts")
            .iter()
            .filter(|mount| json::text(mount, "/mountPath").map(|path| path.trim_end_matches('/')) == Some(directory))
            .filter_map(|mount| json::text(mount, "/name"));
        mounted
            .chain(["spark-conf-volume-driver", "spark-conf-volume"])
            .find_map(|name| self.config_map_of(name))
    }

    /// The name of the ConfigMap with the executors' pod template, where the application has one.
    pub fn template_config_map(&self) -> Option<&'a str> {
        self.config_map_of(TEMPLATE_VOLUME)
    }

    /// The main class as it was submitted; `None` for Python and R, whose class is always the same runner.
    pub fn main_class(&self) -> Option<&'a str> {
        let args: Vec<&str> = self.args().collect();
        let at = args.iter().position(|&arg| arg == "--class")?;
        args.get(at + 1)
            .copied()
            .filter(|class| !SCRIPT_RUNNERS.contains(class))
    }

    /// The jar or script that was submitted. `None` for a jar with Spark 2.4, which names it in the configuration only.
    pub fn primary_resource(&self) -> Option<&'a str> {
        let script = || json::env(self.container, "PYSPARK_PRIMARY").or_else(|| json::env(self.container, "R_PRIMARY"));
        self.positional()
            .filter(|&resource| resource != "spark-internal")
            .or_else(script)
    }

    /// The application's name as far as the pod tells it: in lower case, cut to 63 characters.
    pub fn app_name(&self) -> Option<&'a str> {
        self.label("spark-app-name").or_else(|| {
            let name = json::text(self.pod, "/metadata/name")?;
            let name = name.strip_suffix("-driver").unwrap_or(name);
            match name.rsplit_once('-') {
                Some((head, stamp)) if is_stamp(stamp) => Some(head),
                _ => Some(name),
            }
        })
    }

    /// The arguments after the command `driver`.
    fn args(&self) -> impl Iterator<Item = &'a str> {
        let args = json::list(self.container, "/args")
            .iter()
            .map(|arg| arg.as_str().unwrap_or_default());
        args.skip_while(|arg| !DRIVER_COMMANDS.contains(arg)).skip(1)
    }

    /// The first argument that is neither an option nor an option's value: every option before it takes one.
    fn positional(&self) -> Option<&'a str> {
        let mut args = self.args();
        while let Some(arg) = args.next() {
            if !arg.starts_with("--") {
                return Some(arg);
            }
            if !arg.contains('=') {
                args.next();
            }
        }
        None
    }

    fn volume(&self, name: &str) -> Option<&'a Value> {
        json::list(self.pod, "/spec/volumes")
            .iter()
            .find(|volume| json::text(volume, "/name") == Some(name))
    }

    fn config_map_of(&self, volume: &str) -> Option<&'a str> {
        json::text(self.volume(volume)?, "/configMap/name").filter(|name| !name.is_empty())
    }
}

/// What Spark puts between an application's name and `-driver`: milliseconds since 1970 (2.4) or 16 hex digits.
pub(crate) fn is_stamp(text: &str) -> bool {
    (text.len() == 13 && text.bytes().all(|b| b.is_ascii_digit()))
        || (text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn driver(args: &[&str]) -> Value {
        json!({
            "metadata": {"name": "etl-0123456789abcdef-driver", "labels": {"spark-role": "driver"}},
            "spec": {
                "containers": [{"name": "sidecar", "args": ["run"]}, {"name": "mine", "args": args}],
                "volumes": [{"name": "conf", "configMap": {"name": "conf-map"}}, {"name": "spark-conf-volume-driver"}],
            },
        })
    }

    #[test]
    fn a_label_alone_makes_no_spark_pod() {
        assert_eq!(of(&driver(&["driver"])), Some(Role::Driver));
        assert_eq!(
            of(&driver(&["template-arg", "driver", "--class", "x.Y"])),
            Some(Role::Driver)
        );
        assert_eq!(of(&driver(&["executor"])), None);
        assert_eq!(
            of(&json!({"metadata": {"labels": {"spark-role": "connect-server"}}})),
            None
        );
        let named = json!({
            "metadata": {"labels": {"spark-role": "executor"}},
            "spec": {"containers": [{"name": "spark-kubernetes-executor"}]},
        });
        assert_eq!(of(&named), Some(Role::Executor));
        for odd in [
            json!(null),
            json!([1]),
            json!({"metadata": {"labels": {"spark-role": 7}}}),
            json!({"spec": 1}),
        ] {
            assert_eq!(of(&odd), None, "{odd}");
        }
    }

    #[test]
    fn arguments_tell_class_and_resource() {
        for (args, class, resource) in [
            (
                &[
                    "driver",
                    "--properties-file",
                    "f",
                    "--class",
                    "x.Y",
                    "local:///a.jar",
                    "--class",
                    "z",
                ][..],
                Some("x.Y"),
                Some("local:///a.jar"),
            ),
            (
                &["driver", "--proxy-user", "bob", "--class", "x.Y", "spark-internal"],
                Some("x.Y"),
                None,
            ),
            (
                &[
                    "driver",
                    "--class",
                    "org.apache.spark.deploy.PythonRunner",
                    "local:///a.py",
                ],
                None,
                Some("local:///a.py"),
            ),
            (&["driver"], None, None),
            (&["driver", "--class"], None, None),
        ] {
            let pod = driver(args);
            let pod = DriverPod::from_json(&pod).unwrap();
            assert_eq!(
                (pod.main_class(), pod.primary_resource()),
                (class, resource),
                "{args:?}"
            );
        }
    }

    #[test]
    fn the_conf_is_found_by_its_mount_even_at_another_directory() {
        let mut pod = driver(&["driver"]);
        pod["spec"]["containers"][1]["volumeMounts"] = json!([{"name": "conf", "mountPath": "/etc/spark/"}]);
        assert_eq!(DriverPod::from_json(&pod).unwrap().conf_config_map(), None);
        pod["spec"]["containers"][1]["env"] = json!([{"name": "SPARK_CONF_DIR", "value": "/etc/spark"}]);
        assert_eq!(DriverPod::from_json(&pod).unwrap().conf_config_map(), Some("conf-map"));
    }

    #[test]
    fn names_lose_the_stamp_that_spark_adds() {
        let mut pod = driver(&["driver"]);
        for (name, expected) in [
            ("etl-0123456789abcdef-driver", "etl"),
            ("etl-1795419633663-driver", "etl"),
            ("daily-agg-driver", "daily-agg"),
            ("mine", "mine"),
        ] {
            pod["metadata"]["name"] = json!(name);
            assert_eq!(DriverPod::from_json(&pod).unwrap().app_name(), Some(expected));
        }
        pod["metadata"]["labels"]["spark-app-name"] = json!("labelled");
        assert_eq!(DriverPod::from_json(&pod).unwrap().app_name(), Some("labelled"));
    }

    #[test]
    fn only_a_controlling_pod_is_a_driver() {
        let executor =
            |owner: Value| json!({"metadata": {"ownerReferences": [{"kind": "X", "name": "x", "uid": "0"}, owner]}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "controller": true, "name": "d", "uid": "1"});
        assert_eq!(driver_of(&executor(pod.clone())), Some(Owner { name: "d", uid: "1" }));
        for (field, value) in [
            ("controller", json!(false)),
            ("kind", json!("StatefulSet")),
            ("apiVersion", json!("x/v1")),
            ("uid", json!(1)),
        ] {
            let mut owner = pod.clone();
            owner[field] = value;
            assert_eq!(driver_of(&executor(owner)), None, "{field}");
        }
    }
}
