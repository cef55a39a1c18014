//! The Kubernetes edge: objects to KOMPASS's vocabulary, clients, watch feeds, the leader lease, events and the few
//! writes that KOMPASS makes.
//!
//! Nothing here decides: it reads, converts at the door and reports typed outcomes.

pub mod apply;
pub mod bind;
pub mod buffers;
pub mod client;
pub mod config_map;
pub mod convert;
pub mod events;
pub mod lease;
pub mod object;
pub mod patch;
pub mod pause;
mod protobuf;
pub mod schedules;
pub mod watch;

#[cfg(test)]
mod fake;
