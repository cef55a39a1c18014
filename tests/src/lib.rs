//! What the tests of more than one part share: a cluster with KOMPASS running in it, a Spark that needs no JVM, faults
//! at exact points, and a watchdog that knows what must always hold.
//!
//! Everything here talks to a real API server. Nothing waits by sleeping: [`wait_for`] polls a condition up to a
//! deadline and says what it last saw.

pub mod demand;
pub mod deployment;
pub mod fault_proxy;
pub mod headroom;
pub mod http;
pub mod installed;
pub mod karpenter;
pub mod spark;
pub mod wait;
pub mod watchdog;

pub use wait::wait_for;
