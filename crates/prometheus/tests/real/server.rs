//! A real Prometheus, and who asks it.

pub(crate) use kompass_local_cluster::prometheus::Server;
use kompass_prometheus::{Client, Options};

pub(crate) fn asking(server: &Server, options: Options) -> Client {
    Client::new(server.url().parse().unwrap(), options).unwrap()
}
