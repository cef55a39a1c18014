//! What floors live with: an Auto Scaling group, and cluster-autoscaler beside it. Seeded, on a clock of its own.

pub(crate) mod asg;
pub(crate) mod autoscaler;
pub(crate) mod random;
