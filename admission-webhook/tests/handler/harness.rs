//! The webhook with a pretended API server, and recorded reviews.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use json_patch::Patch;
use kompass_admission_webhook::admit::{Mode, Rules};
use kompass_admission_webhook::gangs::Gangs;
use kompass_admission_webhook::handler::{self, Admission, Lookup, LookupError};
use kompass_admission_webhook::metrics;
use kompass_admission_webhook::strangers::Strangers;
use kompass_core::{GangPlan, Pod, Role, names};
use kompass_service::clock::Clock;
use kompass_service::metrics::Registry;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const DRIVER: &str = include_str!("../data/review.driver.4.1.4.json");
pub(crate) const EXECUTOR: &str = include_str!("../data/review.executor.4.1.4.json");
pub(crate) const CONFIG_MAP: &str = include_str!("../data/review.configmap.json");
/// The driver that the recorded executor belongs to.
pub(crate) const DRIVER_UID: &str = "4ef19b0b-aad8-4d8a-8e5b-ab003629c249";

/// How the API server answers when asked for a driver.
#[derive(Clone, Copy)]
pub(crate) enum Server {
    Has(&'static str),
    /// A pod that is no driver.
    Notebook,
    Absent,
    Fails,
    Hangs,
}

struct FakeLookup {
    server: Server,
    asked: Arc<AtomicUsize>,
}

impl Lookup for FakeLookup {
    fn driver<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Pod>, LookupError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let driver = Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..driver()
        };
        match self.server {
            Server::Has(uid) => futures::future::ready(Ok(Some(Pod {
                uid: uid.to_owned(),
                ..driver
            })))
            .boxed(),
            Server::Notebook => futures::future::ready(Ok(Some(Pod {
                uid: "notebook".to_owned(),
                role: None,
                ..driver
            })))
            .boxed(),
            Server::Absent => futures::future::ready(Ok(None)).boxed(),
            Server::Fails => futures::future::ready(Err(LookupError("down".into()))).boxed(),
            Server::Hangs => futures::future::pending().boxed(),
        }
    }
}

pub(crate) fn driver() -> Pod {
    let plan = GangPlan {
        version: kompass_core::plan::VERSION,
        uid: DRIVER_UID.to_owned(),
        driver: "n1".to_owned(),
        executors: vec![("n1".to_owned(), 1), ("n2".to_owned(), 1)],
        planned_ms: 0,
        unclaimed: 0,
    };
    Pod {
        uid: DRIVER_UID.to_owned(),
        namespace: "default".to_owned(),
        name: "pi2-8c3e55a20896011b-driver".to_owned(),
        role: Some(Role::Driver),
        scheduler: names::SCHEDULER.to_owned(),
        plan: Some(plan),
        ..Pod::default()
    }
}

pub(crate) struct Webhook {
    pub(crate) router: Router,
    pub(crate) gangs: Arc<Gangs>,
    pub(crate) asked: Arc<AtomicUsize>,
    pub(crate) registry: Registry,
}

impl Webhook {
    pub(crate) fn new(server: Server) -> Self {
        Self::in_mode(Mode::Enforce, server)
    }

    pub(crate) fn in_mode(mode: Mode, server: Server) -> Self {
        let (gangs, asked, registry) = (Arc::new(Gangs::new()), Arc::new(AtomicUsize::new(0)), Registry::new());
        let admission = Admission {
            rules: Rules::default(),
            mode,
            gangs: Arc::clone(&gangs),
            lookup: Box::new(FakeLookup {
                server,
                asked: Arc::clone(&asked),
            }),
            strangers: Strangers::default(),
            clock: Clock::system(),
            metrics: metrics::Webhook::register(&registry),
        };
        Self {
            router: handler::router(Arc::new(admission)),
            gangs,
            asked,
            registry,
        }
    }

    pub(crate) async fn post(&self, body: impl Into<Body>) -> (StatusCode, Value) {
        let request = Request::post("/mutate")
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.into());
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// The pod of the review as it is after the answer, which must be "allowed".
    pub(crate) async fn admit(&self, review: &str) -> Value {
        let (status, answer) = self.post(review.to_owned()).await;
        let review: Value = serde_json::from_str(review).unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        assert_eq!(answer["response"]["allowed"], true);
        let mut pod = review["request"]["object"].clone();
        if let Some(patch) = answer["response"]["patch"].as_str() {
            assert_eq!(answer["response"]["patchType"], "JSONPatch");
            let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
            let patch: Patch = serde_json::from_slice(&patch).unwrap();
            json_patch::patch(&mut pod, &patch).unwrap();
        }
        pod
    }
}

pub(crate) fn edited(review: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut review = serde_json::from_str(review).unwrap();
    edit(&mut review);
    review.to_string()
}

pub(crate) fn pinned(pod: &Value) -> Vec<&str> {
    let path = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let terms = pod
        .pointer(path)
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    terms
        .iter()
        .map(|term| term["matchFields"][0]["values"][0].as_str().unwrap())
        .collect()
}
