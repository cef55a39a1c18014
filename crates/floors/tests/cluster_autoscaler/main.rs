//! cluster-autoscaler as a replay model: its code isn't to be had as a library, its rules are. Here the models are held to
//! what is known of both; floors are put between them by others.

#![cfg(test)]

mod alone;
mod group;
#[path = "../model/mod.rs"]
mod model;
mod together;
mod world;
