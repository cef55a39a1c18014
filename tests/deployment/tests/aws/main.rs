//! What Terraform makes on a stand-in for AWS, and that all of it goes again; and `setup-kompass.sh eks` from nothing to
//! nothing, once with real pods, which takes root. It takes many minutes, so this target is run by
//! `cargo xtask test --full` alone.

#![cfg(test)]

mod eks;
mod installed;
mod life;
mod machine;
mod policies;
mod script;
