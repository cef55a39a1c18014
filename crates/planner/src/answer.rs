//! Answers to kube-scheduler: Filter and Bind. Texts of rejections are constant: a text that changes makes
//! kube-scheduler try the pod again at once, for ever.

use kompass_core::GangPlan;

/// The answer to Filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterAnswer {
    /// This node, which was in the list; room for the pod is kept on it.
    Node(String),
    /// An empty answer without a reason: the planned node is not in this list (a sample, a simulation, a one-node
    /// hint); the plan stays.
    NotInList,
    /// One entry in `FailedAndUnresolvableNodes` with this constant text.
    Unresolvable(&'static str),
    /// An error: the scheduler tries again after 1-5 s without any event. Only while this planner can't decide.
    NotReady(&'static str),
}

/// What a Bind has to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindOrder {
    /// The plan that the Binding has to carry as an annotation, where the driver pod does not have it yet.
    pub plan: Option<GangPlan>,
}

/// Why a Bind must not be written. Answer the scheduler with an error: it asks Filter again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BindRefusal {
    /// The pod is not known, or gone.
    #[error("failed to bind the pod: it is not known")]
    UnknownPod,
    /// The plan has changed since Filter.
    #[error("failed to bind the pod: no room is kept for it on this node")]
    NoRoomKept,
    /// Bound already, to another node.
    #[error("failed to bind the pod: it is bound to another node")]
    BoundElsewhere,
}

/// How a Bind went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindResult {
    /// Written, or found written, to the wanted node.
    Bound,
    /// Found bound to this other node.
    Elsewhere(String),
    /// Certainly not written.
    Failed,
    /// Not known; the watch or a [`Check`](crate::Action::Check) will tell.
    Unknown,
}
