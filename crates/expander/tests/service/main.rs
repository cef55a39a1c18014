//! The expander: its answers, and its server over real connections.

#![cfg(test)]

mod answers;
mod bytes;
mod wire;
