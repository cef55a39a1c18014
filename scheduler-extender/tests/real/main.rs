//! Against the real API server and the real kube-scheduler.

mod cluster;
mod edge;
mod gangs;
