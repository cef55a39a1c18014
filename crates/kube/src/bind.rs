//! Binding a pod to its node, and what the API server means when it says no.
//!
//! A 409 has five meanings: bound already (here or elsewhere), another pod under the same name, another
//! resourceVersion, gated, too large for etcd. The code alone tells none of them, so the pod is read again and what it
//! says decides. A lost answer is treated alike: only a write that was seen counts as done.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Binding, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kompass_core::Pod;
use kube::api::PostParams;
use kube::core::Status;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::client::{RequestError, within};
use crate::{convert, object};

/// Part of a bind's time that is kept for reading the pod after an unclear answer.
const READ_RESERVE: Duration = Duration::from_millis(700);

/// What to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// UID that the pod must have.
    pub uid: String,
    /// The node.
    pub node: String,
    /// Annotations that come onto the pod in the same write. Kubernetes doesn't check their size here and a pod with
    /// more than 256 KiB of them can't be changed any more, its status included: the caller keeps them small.
    pub annotations: BTreeMap<String, String>,
}

/// The pod is bound to the wanted node.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// By this request.
    Bound,
    /// It was so already, or an earlier request of which the answer was lost has done it: the pod as it is, whose plan
    /// may be another's.
    AlreadyBound(Box<Pod>),
}

/// Why the pod is not known to be bound to the wanted node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod is gone.
    #[error("failed to bind the pod: it is gone")]
    Gone,
    /// Another pod has its name now.
    #[error("failed to bind the pod: another one has its name now")]
    Replaced,
    /// It is bound to another node.
    #[error("failed to bind the pod: it is bound to node {node} already")]
    Elsewhere {
        /// The node that it is bound to.
        node: String,
        /// The pod as it is.
        pod: Box<Pod>,
    },
    /// A scheduling gate is closed.
    #[error("failed to bind the pod: it has scheduling gates")]
    Gated,
    /// Pod and annotations together are too large to be stored.
    #[error("failed to bind the pod: with its annotations it is too large")]
    TooLarge,
    /// It is not bound, for a reason that will pass.
    #[error("failed to bind the pod: the API server refused, and it is not bound")]
    Unbound(#[source] RequestError),
    /// Whether it is bound could not be learned in time.
    #[error("failed to learn whether the pod is bound")]
    Unknown(#[source] RequestError),
}

/// Binds by `deadline` at the latest: no request is sent after it, and none is still awaited.
pub async fn bind(client: &Client, request: &Request, deadline: Instant) -> Result<Outcome, Error> {
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), &request.namespace);
    let remaining = deadline
        .saturating_duration_since(Instant::now())
        .saturating_sub(READ_RESERVE);
    let parameters = PostParams::default();
    let binding = binding(request);
    let sent = pods.create_subresource::<_, Status>("binding", &request.name, &parameters, &binding);
    match within(remaining, sent).await {
        Ok(_status) => Ok(Outcome::Bound),
        Err(refusal) => judge(client, request, deadline, refusal).await,
    }
}

fn binding(request: &Request) -> Binding {
    Binding {
        metadata: ObjectMeta {
            name: Some(request.name.clone()),
            namespace: Some(request.namespace.clone()),
            uid: Some(request.uid.clone()),
            annotations: (!request.annotations.is_empty()).then(|| request.annotations.clone()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(request.node.clone()),
            ..ObjectReference::default()
        },
    }
}

/// Reads the pod to learn what a refusal, or no answer, means.
async fn judge(client: &Client, request: &Request, deadline: Instant, refusal: RequestError) -> Result<Outcome, Error> {
    match refusal.status() {
        Some(404) => return Err(Error::Gone),
        // Not a conflict: the API server would not even look at it (rights, validity, load).
        Some(code) if code != 409 && code < 500 => return Err(Error::Unbound(refusal)),
        _ => {}
    }
    let pods: Api<object::Pod> = Api::namespaced(client.clone(), &request.namespace);
    let remaining = deadline.saturating_duration_since(Instant::now());
    let pod = match within(remaining, pods.get(&request.name)).await {
        Ok(pod) => pod,
        Err(error) if error.status() == Some(404) => return Err(Error::Gone),
        Err(error) => return Err(Error::Unknown(error)),
    };
    if pod.metadata.uid.as_deref() != Some(&request.uid) {
        return Err(Error::Replaced);
    }
    if !pod.spec.node_name.is_empty() {
        let node = pod.spec.node_name.clone();
        let (pod, _warnings) = convert::pod(pod).map_err(|_| Error::Unbound(refusal))?;
        let pod = Box::new(pod);
        return if node == request.node {
            Ok(Outcome::AlreadyBound(pod))
        } else {
            Err(Error::Elsewhere { node, pod })
        };
    }
    if !pod.spec.scheduling_gates.is_empty() {
        return Err(Error::Gated);
    }
    if refusal.message().contains("too large") {
        return Err(Error::TooLarge);
    }
    match refusal {
        // The write may still come after this look.
        RequestError::Timeout(_) | RequestError::Unreadable => Err(Error::Unknown(refusal)),
        RequestError::Api(_) => Err(Error::Unbound(refusal)),
    }
}

#[cfg(test)]
mod tests;
