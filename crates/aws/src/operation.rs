//! The operations of AWS that are used: all of them, and nothing else.

use std::fmt;

/// An operation of an AWS service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation {
    service: &'static str,
    name: &'static str,
}

impl Operation {
    pub(crate) const DESCRIBE_GROUPS: Self = Self::of("autoscaling", "DescribeAutoScalingGroups");
    pub(crate) const DESCRIBE_ACTIONS: Self = Self::of("autoscaling", "DescribeScheduledActions");
    pub(crate) const DESCRIBE_POLICIES: Self = Self::of("autoscaling", "DescribePolicies");
    pub(crate) const TAG: Self = Self::of("autoscaling", "CreateOrUpdateTags");
    pub(crate) const UNTAG: Self = Self::of("autoscaling", "DeleteTags");
    pub(crate) const SCHEDULE: Self = Self::of("autoscaling", "PutScheduledUpdateGroupAction");
    pub(crate) const UNSCHEDULE: Self = Self::of("autoscaling", "DeleteScheduledAction");
    pub(crate) const UPDATE_GROUP: Self = Self::of("autoscaling", "UpdateAutoScalingGroup");
    pub(crate) const DESCRIBE_TEMPLATES: Self = Self::of("ec2", "DescribeLaunchTemplateVersions");
    pub(crate) const DESCRIBE_TYPES: Self = Self::of("ec2", "DescribeInstanceTypes");
    pub(crate) const DESCRIBE_INSTANCES: Self = Self::of("ec2", "DescribeInstances");
    pub(crate) const DESCRIBE_SPOT_PRICES: Self = Self::of("ec2", "DescribeSpotPriceHistory");
    pub(crate) const DESCRIBE_ZONES: Self = Self::of("ec2", "DescribeAvailabilityZones");
    pub(crate) const GET_PRICES: Self = Self::of("pricing", "GetProducts");

    /// All of them: what metrics may be labelled with.
    pub const ALL: [Self; 14] = [
        Self::DESCRIBE_GROUPS,
        Self::DESCRIBE_ACTIONS,
        Self::DESCRIBE_POLICIES,
        Self::TAG,
        Self::UNTAG,
        Self::SCHEDULE,
        Self::UNSCHEDULE,
        Self::UPDATE_GROUP,
        Self::DESCRIBE_TEMPLATES,
        Self::DESCRIBE_TYPES,
        Self::DESCRIBE_INSTANCES,
        Self::DESCRIBE_SPOT_PRICES,
        Self::DESCRIBE_ZONES,
        Self::GET_PRICES,
    ];

    const fn of(service: &'static str, name: &'static str) -> Self {
        Self { service, name }
    }

    /// Its name, as AWS writes it.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The action that IAM must allow for it.
    pub fn action(self) -> String {
        let Self { service, name } = self;
        format!("{service}:{name}")
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}
