//! Terraform: its form, its checks, and its documents. What it makes is the target `aws`.

#![cfg(test)]

mod checks;
mod readme;
