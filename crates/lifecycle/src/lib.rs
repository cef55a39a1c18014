//! An install of KOMPASS as a whole: whether it is well ([`doctor`]), taking it out of the way of new pods ([`bypass`]), and
//! taking it away ([`uninstall`]).
//!
//! Everything is done by objects of the API server, so that it also works when every part of KOMPASS is dead. What decides is
//! pure; reading and writing are thin.

pub mod bypass;
pub mod doctor;
mod error;
pub mod ours;
pub mod pending;
pub mod predictor;
pub mod sweep;
pub mod uninstall;

pub use self::error::Error;

/// Tells people what is being done.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);
