//! The Prometheus edge: asks a Prometheus, or what speaks its API, and reads the history of gangs off its answers.
//!
//! [`Client::ask`] puts a question of `kompass-history` in pieces that the server can take, and [`history`] puts all of
//! them. Everything is bounded: the time of a request, its repetitions, the length of an answer, and the points in all.
//! An answer that is longer is refused and asked for again in two halves; nothing is cut off.

mod address;
mod answer;
mod client;
mod error;
mod history;
mod pieces;
mod retry;

pub use address::{Address, Error as AddressError};
pub use client::{Client, Options};
pub use error::Error;
pub use history::{history, history_with, starts_with};
