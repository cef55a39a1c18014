//! The queue file: what an administrator sets for queues, as YAML, to the planner's rules and back.
//!
//! [`EXAMPLE`] is such a file.
//!
//! Pure: bytes in, a [`QueueTable`] out. The extender and the command line read files and hand their bytes to
//! [`parse`], so both accept and refuse the same. The shape is closed: what isn't known is refused, because a limit
//! that is misspelt and passed over would be no limit at all.
//!
//! [`view`] is the way back: what it shows can be written into a file and means the same.

mod amounts;
mod error;
mod names;
mod read;
pub mod view;
mod yaml;

pub use kompass_planner::{QueueRules, QueueTable};

pub use self::error::{Error, Field, Place};
pub use self::read::parse;
pub use self::yaml::Mistake;

/// A queue file that uses everything there is, to be shown.
pub const EXAMPLE: &str = include_str!("example.yaml");
/// The version of the file's shape.
pub const VERSION: u64 = 1;
/// Bytes that a file may have. A ConfigMap takes no more either.
pub const MAX_BYTES: usize = 1 << 20;
/// Queues that a file may have.
pub const MAX_QUEUES: usize = 1_000;
/// The largest weight; the smallest is 1.
pub const MAX_WEIGHT: u32 = 1_000;
