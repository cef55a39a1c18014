//! The frame of every KOMPASS service: HTTP and TLS, readiness, shutdown, metrics, logs, clock.
//!
//! A service builds a [`shutdown::Shutdown`], a [`readiness::Readiness`] and a [`metrics::Registry`], binds a
//! [`server::Server`] for its own API and one for [`admin::router`], spawns its background tasks on the shutdown and
//! then awaits [`shutdown::Shutdown::run`]. Everything else is the service's own.
//!
//! Nothing here knows Kubernetes or Spark.

pub mod admin;
pub mod args;
pub mod body;
pub mod client;
pub mod clock;
mod idle;
pub mod logging;
pub mod metrics;
pub mod readiness;
pub mod server;
pub mod shutdown;
pub mod tls;
