//! `kompass explain POD`: what KOMPASS makes of a driver pod, and where it has each part from.

mod live;
mod objects;
mod show;
mod written;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use kompass_spark::explain::{self, Explanation};
use kompass_spark::{CONF_KEY, Conf, DriverPod, TEMPLATE_KEY, scheduler};
use serde_json::Value;

use self::objects::Objects;

/// Options of `kompass explain`.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).args(["name", "pod", "schema"]),
    after_help = "\
Examples:
  kompass explain spark-pi-0123456789abcdef-driver --namespace etl     a pod of the local cluster
  kompass explain spark-pi-driver --kubeconfig ~/.kube/config -o json  of another cluster
  kompass explain --pod pod.yaml --configmap conf.yaml template.yaml   from files, without any cluster
  kompass explain --schema                                             how a profile is written

Files are YAML or JSON as `kubectl get -o yaml` writes them, lists too, or bodies of requests to the API server.
Of a pod in a cluster it is also told who else has it, and where the profile that is written on it differs and why: sizes
seen in the namespace, an earlier run, the predictor's estimate.
Values of the application's configuration are never printed, but for those that are part of the profile.

Exit codes: 0 done, 1 the pod is no Spark driver, or something can't be read."
)]
pub(crate) struct Args {
    /// Name of the driver pod.
    #[arg(value_name = "POD")]
    name: Option<String>,
    /// Namespace of the pod.
    #[arg(long, short, default_value = "default", value_name = "NAME")]
    namespace: String,
    #[command(flatten)]
    cluster: live::Cluster,
    /// File with the driver pod; no cluster is asked.
    #[arg(long, value_name = "FILE")]
    pod: Option<PathBuf>,
    /// Files with the config maps of the application: its configuration and, where it has one, its executors' template.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "pod")]
    configmap: Vec<PathBuf>,
    /// Scheduler whose pods KOMPASS takes over, as it is told to the admission webhook.
    #[arg(long, value_name = "NAME")]
    takeover: Vec<String>,
    /// Print the JSON schema of a job profile, which is the annotation kompass.dev/job-profile, and nothing else.
    #[arg(long)]
    schema: bool,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs: the profile, `origins` by field, and what is written on the pod in `written`.
    Json,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        if self.schema {
            println!("{:#}", kompass_core::profile::schema());
            return Ok(ExitCode::SUCCESS);
        }
        let objects = match (&self.pod, &self.name) {
            (Some(pod), _) => Objects::read(pod, &self.configmap)?,
            (None, Some(name)) => self.cluster.objects(&self.namespace, name).await?,
            (None, None) => anyhow::bail!("failed to explain nothing: name a pod, or give --pod FILE"),
        };
        let mut explanation = of(&objects)?;
        let takes_over = |name: &str| self.takeover.iter().any(|known| known == name);
        scheduler::leave_executors(&mut explanation.profile, takes_over);
        let written = written::of(&objects.pod, &explanation.profile);
        match self.output {
            Format::Table => {
                let written = written.map(|written| show::written(&written)).unwrap_or_default();
                print!("{}{written}", show::table(&explanation));
            }
            Format::Json => println!("{:#}", show::json(&explanation, written.as_ref())?),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What KOMPASS makes of these objects.
fn of(objects: &Objects) -> anyhow::Result<Explanation> {
    let driver = driver(&objects.pod)?;
    let text = |name: Option<&str>, key: &str| name.and_then(|name| objects.text(name, key));
    let conf = text(driver.conf_config_map(), CONF_KEY).map(Conf::parse);
    if conf.is_none()
        && let (Some(wanted), false) = (driver.conf_config_map(), objects.config_maps.is_empty())
    {
        anyhow::bail!(
            "failed to find the configuration: the pod's volume names the ConfigMap {wanted}, and none of those given is it \
             ({}) or it has no {CONF_KEY}",
            objects.names().join(", ")
        );
    }
    let template = text(driver.template_config_map(), TEMPLATE_KEY);
    Ok(explain::explain(&driver, conf.as_ref(), template))
}

/// The pod as a driver.
fn driver(pod: &Value) -> anyhow::Result<DriverPod<'_>> {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("it");
    if let Some(owner) = kompass_spark::role::driver_of(pod) {
        anyhow::bail!("{name} is an executor: explain its driver, {}", owner.name);
    }
    DriverPod::from_json(pod).with_context(|| {
        format!(
            "{name} is no Spark driver: it has no label spark-role=driver, or no container that runs one. In client mode \
             there is no driver pod of Spark's making"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "kind": "Pod",
            "metadata": {"name": "d", "labels": {"spark-role": "driver", "spark-version": "3.5.9"}},
            "spec": {
                "containers": [{
                    "args": ["driver", "--class", "a.B"],
                    "resources": {"requests": {"cpu": "1", "memory": "1408Mi"}},
                    "volumeMounts": [{"name": "conf", "mountPath": "/opt/spark/conf"}],
                }],
                "volumes": [{"name": "conf", "configMap": {"name": "conf-map"}}],
            },
        })
    }

    fn config_map(name: &str) -> Value {
        let properties = "spark.executor.instances=3\nspark.executor.memory=2g\n";
        json!({"kind": "ConfigMap", "metadata": {"name": name}, "data": {CONF_KEY: properties}})
    }

    fn objects(pod: Value, config_maps: Vec<Value>) -> Objects {
        Objects { pod, config_maps }
    }

    #[test]
    fn a_driver_with_its_configuration_is_explained() {
        let explanation = of(&objects(pod(), vec![config_map("conf-map")])).unwrap();
        assert_eq!(explanation.profile.executors_at_start, 3);
        let json = show::json(&explanation, None).unwrap();
        assert_eq!(
            json["executor"],
            json!({"cpu_milli": 1000, "memory_mib": 2432, "extended": {}})
        );
        assert_eq!(json["spark_version"], "3.5.9");
        assert_eq!(
            json["origins"]["executor.memory_mib"][0],
            json!({"from": "conf", "key": "spark.kubernetes.resource.type", "used": "unset"})
        );
        assert_eq!(
            json["allocation"],
            json!({"batch": 5, "pending_max": null, "first_alone": true, "refusal_fails": false})
        );
        let table = show::table(&explanation);
        assert!(table.contains("5 at a time, the first alone"), "{table}");
        assert!(
            table.contains("executor.memory_mib") && table.contains("spark.executor.memory"),
            "{table}"
        );
    }

    #[test]
    fn the_published_schema_is_the_present_one() {
        let published = include_str!("../../docs/job-profile.schema.json");
        let published: Value = serde_json::from_str(published).unwrap();
        assert_eq!(
            published,
            kompass_core::profile::schema(),
            "`kompass explain --schema > docs/job-profile.schema.json` brings it up to date"
        );
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let said = |objects: &Objects| format!("{:#}", of(objects).unwrap_err());
        let other = said(&objects(pod(), vec![config_map("other")]));
        assert!(other.contains("conf-map") && other.contains("(other)"), "{other}");
        let mut stranger = pod();
        stranger["metadata"]["labels"] = json!({});
        assert!(said(&objects(stranger, vec![])).contains("d is no Spark driver"));
        let mut executor = pod();
        executor["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "the-driver", "uid": "u", "controller": true}]);
        assert!(said(&objects(executor, vec![])).contains("explain its driver, the-driver"));
        let alone = of(&objects(pod(), vec![])).unwrap();
        assert_eq!(alone.profile.warnings.len(), 1, "a guess, and it says so");
    }
}
