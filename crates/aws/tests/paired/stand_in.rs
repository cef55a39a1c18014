//! A moto of its own for a test, and clients of it.

use std::sync::{Arc, Mutex};

use kompass_aws::rate::Rate;
use kompass_aws::{Autoscaling, Config, Options};
use kompass_floors::{Tag, Write};
use kompass_local_cluster::moto::{Layer, Server};
use kompass_local_cluster::progress::Progress;

pub(crate) const REGION: &str = "eu-central-1";

pub(crate) struct StandIn {
    pub(crate) layer: Layer,
    /// Of all attempts so far.
    pub(crate) outcomes: Arc<Mutex<Vec<&'static str>>>,
    _server: Server,
}

impl StandIn {
    pub(crate) async fn start(seed: u64) -> Self {
        let server = Server::start(&Progress::lines()).await.unwrap();
        Self {
            layer: Layer::start(&server, REGION, seed).await.unwrap(),
            outcomes: Arc::default(),
            _server: server,
        }
    }

    pub(crate) fn options(&self) -> Options {
        let outcomes = Arc::clone(&self.outcomes);
        Options {
            region: Some(REGION.to_owned()),
            endpoint: Some(self.layer.url()),
            key: Some(("test".to_owned(), "test".to_owned())),
            // No test waits for its turn but the one about turns.
            rate: Rate {
                burst: 10_000,
                per_minute: 10_000,
            },
            observer: Some(Arc::new(move |_, outcome| outcomes.lock().unwrap().push(outcome))),
            ..Options::default()
        }
    }

    pub(crate) async fn config(&self) -> Config {
        Config::load(self.options()).await.unwrap()
    }

    pub(crate) async fn client(&self) -> Autoscaling {
        Autoscaling::new(&self.config().await)
    }

    /// How often something was asked for.
    pub(crate) fn asked(&self, operation: &str) -> usize {
        let log = self.layer.log();
        log.iter().filter(|request| request.operation == operation).count()
    }

    pub(crate) fn in_s(&self, seconds: i64) -> i64 {
        (self.layer.now_ms() / 1_000 + seconds) * 1_000
    }
}

pub(crate) fn tag() -> Tag {
    Tag {
        base: 1,
        floor: 4,
        was: 1,
        since_ms: 1_796_040_000_000,
        until_ms: 1_796_043_600_000,
        owner: "predictor-0".to_owned(),
    }
}

/// Every write.
pub(crate) fn writes(start_ms: i64) -> [Write; 5] {
    [
        Write::Tag(tag()),
        Write::Schedule { base: 1, start_ms },
        Write::SetMin(4),
        Write::Unschedule,
        Write::Untag,
    ]
}
