//! Namespaces: which queue the gangs in one belong to.

use kompass_core::names;

use super::Error;
use crate::object;

/// What is read of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`.
    pub name: String,
    /// Label `kompass.dev/queue`: the queue of gangs that name none themselves. `None` also where it is empty, which
    /// names no queue.
    pub queue: Option<String>,
}

/// A namespace.
pub fn namespace(namespace: object::Namespace) -> Result<Namespace, Error> {
    let metadata = namespace.metadata;
    let queue = metadata.labels.and_then(|mut labels| labels.remove(names::QUEUE_LABEL));
    Ok(Namespace {
        name: metadata.name.ok_or(Error::Missing("name"))?,
        queue: queue.filter(|queue| !queue.is_empty()),
    })
}
