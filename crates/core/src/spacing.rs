//! How the executors of one gang have to lie to each other: host ports, anti-affinity, topology spread.

use serde::{Deserialize, Serialize};

/// Hard rules of a gang's executors about each other. Each is about the executors of one gang alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Spacing {
    /// Host ports of each executor, ascending: no two of them share a node, nor does a pod that has one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<u16>,
    /// Executors on one node at most. `None`: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_node_max: Option<u64>,
    /// Executors in one zone at most. `None`: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_zone_max: Option<u64>,
    /// All executors are in one zone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub one_zone: bool,
    /// Executors that a zone may have more than another at most, zones without any included. `None`: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_skew: Option<u64>,
    /// With fewer zones than this one without any executor counts too (`minDomains`). `None`: no matter how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zones_min: Option<u64>,
    /// Zones count also where the executors' own rules let none of their nodes (`nodeAffinityPolicy: Ignore`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub any_zone_counts: bool,
    /// Nodes with taints that the executors don't tolerate don't count (`nodeTaintsPolicy: Honor`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tainted_count_not: bool,
    /// How they lie to their driver.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: DriverSpacing,
}

/// Hard rules of executors and their driver about each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::struct_excessive_bools, reason = "rules that don't depend on one another")]
pub struct DriverSpacing {
    /// No executor is on the driver's node.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub other_node: bool,
    /// No executor is in the driver's zone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub other_zone: bool,
    /// All executors are in the driver's zone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub same_zone: bool,
    /// Where zones are compared the driver counts like an executor.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub counts: bool,
}

impl Spacing {
    /// Whether there is no rule.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether any rule is about zones.
    pub fn is_zonal(&self) -> bool {
        let to_driver = self.driver.other_zone || self.driver.same_zone;
        self.one_zone || self.per_zone_max.is_some() || self.zone_skew.is_some() || to_driver
    }

    /// Executors on one node at most, by all rules.
    pub fn node_max(&self) -> u64 {
        let by_ports = if self.host_ports.is_empty() { u64::MAX } else { 1 };
        self.per_node_max.unwrap_or(u64::MAX).min(by_ports)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
