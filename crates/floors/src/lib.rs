//! Floors of node groups. A floor is the `MinSize` of an Auto Scaling group, raised for a while: the autoscaler stays the
//! only one who sets a desired capacity, and can't take nodes below the floor.
//!
//! Pure: what the cloud tells comes in, what is to be written goes out; the time is an argument.

pub mod group;
pub mod tag;
pub mod write;

pub use group::{Company, Group, Instance, ScheduledAction};
pub use tag::Tag;
pub use write::Write;
