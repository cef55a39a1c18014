//! What is known at a moment: submissions and ends up to then, and nothing else.

use crate::shape::{Members, Shape};

/// A gang that was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// When, milliseconds.
    pub at_ms: i64,
    /// What makes two gangs "the same job"; numbers in the order in which they were first seen.
    pub profile: u32,
    /// Its driver and its executors.
    pub members: [Members; 2],
    /// Its node-size, [`Shape::parts`] of a node.
    pub size: u64,
}

/// A gang that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// When, milliseconds.
    pub at_ms: i64,
    /// Which, by its place in [`Past::submitted`].
    pub gang: usize,
    /// How long it ran, milliseconds. Of gangs that have not ended nothing but their age is known.
    pub run_ms: i64,
}

/// All that a policy may know. Later pasts begin with the earlier ones, so policies may remember how far they have read.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// The nodes that gangs are to run on.
    pub shape: Shape,
    /// Submissions up to now, in order of time.
    pub submitted: &'a [Submitted],
    /// Ends up to now, in order of time.
    pub ended: &'a [Ended],
}
