//! The gRPC expander of cluster-autoscaler: it asks which of the node groups that could grow shall, and is told the one that
//! takes the waiting gangs whole.
//!
//! ```text
//!  cluster-autoscaler ── BestOptions (TLS) ──> server ──> question: pods and nodes from bytes ──> choice
//!       takes one of its own options by id <────────────────────── answer <──────────────────────────┘
//! ```
//!
//! Only the choice among its options is ours: how many nodes are bought stays with the autoscaler. It is meant to be one of
//! a chain, `--expander=grpc,least-waste`, with `--grpc-expander-url` and `--grpc-expander-cert` (the authority that signed
//! our certificate; the autoscaler speaks to nobody without TLS). Whatever is not understood is answered with all options, so
//! that the next of the chain decides. An empty answer would be a veto: the autoscaler would buy nothing. There is none
//! unless it asked about nothing. An error, or no answer within its 5 s, means all options to it, too.
//!
//! Prices and held nodes come from a [`Knowledge`]; [`choice`], [`question`] and [`answer`] are pure.

pub mod answer;
mod bounds;
pub mod certificate;
pub mod choice;
pub mod knowledge;
pub mod messages;
pub mod metrics;
pub mod question;
pub mod server;
mod service;

pub use knowledge::{Group, Knowledge, Snapshot};
pub use metrics::Metrics;
pub use server::{Config, Expander};
pub use service::Patience;
