//! The vocabulary of KOMPASS: units, names in the cluster, what is known of nodes and pods, job profiles, gang plans
//! and reasons to wait.
//!
//! Pure: no I/O, no clock, no async, integers for resources. Every other crate speaks in these types; the edges
//! convert to them at the door.

pub mod cluster;
pub mod constraints;
pub mod names;
pub mod peers;
pub mod plan;
pub mod profile;
pub mod quantity;
pub mod resources;
pub mod spacing;
pub mod wait;

pub use cluster::{Node, Outcome, Phase, Pod, Role};
pub use constraints::Constraints;
pub use peers::{PodRules, PodSelector, PodTerm};
pub use plan::GangPlan;
pub use profile::JobProfile;
pub use resources::Resources;
pub use spacing::{DriverSpacing, Spacing};
pub use wait::WaitReason;
