//! An extender in this process, and the kube-scheduler that asks it.

use clap::Parser as _;
use http_body_util::BodyExt as _;
use kompass_local_cluster::api_only::Cluster;
use kompass_local_cluster::process::Daemon;
use kompass_scheduler_extender::Service;
use kompass_scheduler_extender::args::Cli;
use kompass_scheduler_extender::scheduler_config::{self, Options};
use kompass_service::shutdown::Shutdown;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::{self, PATIENCE};

/// An extender in this process, which ends as a killed one does: at once, without giving anything back.
pub(crate) struct Extender {
    pub(crate) address: std::net::SocketAddr,
    shutdown: Shutdown,
    runtime: Option<tokio::runtime::Runtime>,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Extender {
    /// Starts one and waits until it is ready. The port is free again after a kill, so it can be given.
    pub(crate) async fn start(cluster: &Cluster, listen: &str, more: &[&str]) -> Self {
        let kubeconfig = cluster::kubeconfig(cluster);
        let fixed = [
            "kompass-scheduler-extender",
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            "--listen",
            listen,
            "--admin-listen",
            "127.0.0.1:0",
            "--shutdown-grace",
            "0s",
            "--pause-image",
            "none",
        ];
        let config = Cli::try_parse_from(fixed.iter().chain(more))
            .unwrap()
            .serve
            .resolve()
            .unwrap();
        // A runtime of its own: dropping it stops every task wherever it is.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let service = runtime.spawn(Service::start(config)).await.unwrap().unwrap();
        timeout(PATIENCE, service.ready()).await.unwrap();
        let (address, shutdown) = (service.address(), service.shutdown());
        let task = runtime.spawn(service.run());
        Self {
            address,
            shutdown,
            runtime: Some(runtime),
            task: Some(task),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All at once, as `kill -9`.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.trigger();
        timeout(PATIENCE, self.task.take().unwrap())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.runtime.take().unwrap().shutdown_background();
    }
}

pub(crate) async fn scheduler(cluster: &Cluster, extender: &Extender) -> Daemon {
    let configuration = scheduler_config::render(&Options::new(&extender.url()));
    cluster.start_scheduler("kompass", &configuration, &[]).await.unwrap()
}

pub(crate) async fn get(extender: &Extender, path: &str) -> Value {
    serde_json::from_str(&get_text(extender, path).await).unwrap()
}

pub(crate) async fn get_text(extender: &Extender, path: &str) -> String {
    let stream = tokio::net::TcpStream::connect(extender.address).await.unwrap();
    let stream = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(path)
        .header("host", "extender")
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}
