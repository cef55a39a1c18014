//! How much capacity to keep ready: decisions from what is known, in nodes of one shape.
//!
//! A [`policy`] says at each tick how many empty nodes to hold beside the busy ones. It knows the [`past`] alone:
//! submissions and ends up to now. The service that decides and the backtest that judges decisions run the same code.
//!
//! Pure: no I/O, no clock, no randomness; the time is an argument, resources are integers.
//!
//! ```text
//!  Past (submissions, ends) ──> Policy ──> headroom at each tick, in nodes ──> holding: hysteresis ──> budget
//!                                 ▲
//!              money ──> newsvendor: the quantile that pays
//! ```

pub mod budget;
pub mod echo;
pub mod holding;
pub mod hysteresis;
pub mod newsvendor;
pub mod past;
pub mod policy;
pub mod shape;
pub mod time_of_day;

pub use holding::Holding;
pub use past::{Ended, Past, Submitted};
pub use policy::{Family, Policy};
pub use shape::{Members, Shape};
