//! The endpoint, driven in process.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails in a helper fails its test")]

mod decoders;
mod harness;
mod inputs;
mod reviews;
mod shadow;
