//! Floors of node groups. A floor is the `MinSize` of an Auto Scaling group, raised for a while: the autoscaler stays the
//! only one who sets a desired capacity, and can't take nodes below the floor.
//!
//! Pure: what the cloud tells comes in, what is to be written goes out; the time is an argument.

//!
//! ```text
//!  headroom ──> share ──> a floor for each group ──> keeper ──> plan ──> writes: tag, scheduled release, MinSize
//!                                                      ▲
//!            groups, as the cloud describes them ──────┘
//! ```

pub mod fleet;
pub mod group;
pub mod keeper;
mod late;
mod patience;
pub mod plan;
pub mod rules;
pub mod share;
pub mod tag;
pub mod write;

pub use fleet::Fleet;
pub use group::{Company, Group, Instance, ScheduledAction};
pub use keeper::{Keeper, Look};
pub use plan::{By, Plan};
pub use rules::{Refusal, Rules};
pub use share::{Room, share};
pub use tag::Tag;
pub use write::Write;
