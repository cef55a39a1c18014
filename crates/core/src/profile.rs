//! What a job needs, as the profiler read it: the annotation `kompass.dev/job-profile`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::constraints::Constraints;
use crate::peers::PodRules;
use crate::resources::{MIB, Resources};
use crate::spacing::Spacing;

/// The profile's schema version that this code writes and reads.
pub const VERSION: u32 = 1;
/// More executors than this in one gang are taken for a mistake and cut to it (the plan must fit in an annotation).
pub const MAX_EXECUTORS: u64 = 20_000;

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON of a profile.
    #[error("failed to read the job profile annotation: delete the annotation and the profiler writes it anew")]
    Malformed(#[source] serde_json::Error),
    /// Of another schema version.
    #[error("failed to read the job profile annotation: schema version {0} is not {VERSION}")]
    Version(u32),
}

/// What a job needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobProfile {
    /// Schema version, [`VERSION`].
    pub version: u32,
    /// Spark version, `major.minor.patch` or as much as is known; `None` when it isn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spark_version: Option<String>,
    /// The driver's requests, from the pod itself.
    pub driver: Shape,
    /// One executor's requests, by Spark's formulas, with `executor_additions`.
    pub executor: Shape,
    /// How much of `executor` the configuration does not ask for: executors of earlier runs asked for it all the same,
    /// since others changed them after KOMPASS (injected sidecars).
    #[serde(default, skip_serializing_if = "is_default")]
    pub executor_additions: Shape,
    /// Executors that Spark asks for at its start: the gang's hard minimum.
    pub executors_at_start: u64,
    /// Executors at most; `None` without a limit (dynamic allocation).
    pub executors_max: Option<u64>,
    /// `spark.dynamicAllocation.enabled`.
    pub dynamic_allocation: bool,
    /// Hard rules about the executors' nodes, from selectors and the executor's pod template.
    #[serde(default, skip_serializing_if = "is_default")]
    pub executor_constraints: Constraints,
    /// Hard rules of the executors about each other, from the executor's pod template.
    #[serde(default, skip_serializing_if = "is_default")]
    pub executor_spacing: Spacing,
    /// Labels that configuration and pod template give the executors, besides Spark's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub executor_labels: BTreeMap<String, String>,
    /// Hard rules of the executors about pods of others, from the executor's pod template.
    #[serde(default, skip_serializing_if = "is_default")]
    pub executor_pod_rules: PodRules,
    /// `spec.priorityClassName` of executors where the template names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor_priority_class: Option<String>,
    /// Pause between two batches of executors where the configuration sets it (`spark.kubernetes.allocation.batch.delay`),
    /// milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor_batch_delay_ms: Option<u64>,
    /// The scheduler that the executors name where it is not the ordinary one: KOMPASS has no say about them, and reserves
    /// nothing for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor_scheduler: Option<String>,
    /// How long after its creation the driver has to run, milliseconds: whoever has submitted it gives it up then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within_ms: Option<u64>,
    /// Identity of "the same job"; the value of the label `kompass.dev/profile-key`.
    pub profile_key: String,
    /// Keys that the job shares with its kin, closest kin first; at most three. They stand in for a job that has never
    /// run before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wider_keys: Vec<String>,
    /// Predicted run time; `None` while unknown.
    #[serde(default)]
    pub runtime: Option<RuntimeEstimate>,
    /// Where the profile comes from.
    pub source: Source,
    /// What the profiler had to assume or ignore, one sentence each, without any value of the user's configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The requests of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shape {
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// MiB of memory, rounded up.
    pub memory_mib: u64,
    /// Units of every other resource by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extended: BTreeMap<String, u64>,
}

/// Predicted run time of a job from its driver's start to its end, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuntimeEstimate {
    /// Median.
    pub p50_s: u64,
    /// 90th percentile.
    pub p90_s: u64,
    /// Runs that it is learned from.
    pub samples: u64,
}

/// Where a profile comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Source {
    /// The application's configuration.
    Conf,
    /// The last run with the same key; the configuration did not come in time.
    History,
    /// The driver pod alone; neither configuration nor history.
    Guess,
}

impl JobProfile {
    /// Reads the annotation.
    pub fn from_annotation(text: &str) -> Result<Self, Error> {
        let mut profile: Self = serde_json::from_str(text).map_err(Error::Malformed)?;
        if profile.version != VERSION {
            return Err(Error::Version(profile.version));
        }
        profile.executors_at_start = profile.executors_at_start.min(MAX_EXECUTORS);
        Ok(profile)
    }

