//! Against the real API server and the real kube-scheduler.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails in a helper fails its test")]

mod cluster;
mod edge;
mod extender;
mod faults;
mod gangs;
mod peers;
mod queues;
