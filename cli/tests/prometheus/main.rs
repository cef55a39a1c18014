//! Commands that read the past of a real Prometheus, which is made up.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

mod backtest;
#[path = "../../../crates/prometheus/tests/real/extender.rs"]
mod extender;
#[allow(dead_code, reason = "shared with the tests of the client")]
#[path = "../../../crates/prometheus/tests/real/samples.rs"]
mod samples;
#[allow(dead_code, reason = "shared with the tests of the client")]
#[path = "../../../crates/prometheus/tests/real/server.rs"]
mod server;
mod shadow;
