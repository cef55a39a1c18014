//! Discrete-event simulation: what would have become of these gangs on that cluster under this policy?
//!
//! The planner is the one that ships, fed through its own door: drivers come gated and profiled, its orders are carried
//! out at once and without fail, its answers to Filter are bound. Around it the simulation keeps its own account of every
//! node, so that what it reports does not rest on the planner's word.
//!
//! Pure: no I/O, no clock, no randomness; the same trace and settings give the same result.
//!
//! ```text
//!  trace ──> engine: arrivals and ends ──> cluster ──> Planner
//!                                             │
//!            report <── outcomes, account <───┘
//! ```

mod account;
pub mod capacity;
mod cluster;
pub mod engine;
mod overtaking;
pub mod queues;
pub mod report;
pub mod series;
pub mod trace;
pub mod waits;

pub use engine::{Estimates, Settings, simulate};
pub use report::Report;
pub use trace::Gang;
