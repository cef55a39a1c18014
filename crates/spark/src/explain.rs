//! Where each field of a job profile comes from.

use std::collections::BTreeMap;

use kompass_core::JobProfile;
use serde::{Serialize, Serializer};

use crate::allocation::Allocation;
use crate::conf::Conf;
use crate::profile_key;
use crate::role::DriverPod;
use crate::{profile, version};

/// A field of a profile, a part of one, or something else that is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named as the fields are")]
pub enum Field {
    SparkVersion,
    ProfileKey,
    Driver,
    /// Any part of the executors' requests.
    Executor,
    ExecutorCpu,
    ExecutorMemory,
    ExecutorExtended,
    ExecutorConstraints,
    ExecutorSpacing,
    ExecutorScheduler,
    ExecutorBatchDelay,
    ExecutorsAtStart,
    ExecutorsMax,
    DynamicAllocation,
    /// [`Explanation::allocation`].
    Allocation,
}

/// What became of a key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Its value counts.
    Set,
    /// It is not there: Spark's default counts.
    Unset,
    /// It is there, and this version of Spark does not follow it yet.
    NotYet,
    /// It is there and can't be read: Spark's default is assumed.
    Unreadable,
}

/// A key of the configuration that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Consulted {
    /// Its name.
    pub key: String,
    /// What became of it.
    pub used: Use,
}

/// Something that a field comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Origin {
    /// A key of the application's configuration.
    Conf(Consulted),
    /// The driver's pod.
    Pod {
        /// Which part of it.
        what: &'static str,
    },
    /// The executors' pod template.
    Template,
    /// What this release of Spark does unless told otherwise.
    Release,
    /// Nothing that belongs to the application.
    Assumed {
        /// What was assumed.
        what: &'static str,
    },
}

/// A profile, and what each of its fields comes from.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The profile.
    pub profile: JobProfile,
    /// How the driver will ask for its executors; `None` where it leaves them to an allocator.
    pub allocation: Option<Allocation>,
    /// In the order in which things were looked at.
    pub origins: BTreeMap<Field, Vec<Origin>>,
}

impl Field {
    /// Its path in the profile.
    pub fn path(self) -> &'static str {
        match self {
            Self::SparkVersion => "spark_version",
            Self::ProfileKey => "profile_key",
            Self::Driver => "driver",
            Self::Executor => "executor",
            Self::ExecutorCpu => "executor.cpu_milli",
            Self::ExecutorMemory => "executor.memory_mib",
            Self::ExecutorExtended => "executor.extended",
            Self::ExecutorConstraints => "executor_constraints",
            Self::ExecutorSpacing => "executor_spacing",
            Self::ExecutorScheduler => "executor_scheduler",
            Self::ExecutorBatchDelay => "executor_batch_delay_ms",
            Self::ExecutorsAtStart => "executors_at_start",
            Self::ExecutorsMax => "executors_max",
            Self::DynamicAllocation => "dynamic_allocation",
            Self::Allocation => "allocation",
        }
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.path())
    }
}

