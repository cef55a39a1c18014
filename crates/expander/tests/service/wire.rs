//! The server, asked by tonic's own client over TLS.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kompass_expander::certificate::Files;
use kompass_expander::messages::{BEST_OPTIONS, BestOptionsRequest, BestOptionsResponse};
use kompass_expander::server::{Config, Error, Expander};
use kompass_expander::{Knowledge, Metrics, Patience, Snapshot};
use kompass_service::metrics::Registry;
use kompass_service::tls::{Authority, Validity};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;

use crate::bytes::gang_of_five;

const DEADLINE: Duration = Duration::from_secs(10);

struct Running {
    address: std::net::SocketAddr,
    registry: Registry,
    draining: CancellationToken,
    task: JoinHandle<()>,
    folder: TempDir,
    authority: Authority,
}

fn validity() -> Validity {
    let now_ms = kompass_service::clock::Clock::system().now_ms();
    Validity::starting(now_ms, Duration::from_hours(1))
}

fn write_certificate(folder: &Path, authority: &Authority) {
    let leaf = authority.issue(&["127.0.0.1".into()], validity()).unwrap();
    std::fs::write(folder.join("tls.crt"), &leaf.certificate_pem).unwrap();
    std::fs::write(folder.join("tls.key"), &leaf.key_pem).unwrap();
}

fn config(folder: &Path) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        files: Files {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        },
        reload: Duration::from_millis(20),
        patience: Patience::default(),
    }
}

impl Running {
    async fn start() -> Self {
        Self::start_with(Arc::new(Arc::new(Snapshot::default())), Patience::default()).await
    }

    async fn start_with(knowledge: Arc<dyn Knowledge>, patience: Patience) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::generate("first", validity()).unwrap();
        write_certificate(folder.path(), &authority);
        let registry = Registry::new();
        let config = Config {
            patience,
            ..config(folder.path())
        };
        let bound = Expander::bind(config, knowledge, Metrics::register(&registry)).await;
        let expander = bound.unwrap();
        let (address, draining) = (expander.address(), CancellationToken::new());
        let task = tokio::spawn(expander.serve(draining.clone()));
        Self {
            address,
            registry,
            draining,
            task,
            folder,
            authority,
        }
    }

    async fn client(&self, authority: &Authority) -> Result<Channel, tonic::transport::Error> {
        let roots = Certificate::from_pem(&authority.pair.certificate_pem);
        Endpoint::from_shared(format!("https://{}", self.address))?
            .tls_config(ClientTlsConfig::new().ca_certificate(roots))?
            .connect_timeout(DEADLINE)
            .connect()
            .await
    }

    fn count(&self, result: &str) -> bool {
        let line = format!("kompass_expander_calls_total{{result=\"{result}\"}} 1\n");
        self.registry.render().contains(&line)
    }

    async fn stop(self) {
        self.draining.cancel();
        timeout(DEADLINE, self.task).await.expect("the server drains").unwrap();
    }
}

async fn ask(channel: &Channel, request: BestOptionsRequest) -> Result<BestOptionsResponse, tonic::Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec: ProstCodec<BestOptionsRequest, BestOptionsResponse> = ProstCodec::default();
    let path = http::uri::PathAndQuery::from_static(BEST_OPTIONS);
    let answered = client.unary(tonic::Request::new(request), path, codec).await;
    answered.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_client_is_told_the_group_of_the_gang() {
    let running = Running::start().await;
    let channel = running.client(&running.authority).await.unwrap();
    let response = ask(&channel, gang_of_five()).await.unwrap();
    assert_eq!(response.options[0].node_group_id, "whole");
    assert_eq!(response.options.len(), 1);
    assert!(
        response.options[0].debug.contains("takes 1 of 1 gangs whole"),
        "{response:?}"
    );
    assert!(running.count("chosen"), "{}", running.registry.render());
    running.stop().await;
}

