//! What can be wrong with a queue file, in words for whoever wrote it.

use std::fmt;
use std::str::Utf8Error;

use kompass_core::quantity;
use kompass_planner::Packing;

use crate::yaml::Mistake;
use crate::{MAX_BYTES, MAX_QUEUES, MAX_WEIGHT, VERSION};

/// Why a queue file was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many bytes.
    #[error("failed to read the queue file: it has more than {MAX_BYTES} bytes; is it the right file?")]
    TooLarge,
    /// Not text.
    #[error("failed to read the queue file: line {line} is not UTF-8; save the file in that encoding")]
    NotUtf8 {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: Utf8Error,
    },
    /// Not YAML, or not of the file's shape: the source says which field, where, and what may stand there.
    #[error("failed to read the queue file{}", in_brackets(.0.place()))]
    Yaml(#[source] Mistake),
    /// It may be of any version.
    #[error("failed to read the queue file: it has no `version`; write `version: {VERSION}` at its top")]
    NoVersion,
    /// Written for another KOMPASS.
    #[error(
        "failed to read the queue file ({place}): version {version} is not known here; write it in version {VERSION}, or \
         use the KOMPASS that it was written for"
    )]
    Version {
        /// What stands there.
        version: u64,
        /// Where.
        place: Place,
    },
    /// Too many queues.
    #[error(
        "failed to use the queue file: it has {count} queues, and at most {MAX_QUEUES} are allowed; remove those that \
         nobody uses"
    )]
    TooManyQueues {
        /// As many are there.
        count: usize,
    },
    /// A queue that no label can name.
    #[error(
        "failed to use the queue {name:?} ({place}): its name must be a label value: 1 to 63 letters, digits, `-`, `_` \
         and `.`, with a letter or digit at both ends"
    )]
    Name {
        /// Its name, cut where it is very long.
        name: String,
        /// Where.
        place: Place,
    },
    /// Two queues of one name.
    #[error("failed to use the queue {name:?} ({place}): it is there already ({first}); merge the two or rename one")]
    Duplicate {
        /// Their name.
        name: String,
        /// The second.
        place: Place,
        /// The first.
        first: Place,
    },
    /// A weight that is none.
    #[error("failed to use the weight {weight} of the queue {queue:?} ({place}): it must be from 1 to {MAX_WEIGHT}")]
    Weight {
        /// The queue.
        queue: String,
        /// What stands there.
        weight: i64,
        /// Where.
        place: Place,
    },
    /// Not the name of a packing policy.
    #[error(
        "failed to use the packing {packing:?} of the queue {queue:?} ({place}): there is no such policy; write one of {}",
        packings()
    )]
    Packing {
        /// The queue.
        queue: String,
        /// What stands there, cut where it is very long.
        packing: String,
        /// Where.
        place: Place,
    },
    /// Not the name of a resource.
    #[error(
        "failed to use {resource:?} in `{field}` of the queue {queue:?} ({place}): no such resource; write `cpu`, \
         `memory`, `pods`, `ephemeral-storage`, `hugepages-<size>`, or an extended resource such as `nvidia.com/gpu`"
    )]
    Resource {
        /// The queue.
        queue: String,
        /// Which amounts.
        field: Field,
        /// What stands there, cut where it is very long.
        resource: String,
        /// Where its amount is.
        place: Place,
    },
    /// Not an amount.
    #[error("failed to use the amount of {resource} in `{field}` of the queue {queue:?} ({place})")]
    Quantity {
        /// The queue.
        queue: String,
        /// Which amounts.
        field: Field,
        /// Of what.
        resource: String,
        /// Where.
        place: Place,
        /// What is wrong.
        #[source]
        source: quantity::Error,
    },
    /// A part of something that is only there in whole.
    #[error(
        "failed to use the amount of {resource} in `{field}` of the queue {queue:?} ({place}): {amount:?} is no whole \
         number; there is no part of one"
    )]
    Part {
        /// The queue.
        queue: String,
        /// Which amounts.
        field: Field,
        /// Of what.
        resource: String,
        /// What stands there.
        amount: String,
        /// Where.
        place: Place,
    },
    /// It could never have what it has a claim on.
    #[error(
        "failed to use the queue {queue:?} ({place}): {guaranteed} {resource} are guaranteed, but its limit is {limit}; \
         raise the limit or lower the guarantee"
    )]
    GuaranteedAboveLimit {
        /// The queue.
        queue: String,
        /// Of what.
        resource: String,
        /// The guarantee, as a quantity.
        guaranteed: String,
        /// The limit, as a quantity.
        limit: String,
        /// The queue's name.
        place: Place,
    },
    /// Not the name of a namespace.
    #[error(
        "failed to use the namespace {namespace:?} of the queue {queue:?} ({place}): a namespace's name has 1 to 63 \
         lower-case letters, digits and `-`, with a letter or digit at both ends"
    )]
    Namespace {
        /// The queue.
        queue: String,
        /// What stands there, cut where it is very long.
        namespace: String,
        /// Where.
        place: Place,
    },
    /// A namespace that is listed twice.
    #[error(
        "failed to use the namespace {namespace:?} of the queue {queue:?} ({place}): the queue {other:?} lists it already \
         ({first}); leave it in one of them"
    )]
    NamespaceTwice {
        /// The queue.
        queue: String,
        /// The namespace.
        namespace: String,
        /// Where.
        place: Place,
        /// The queue that lists it too; may be the same.
        other: String,
        /// Where.
        first: Place,
    },
}

/// Which amounts of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `guaranteed`.
    Guaranteed,
    /// `limit`.
    Limit,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guaranteed => "guaranteed",
            Self::Limit => "limit",
        })
    }
}

/// A place in the file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The character in it.
    pub column: u64,
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }
}

fn packings() -> String {
    Packing::ALL.map(|packing| format!("`{}`", packing.as_str())).join(", ")
}

fn in_brackets(place: Option<Place>) -> String {
    place.map_or_else(String::new, |place| format!(" ({place})"))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}
