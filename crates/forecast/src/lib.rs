//! Models of what arrives on a cluster and how long it runs. Pure: no input or output, no clock; the same history gives the
//! same model.
//!
//! [`series`] counts arrivals per bucket of time, [`model`] fits a [`ridge`] to their square roots on [`features`] of the
//! past, and [`conformal`] makes quantiles of its residuals. [`fallback`] stands in where no model can be had, and says why.
//! [`hourly`] is the pair of models that the predictor uses, and [`wall`] the users' clock. [`drift`] notices when a model no
//! longer fits, [`file`] writes and reads models, [`runtimes`] is about run times, and [`shapes`] about executors.
//!
//! This is the only crate that knows linfa, and no type of linfa's shows outside.

pub mod calendar;
pub mod conformal;
pub mod drift;
pub mod fallback;
pub mod features;
pub mod file;
pub mod hourly;
pub mod model;
mod past;
pub mod ridge;
mod rows;
pub mod runtimes;
pub mod series;
mod setup;
pub mod shapes;
pub mod wall;
