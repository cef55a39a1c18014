//! The webhook in process against a real API server.
#![expect(clippy::float_cmp, reason = "counts are whole numbers")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails in a helper fails its test")]

mod admission;
mod budget;
mod certificates;
mod forgery;
mod harness;
mod profiling;
mod program;
mod quarrels;
mod registration;
mod replay;
mod scope;
mod secrets;
mod shadow;
