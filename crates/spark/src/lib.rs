//! What can be read of a Spark application from its pods and its configuration, for every Spark version from 2.4 on.
//!
//! Pure, and on raw JSON: pods are [`serde_json::Value`]s as the API server sends them, so that fields newer than any
//! client library are never lost. Nothing here panics on bad input; what can't be read is left out with a warning
//! that names the key and never its value.
//!
//! # Entry points
//! At the admission of a pod:
//! - [`role::of`]: is this pod a Spark driver or a Spark executor?
//! - [`profile_key::of`]: the value of the label `kompass.dev/profile-key` of a driver.
//! - [`role::driver_of`]: the driver that owns an executor.
//!
//! When the driver's configuration is there:
//! - [`DriverPod::from_json`], then [`DriverPod::conf_config_map`] and [`DriverPod::template_config_map`]: which
//!   `ConfigMap`s of the namespace to read, keys [`CONF_KEY`] and [`TEMPLATE_KEY`].
//! - [`Conf::parse`]: the whitelisted keys of `spark.properties`.
//! - [`profile::build`]: the [`JobProfile`](kompass_core::JobProfile) of conf and template, or a guess without them.
//!
//! - [`scheduler::leave_executors`]: nothing is reserved for executors of another scheduler.
//! - [`explain::explain`]: the same, with what each field comes from.
//!
//! For any pod:
//! - [`requests::pod_requests`]: what kube-scheduler counts for it.
//! - [`placement::constraints`]: its hard rules about nodes.
//! - [`spacing::rules`]: an executor's hard rules about other pods, of its gang and of others.

pub mod allocation;
pub mod conf;
pub mod explain;
mod json;
mod patience;
pub mod placement;
pub mod profile;
pub mod profile_key;
pub mod properties;
mod releases;
pub mod requests;
pub mod role;
pub mod scheduler;
mod selector;
pub mod spacing;
pub mod template;
pub mod units;
pub mod version;

pub use conf::Conf;
pub use role::DriverPod;
pub use version::Version;

/// The key of the conf ConfigMap that holds Spark's configuration in Java's properties format.
pub const CONF_KEY: &str = "spark.properties";
/// The key of the template ConfigMap that holds the executors' pod template as YAML.
pub const TEMPLATE_KEY: &str = "podspec-configmap-key";
