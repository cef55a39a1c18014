//! A real Kubernetes cluster on one machine, without a container engine: full with real pods, or the control plane alone.
//!
//! ```text
//!  programs ── builds kube-apiserver, etcd, ... from their Go modules, once
//!  pki ─────── keys, certificates, kubeconfig files
//!  process ─── daemons: start, watch, stop by pid, also from a later process
//!  api_only ── etcd + API server + controller manager + scheduler, several side by side
//!  kwok ────── nodes and pods that only exist in the API
//!  images ──── pause and Spark, built from Dockerfiles without a container engine
//!  prometheus  a real Prometheus with a given past
//!  moto ────── a stand-in for AWS, with a strict layer before it
//!  python ──── programs in Python with pinned packages
//!  full ────── everything with a real node and real pods, in a network of its own
//! ```
//!
//! Nothing here knows the rest of KOMPASS: it starts programs and speaks plain JSON over HTTPS.

pub mod api_only;
pub mod client;
pub mod directories;
pub mod full;
pub mod images;
pub mod kompass;
pub mod kwok;
pub mod moto;
pub mod pki;
pub mod ports;
pub mod prerequisites;
pub mod process;
pub mod programs;
pub mod progress;
pub mod prometheus;
pub mod python;
