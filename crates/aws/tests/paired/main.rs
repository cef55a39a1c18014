//! The AWS edge on moto, behind the strict layer.

#![cfg(test)]

mod clock;
mod environment;
mod errors;
mod facts;
mod groups;
mod policy;
mod stand_in;
mod writes;
