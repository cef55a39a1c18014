//! The webhook in process against a real API server.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails in a helper fails its test")]

mod admission;
mod budget;
mod forgery;
mod harness;
mod profiling;
mod program;
mod registration;
mod secrets;
mod shadow;
