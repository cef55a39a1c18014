//! The one method of the service, over gRPC.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use http::{Request, Response};
use prost::bytes::Buf as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

use crate::answer::{self, Outcome};
use crate::bounds;
use crate::knowledge::Knowledge;
use crate::messages::{BEST_OPTIONS, BestOptionsRequest, BestOptionsResponse};
use crate::metrics::Metrics;
use crate::question::Error;

/// Longest request. The autoscaler names all pods that wait, for each option; this is what its own library would read.
const LONGEST: usize = 128 << 20;
/// Requests that are read and decided on at a time: each may take [`LONGEST`] of memory, and an autoscaler asks one after the
/// other.
const AT_A_TIME: usize = 1;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A whole call, with the time until its request is there and until others before it are answered.
    pub call: Duration,
    /// From the whole request to the answer; what takes longer is answered with all options.
    pub answer: Duration,
}

impl Default for Patience {
    /// The autoscaler waits 5 s.
    fn default() -> Self {
        Self {
            call: Duration::from_secs(4),
            answer: Duration::from_secs(1),
        }
    }
}

type Messages = ProstCodec<BestOptionsResponse, BestOptionsRequest>;

/// Reads a request once it is known that it does not hold too much.
#[derive(Debug, Default)]
struct Bounded;

impl Codec for Bounded {
    type Encode = BestOptionsResponse;
    type Decode = BestOptionsRequest;
    type Encoder = <Messages as Codec>::Encoder;
    type Decoder = BoundedDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        Messages::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(Messages::default().decoder())
    }
}

#[derive(Debug)]
struct BoundedDecoder(<Messages as Codec>::Decoder);

impl Decoder for BoundedDecoder {
    type Item = BestOptionsRequest;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        bounds::check(bytes.chunk()).map_err(|error| Status::out_of_range(error.to_string()))?;
        self.0.decode(bytes)
    }
}

#[derive(Debug)]
struct Service {
    knowledge: Arc<dyn Knowledge>,
    metrics: Metrics,
    slots: Arc<Semaphore>,
    patience: Patience,
}

/// The routes.
pub(crate) fn router(knowledge: Arc<dyn Knowledge>, metrics: Metrics, patience: Patience) -> Router {
    let service = Arc::new(Service {
        knowledge,
        metrics,
        slots: Arc::new(Semaphore::new(AT_A_TIME)),
        patience,
    });
    Router::new().route(BEST_OPTIONS, post(call).with_state(service))
}

async fn call(State(service): State<Arc<Service>>, request: Request<Body>) -> Response<Body> {
    let answered = timeout(service.patience.call, Arc::clone(&service).call(request)).await;
    let response = answered.unwrap_or_else(|_elapsed| {
        let text = "failed to answer in time: the request did not come, or others were before it";
        Status::deadline_exceeded(text).into_http()
    });
    // The status of what goes well comes after the message.
    if response.headers().contains_key("grpc-status") {
        service.metrics.calls.with([Metrics::REFUSED]).inc();
        let status = Status::from_header_map(response.headers());
        tracing::warn!(?status, "refused a call of cluster-autoscaler");
    }
    response.map(Body::new)
}

impl Service {
    async fn call(self: Arc<Self>, request: Request<Body>) -> Response<tonic::body::Body> {
        // Before anything of the body is read.
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            return Status::unavailable("failed to answer: shutting down").into_http();
        };
        let slot = Arc::new(slot);
        let decide = tower::service_fn(move |request: tonic::Request<BestOptionsRequest>| {
            let (service, slot) = (Arc::clone(&self), Arc::clone(&slot));
            async move { Ok(tonic::Response::new(service.decide(request.into_inner(), slot).await)) }
        });
        let mut grpc = Grpc::new(Bounded).max_decoding_message_size(LONGEST);
        grpc.unary(decide, request).await
    }

    async fn decide(&self, request: BestOptionsRequest, slot: Arc<OwnedSemaphorePermit>) -> BestOptionsResponse {
        let timer = self.metrics.seconds.start_timer();
        let (ids, options) = (answer::ids(&request), request.options.len());
        let limit = self.patience.answer;
        let (knowledge, until) = (Arc::clone(&self.knowledge), Instant::now() + limit);
        let work = tokio::task::spawn_blocking(move || {
            let answered = answer::answer(&request, &knowledge.snapshot(), &|| Instant::now() >= until);
            drop(request);
            drop(slot);
            answered
        });
        let late = || (answer::all(&ids), Outcome::Unread(Error::Late));
        let (response, outcome) = match timeout(limit, work).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => {
                tracing::error!(%error, "failed to decide on a request");
                late()
            }
            Err(_elapsed) => late(),
        };
        drop(timer);
        self.metrics.calls.with([outcome.name()]).inc();
        match &outcome {
            Outcome::Chosen => {
                let chosen = response.options.first();
                let (group, why) = chosen.map_or(("", ""), |option| (&option.node_group_id, &option.debug));
                tracing::info!(options, group, why, "chose the node group that grows");
            }
            Outcome::Undecided(why) => tracing::debug!(options, ?why, "left all options"),
            Outcome::Unread(error) => {
                let why = std::error::Error::source(error).map(ToString::to_string);
                tracing::warn!(options, %error, why, "left all options");
            }
        }
        response
    }
}