#[tokio::test]
async fn more_than_the_autoscaler_could_send_is_refused_with_a_status() {
    let running = Running::start().await;
    let channel = running.client(&running.authority).await.unwrap();
    let mut request = gang_of_five();
    request.options[0].debug = "x".repeat(128 << 20);
    let refused = ask(&channel, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(running.count("refused"), "{}", running.registry.render());
    ask(&channel, gang_of_five()).await.expect("it serves on");
    running.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_torn_one_is_not() {
    let running = Running::start().await;
    let second = Authority::generate("second", validity()).unwrap();
    assert!(running.client(&second).await.is_err());
    std::fs::write(running.folder.path().join("tls.key"), "half a k").unwrap();
    let kept = Instant::now() + Duration::from_millis(200);
    while Instant::now() < kept {
        running
            .client(&running.authority)
            .await
            .expect("the old one is still shown");
    }
    write_certificate(running.folder.path(), &second);
    let until = Instant::now() + DEADLINE;
    while running.client(&second).await.is_err() {
        assert!(Instant::now() < until, "the new certificate is never shown");
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn there_is_no_expander_without_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let bind = async || {
        let knowledge = Arc::new(Arc::new(Snapshot::default()));
        Expander::bind(config(folder.path()), knowledge, Metrics::register(&Registry::new())).await
    };
    assert!(matches!(bind().await, Err(Error::Certificate(_))));
    std::fs::write(folder.path().join("tls.crt"), "x").unwrap();
    std::fs::write(folder.path().join("tls.key"), "x").unwrap();
    assert!(matches!(bind().await, Err(Error::Certificate(_))));
}

/// Tells when it is asked, and answers when it is let.
#[derive(Debug)]
struct Slow {
    asked: mpsc::Sender<()>,
    leave: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Knowledge for Slow {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.asked.blocking_send(()).unwrap();
        // Everybody may go when the sender is gone.
        let _ = self.leave.lock().unwrap().recv_timeout(DEADLINE);
        Arc::default()
    }
}

fn slow() -> (Arc<Slow>, mpsc::Receiver<()>, std::sync::mpsc::SyncSender<()>) {
    let (asked, asks) = mpsc::channel(8);
    let (lets_go, leave) = std::sync::mpsc::sync_channel(8);
    let leave = Mutex::new(leave);
    (Arc::new(Slow { asked, leave }), asks, lets_go)
}

#[tokio::test]
async fn a_call_in_flight_is_answered_while_it_drains() {
    let (knowledge, mut asks, lets_go) = slow();
    let patience = Patience {
        call: DEADLINE,
        answer: DEADLINE,
    };
    let running = Running::start_with(knowledge, patience).await;
    let channel = running.client(&running.authority).await.unwrap();
    let asked = tokio::spawn(async move { ask(&channel, gang_of_five()).await });
    timeout(DEADLINE, asks.recv()).await.unwrap().unwrap();
    running.draining.cancel();
    // From here on nobody is let in.
    let until = Instant::now() + DEADLINE;
    while tokio::net::TcpStream::connect(running.address).await.is_ok() {
        assert!(Instant::now() < until, "it still listens");
        tokio::task::yield_now().await;
    }
    assert!(!running.task.is_finished());
    lets_go.send(()).unwrap();
    let answered = timeout(DEADLINE, asked).await.unwrap().unwrap().unwrap();
    assert_eq!(answered.options[0].node_group_id, "whole");
    running.stop().await;
}

#[tokio::test]
async fn what_takes_too_long_leaves_all_options() {
    let (knowledge, mut asks, lets_go) = slow();
    let patience = Patience {
        call: DEADLINE,
        answer: Duration::from_millis(50),
    };
    let running = Running::start_with(knowledge, patience).await;
    let channel = running.client(&running.authority).await.unwrap();
    // Before what it waits for lets it go.
    let answered = timeout(DEADLINE / 2, ask(&channel, gang_of_five())).await.unwrap();
    assert_eq!(answered.unwrap().options.len(), 2);
    assert!(running.count("late"), "{}", running.registry.render());
    asks.recv().await.unwrap();
    lets_go.send(()).unwrap();
    running.stop().await;
}

#[tokio::test]
async fn requests_are_read_one_after_the_other_and_none_waits_for_ever() {
    let (knowledge, mut asks, lets_go) = slow();
    let patience = Patience {
        call: Duration::from_millis(300),
        answer: DEADLINE,
    };
    let running = Running::start_with(knowledge, patience).await;
    let channel = running.client(&running.authority).await.unwrap();
    let first = ask(&channel, gang_of_five());
    let second = ask(&channel, gang_of_five());
    let (first, second) = tokio::join!(first, second);
    for refused in [first, second] {
        assert_eq!(refused.unwrap_err().code(), Code::DeadlineExceeded);
    }
    // The slot is kept until the work has ended, whether or not somebody waits for it.
    asks.recv().await.unwrap();
    assert!(asks.try_recv().is_err(), "the second was read beside the first");
    drop(lets_go);
    let until = Instant::now() + DEADLINE;
    while ask(&channel, gang_of_five()).await.is_err() {
        assert!(Instant::now() < until, "it is stuck");
    }
    running.stop().await;
}
