//! What one more empty node is worth, learned by replaying the past with and without it.
//!
//! Forecasting how much will be submitted is not what money depends on: most of what comes fits on nodes that are there.
//! So the past is replayed with 0, 1, 2… empty nodes held at all times ([`lesson`]), and for each tick it is noted how many
//! seconds of waiting the k-th node saved. A regression for each k ([`worth`]) learns when that is much, from what was
//! submitted and ended shortly before ([`features`]). The policy ([`taught`]) then holds a node while it is worth more than
//! a price; the price is the parameter, and the backtest chooses it.
//!
//! Beside that, [`expected`] tells how well the arrivals of each hour were forecast.
//!
//! Pure: no I/O, no clock, no randomness.
//!
//! ```text
//!  past ──> lesson: replays with k nodes ──> worth: a ridge per k ──┐
//!    └────> features: what was just submitted, what ended ──────────┴──> taught: nodes to hold
//! ```

pub mod expected;
pub mod features;
pub mod lesson;
pub mod taught;
pub mod worth;

pub use taught::family;
pub use worth::Worth;