/// The profile of a driver as [`profile::build`] makes it, and where its fields come from. No value of the configuration
/// is in the origins.
pub fn explain(driver: &DriverPod<'_>, conf: Option<&Conf>, template: Option<&str>) -> Explanation {
    let (profile, consulted, templated) = profile::trace(driver, conf, template);
    let mut origins: BTreeMap<Field, Vec<Origin>> = BTreeMap::new();
    let mut add = |field, origin| origins.entry(field).or_default().push(origin);
    let labelled = driver.label("spark-version").is_some();
    let detected = version::detect(driver);
    let no_conf = Conf::default();
    let mut reader = conf.unwrap_or(&no_conf).reader(detected.rules);
    reader.about(Field::Allocation);
    let allocation = Allocation::of(&mut reader);
    add(Field::Allocation, Origin::Release);
    add(
        Field::SparkVersion,
        match detected.text {
            Some(_) if labelled => Origin::Pod {
                what: "label spark-version",
            },
            Some(_) => Origin::Pod {
                what: "its volumes and variables: before 3.3 no label says it",
            },
            None => Origin::Assumed {
                what: "unknown: the newest rules are used",
            },
        },
    );
    add(
        Field::ProfileKey,
        Origin::Pod {
            what: profile_key::origin(driver),
        },
    );
    add(
        Field::Driver,
        Origin::Pod {
            what: "requests of all its containers",
        },
    );
    if conf.is_none() {
        for field in [Field::Executor, Field::ExecutorsAtStart, Field::ExecutorsMax] {
            add(
                field,
                Origin::Assumed {
                    what: "the configuration is not there",
                },
            );
        }
    }
    // What is wrong with these keys shows in what became of them, and is no matter of the profile.
    let (_, about_allocation) = reader.finish();
    for (field, consulted) in consulted.into_iter().chain(about_allocation) {
        add(field, Origin::Conf(consulted));
    }
    if templated {
        for field in [
            Field::ExecutorCpu,
            Field::ExecutorMemory,
            Field::ExecutorExtended,
            Field::ExecutorConstraints,
            Field::ExecutorSpacing,
            Field::ExecutorScheduler,
        ] {
            add(field, Origin::Template);
        }
    }
    Explanation {
        profile,
        allocation,
        origins,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explained(version: &str, conf: &str) -> Explanation {
        let pod = json!({
            "metadata": {"name": "d", "labels": {"spark-role": "driver", "spark-version": version}},
            "spec": {"containers": [{"args": ["driver"], "resources": {"requests": {"cpu": "1", "memory": "1408Mi"}}}]},
        });
        explain(&DriverPod::from_json(&pod).unwrap(), Some(&Conf::parse(conf)), None)
    }

    fn of(explanation: &Explanation, field: Field, key: &str) -> Option<Use> {
        let origins = explanation.origins.get(&field)?.iter();
        let mut used = origins.filter_map(|origin| match origin {
            Origin::Conf(consulted) if consulted.key == key => Some(consulted.used),
            _ => None,
        });
        used.next()
    }

    #[test]
    fn each_field_names_the_keys_that_decided_it() {
        let conf = "spark.executor.memory=2g\nspark.executor.memoryOverheadFactor=0.2\nspark.executor.cores=x\n\
                    spark.executor.resource.gpu.amount=1\nspark.executor.resource.gpu.vendor=nvidia.com\n\
                    spark.kubernetes.executor.label.team=etl\n";
        let explanation = explained("3.5.9", conf);
        for (field, key, used) in [
            (Field::ExecutorMemory, "spark.executor.memory", Some(Use::Set)),
            (Field::ExecutorMemory, "spark.executor.memoryOverhead", Some(Use::Unset)),
            (
                Field::ExecutorMemory,
                "spark.executor.memoryOverheadFactor",
                Some(Use::Set),
            ),
            (Field::ExecutorMemory, "spark.executor.cores", None),
            (Field::ExecutorCpu, "spark.executor.cores", Some(Use::Unreadable)),
            (
                Field::ExecutorExtended,
                "spark.executor.resource.gpu.amount",
                Some(Use::Set),
            ),
            (
                Field::ExecutorSpacing,
                "spark.kubernetes.executor.label.team",
                Some(Use::Set),
            ),
            (Field::ExecutorsAtStart, "spark.executor.instances", Some(Use::Unset)),
            (
                Field::DynamicAllocation,
                "spark.dynamicAllocation.enabled",
                Some(Use::Unset),
            ),
        ] {
            assert_eq!(of(&explanation, field, key), used, "{field:?} {key}");
        }
        let old = explained("3.2.0", conf);
        let factor = of(&old, Field::ExecutorMemory, "spark.executor.memoryOverheadFactor");
        assert_eq!(factor, Some(Use::NotYet), "3.3 is the first that follows it");
    }

    #[test]
    fn no_value_of_the_configuration_is_told() {
        let conf = "spark.executor.memory=hunter2\nspark.hadoop.fs.s3a.secret.key=hunter2\n\
                    spark.kubernetes.node.selector.pool=hunter2\n";
        let explanation = explained("4.1.4", conf);
        assert!(!format!("{:?}", explanation.origins).contains("hunter2"));
    }
}
