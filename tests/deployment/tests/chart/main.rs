//! The Helm chart: what it renders, what its programs take of it, and its way through a real API server.

#![cfg(test)]

mod cluster;
mod helm;
mod hygiene;
mod ports;
mod preflight;
mod rendering;
mod runbooks;
mod values;
