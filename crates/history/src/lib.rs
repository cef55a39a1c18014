//! The gangs of the past, read off time series. Pure: what to ask a Prometheus is text ([`questions`]), what it answered is a
//! set of [`Series`], and [`read`] makes a [`History`] of it.
//!
//! There are two sources. [`counters`] of gangs that have ended, which KOMPASS shows itself, tell run times, waits and
//! sizes by profile key, but no namespace; where several gangs of a key end between two scrapes, they tell the mean.
//! [`pods`] of kube-state-metrics tell each gang of its own, also from before KOMPASS, but only as far as their samples
//! were taken. Whatever neither source has seen is a [`Gap`], and what could not be used is listed in [`Dropped`].

pub mod counters;
mod gang;
mod join;
mod kin;
mod numbers;
pub mod pods;
pub mod questions;
mod seen;
mod series;
pub mod starts;

pub use gang::{Bins, Dropped, End, Gang, Gap, History, Kin, Reason, Source, Why, Window};
pub use join::{Answers, Error, read};
pub use series::{Labels, Merged, Point, Series, merged};
