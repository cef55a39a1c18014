//! Floors over time, in models of an Auto Scaling group and of cluster-autoscaler beside it, whose code isn't to be had as a
//! library.

#![cfg(test)]

mod adversary;
mod alone;
mod beside;
mod cloud;
mod crashes;
mod group;
mod living;
mod model;
mod predictor;
mod together;
mod world;
