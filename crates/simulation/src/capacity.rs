//! The capacity backtest: what would gangs have waited, and what would nodes have cost, under each policy of headroom?
//!
//! Nodes are of one shape and without limit; what differs between policies is only how many empty nodes are held. The
//! policies are those that ship ([`kompass_capacity`]); they see each replay as it comes, never what is still to come.
//!
//! ```text
//!  trace ──> input: jittered replays ──> decide: headroom at each tick ──> engine ──> measure: a point
//!                                                                                      │
//!        report <── recommend <── bootstrap over days <── protocol: operating points <─┴─ frontier of fixed headroom
//! ```

pub mod altered;
pub mod bootstrap;
pub mod decide;
pub mod engine;
pub mod frontier;
pub mod input;
pub mod measure;
pub mod money;
mod nodes;
pub mod protocol;
mod queue;
pub mod runs;
pub mod shadow;
pub mod split;
pub mod work;

pub use input::Timing;
pub use nodes::Placed;
pub use protocol::{Backtest, Settings};
pub use split::Split;
