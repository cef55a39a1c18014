//! The admission webhook: recognises Spark pods, annotates them, profiles jobs.
//!
//! Three parts in one process, each correct without the others:
//! - the endpoint ([`handler`]) that the API server asks about each new Spark pod, over the pure decisions of [`admit`];
//! - the [`profiler`], a controller that reads the configuration of each gated driver and writes its job profile;
//! - [`registration`] and [`certificates`], which keep the cluster's view of the webhook right.

pub mod admit;
pub mod args;
pub mod certificates;
mod changes;
pub mod check;
pub mod gangs;
pub mod handler;
pub mod metrics;
pub mod patch;
pub mod probe;
pub mod profiler;
pub mod registration;
pub mod review;
mod service;
pub mod strangers;

pub use self::service::{Error, Running, run, start, start_by};
