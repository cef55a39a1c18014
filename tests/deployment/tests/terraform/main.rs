//! Terraform: its form, its checks, what it makes on a stand-in for AWS, and that all of it goes again.

#![cfg(test)]

mod checks;
mod eks;
mod life;
mod policies;
mod readme;
mod script;
mod tool;
