//! The AWS edge: what node groups are like and the writes that give them floors, and what machines are like and cost.
//!
//! ```text
//!  Config ──> Autoscaling   groups, their company, the writes of `kompass-floors`
//!        └──> facts         instance types, prices, zones, launch times: kept, usable offline
//!  every request: a turn (rate) ─> one attempt (calls) ─> an error that says what to do
//! ```
//!
//! No request of this crate carries a desired capacity. Reads are repeated a few times; a write is sent once or not at
//! all, and never later than [`WRITE_LIMIT`] after it was asked for.

pub mod autoscaling;
mod calls;
pub mod config;
pub mod error;
pub mod facts;
mod groups;
mod judge;
pub mod operation;
pub mod rate;
mod templates;

pub use autoscaling::Autoscaling;
pub use calls::{Observer, WRITE_LIMIT};
pub use config::{Config, Options};
pub use error::Error;
pub use operation::Operation;
