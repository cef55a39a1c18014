//! A node group, as the cloud describes it.

use std::collections::{BTreeMap, BTreeSet};

/// The scheduled action that takes a floor away if nobody else does.
pub const RELEASE_ACTION: &str = "kompass-release";
/// The tag of groups that may be given floors, with the value `true`.
pub const MANAGED_TAG: &str = "kompass.dev/managed";
/// The tag that tells of a floor, see [`crate::Tag`].
pub const FLOOR_TAG: &str = "kompass.dev/floor";
/// The tag of groups that belong to EKS: only its own API may change them.
pub const EKS_TAG: &str = "eks:nodegroup-name";

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// `MinSize`: fewer instances it never has.
    pub min: u32,
    /// `MaxSize`.
    pub max: u32,
    /// `DesiredCapacity`: the autoscaler's, which is only ever read here.
    pub desired: u32,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Processes that are suspended, such as `ScheduledActions`.
    pub suspended: BTreeSet<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The types that it may launch, the first choice first.
    pub instance_types: Vec<String>,
    /// Whether it launches spot instances only.
    pub spot: bool,
    /// The availability zones that it launches in.
    pub zones: Vec<String>,
}

/// An instance of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// It is `InService`, not on its way in or out.
    pub in_service: bool,
}

/// What else may change the size of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Company {
    /// Scheduled actions, ours among them.
    pub actions: Vec<ScheduledAction>,
    /// Names of scaling policies.
    pub policies: Vec<String>,
}

/// A scheduled action of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScheduledAction {
    /// Its name.
    pub name: String,
    /// When it runs (next), milliseconds since 1970 UTC; none where AWS tells no time.
    pub start_ms: Option<i64>,
    /// Whether it comes again.
    pub recurs: bool,
    /// The `MinSize` that it sets.
    pub min: Option<u32>,
    /// The `MaxSize` that it sets.
    pub max: Option<u32>,
    /// The `DesiredCapacity` that it sets.
    pub desired: Option<u32>,
}

impl Group {
    /// How many of its instances are in service.
    pub fn in_service(&self) -> u32 {
        let count = self.instances.iter().filter(|instance| instance.in_service).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}
