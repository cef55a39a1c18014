//! Floors over time, in a model of the cloud.

#![cfg(test)]

mod cloud;
mod crashes;
mod living;
mod predictor;
mod random;
