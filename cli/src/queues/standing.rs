//! Queues as the extender shows them on `/v1/queues`.

use std::collections::BTreeMap;

use kompass_core::wait::WaitCode;
use serde::Deserialize;

/// Kubernetes quantities by resource.
pub(crate) type Amounts = BTreeMap<String, String>;

/// The answer of `/v1/queues`, as far as it is shown; the rules as the file says them are not read. Times are
/// milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Standing {
    /// Where the queue file is, if there is one.
    pub(crate) file: Option<String>,
    pub(crate) applied_ms: Option<i64>,
    pub(crate) refused: Option<Refused>,
    /// Whether the extender that answers is the one that plans.
    pub(crate) leads: bool,
    /// What all nodes have.
    pub(crate) total: Amounts,
    pub(crate) state: Vec<Queue>,
}

/// A queue file that is not in force.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Refused {
    pub(crate) message: String,
    pub(crate) since_ms: i64,
}

/// One queue. What the extender does not send is left at its default, so that a newer or older one is read too.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) guaranteed: Amounts,
    pub(crate) limit: Amounts,
    pub(crate) used: Amounts,
    /// From 0 to 1.
    pub(crate) dominant_share: f64,
    pub(crate) dominant_resource: Option<String>,
    pub(crate) running: u64,
    pub(crate) waiting: u64,
    pub(crate) turn: Option<u64>,
    pub(crate) next: Option<Next>,
}

/// The first gang of a queue that waits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Next {
    pub(crate) namespace: String,
    /// The driver's name.
    pub(crate) name: String,
    pub(crate) code: WaitCode,
}