    /// Writes the annotation.
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("a profile has string keys only, so it is always JSON")
    }
}

impl Shape {
    /// As amounts of node resources.
    pub fn resources(&self) -> Resources {
        let mut resources = Resources::from_mib(self.cpu_milli, self.memory_mib);
        resources.extended.clone_from(&self.extended);
        resources
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        let mut sum = self.resources();
        sum.add(&other.resources());
        *self = Self::from(&sum);
    }

    /// Takes `other` away; what would go below zero stays at zero.
    pub fn subtract(&mut self, other: &Self) {
        let mut rest = self.resources();
        rest.subtract(&other.resources());
        *self = Self::from(&rest);
    }

    /// The smaller of each amount.
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        let extended = self.extended.iter();
        let extended =
            extended.filter_map(|(name, &units)| Some((name.clone(), units.min(*other.extended.get(name)?))));
        Self {
            cpu_milli: self.cpu_milli.min(other.cpu_milli),
            memory_mib: self.memory_mib.min(other.memory_mib),
            extended: extended.collect(),
        }
    }
}

impl From<&Resources> for Shape {
    fn from(resources: &Resources) -> Self {
        Self {
            cpu_milli: resources.cpu_milli,
            memory_mib: resources.memory_bytes.div_ceil(MIB),
            extended: resources.extended.clone(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The JSON schema of the annotation.
#[cfg(feature = "schema")]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(JobProfile).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{PodSelector, PodTerm};
    use crate::spacing::DriverSpacing;

    #[test]
    fn a_profile_survives_its_annotation() {
        let profile = JobProfile {
            version: VERSION,
            spark_version: Some("4.1.4".into()),
            driver: Shape {
                cpu_milli: 1000,
                memory_mib: 1408,
                extended: BTreeMap::new(),
            },
            executor: Shape {
                cpu_milli: 2000,
                memory_mib: 896,
                extended: [("nvidia.com/gpu".into(), 1)].into(),
            },
            executor_additions: Shape {
                cpu_milli: 100,
                ..Shape::default()
            },
            executors_at_start: 3,
            executors_max: None,
            dynamic_allocation: true,
            executor_constraints: Constraints {
                node_selector: [("pool".into(), "spark".into())].into(),
                ..Constraints::default()
            },
            executor_spacing: Spacing {
                host_ports: vec![4040],
                zone_skew: Some(1),
                driver: DriverSpacing {
                    other_node: true,
                    ..DriverSpacing::default()
                },
                ..Spacing::default()
            },
            executor_labels: [("team".into(), "etl".into())].into(),
            executor_pod_rules: PodRules {
                apart: vec![PodTerm {
                    topology: "kubernetes.io/hostname".into(),
                    pods: PodSelector {
                        namespaces: Some(vec!["jobs".into()]),
                        labels: vec![],
                    },
                }],
                together: vec![],
            },
            executor_priority_class: None,
            profile_key: "pi-1a2b".into(),
            executor_batch_delay_ms: Some(500),
            executor_scheduler: Some("other".into()),
            start_within_ms: Some(300_000),
            wider_keys: vec!["name.pi-3c4d".into()],
            runtime: Some(RuntimeEstimate {
                p50_s: 60,
                p90_s: 90,
                samples: 4,
            }),
            source: Source::Conf,
            warnings: vec!["unknown Spark version".into()],
        };
        assert_eq!(JobProfile::from_annotation(&profile.to_annotation()).unwrap(), profile);
    }

    #[test]
    fn refuses_other_versions_and_bounds_the_gang() {
        let text = |version: u32, executors: u64| {
            format!(
                r#"{{"version":{version},"driver":{{"cpu_milli":1,"memory_mib":1}},"executor":{{"cpu_milli":1,
                "memory_mib":1}},"executors_at_start":{executors},"executors_max":null,"dynamic_allocation":false,
                "profile_key":"k","source":"conf"}}"#
            )
        };
        assert!(matches!(
            JobProfile::from_annotation(&text(2, 1)),
            Err(Error::Version(2))
        ));
        assert!(matches!(JobProfile::from_annotation("{"), Err(Error::Malformed(_))));
        let huge = JobProfile::from_annotation(&text(1, 1_000_000_000)).unwrap();
        assert_eq!(huge.executors_at_start, MAX_EXECUTORS);
    }
}
