//! What Terraform makes on a stand-in for AWS, and that all of it goes again; and `setup-kompass.sh eks` from nothing to
//! nothing. It takes minutes, so this target is run by `cargo xtask test --full` alone.

#![cfg(test)]

mod eks;
mod life;
mod policies;
mod script;
