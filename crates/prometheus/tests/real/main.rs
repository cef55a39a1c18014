//! History read off a real Prometheus, which is filled with samples as it would have scraped them.

#![cfg(test)]

mod counters;
mod extender;
mod pods;
mod samples;
mod server;
