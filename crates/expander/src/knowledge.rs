//! What is known of node groups beside what the autoscaler tells.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kompass_core::Resources;

/// Tells what is known now. Asked once for each call; must not wait.
pub trait Knowledge: fmt::Debug + Send + Sync {
    /// All that is known, by the ids that the autoscaler has for groups (on AWS their names).
    fn snapshot(&self) -> Arc<Snapshot>;
}

/// What is known at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Node groups by id.
    pub groups: BTreeMap<String, Group>,
}

/// What is known of a node group. The default is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// What a node offers to pods, where the autoscaler doesn't tell.
    pub shape: Option<Resources>,
    /// What a node costs an hour, in millionths of any money that is the same for all groups.
    pub price_micro: Option<u64>,
    /// Whether its nodes may be taken back by the cloud.
    pub spot: Option<bool>,
    /// Nodes that are held in it beside the busy ones.
    pub headroom: u32,
}

/// The same at all times.
impl Knowledge for Arc<Snapshot> {
    fn snapshot(&self) -> Arc<Snapshot> {
        Self::clone(self)
    }
}
