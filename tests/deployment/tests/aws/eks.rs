//! A stand-in for the parts of EKS that moto lacks: access entries, add-ons and Pod Identity associations. What else is
//! asked for is handed on to moto, and what a cluster was made with and moto forgets is told of it.
//!
//! ```text
//! Terraform ── /clusters/NAME/{addons,access-entries,pod-identity-associations}… ──▶ here
//!          └── any other path ─────────────────────────────────────────────────────▶ moto
//! ```

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// What a cluster or a node group was made with and moto keeps nothing of.
const FORGOTTEN: [&str; 4] = [
    "accessConfig",
    "upgradePolicy",
    "bootstrapSelfManagedAddons",
    "updateConfig",
];
/// What moto says of a node group that nobody has asked for.
const MADE_UP: &str = "remoteAccess";

/// The stand-in. It ends when it is dropped.
pub(crate) struct Eks {
    state: Arc<State>,
    port: u16,
    task: JoinHandle<()>,
}

struct State {
    client: Client<HttpConnector, Full<Bytes>>,
    moto: String,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By kind, such as `addons`, and then by name.
    objects: BTreeMap<(String, String), Map<String, Value>>,
    /// What clusters and node groups were made with, by path.
    made: BTreeMap<String, Map<String, Value>>,
    /// Numbers of associations.
    last: usize,
}

impl Eks {
    /// Starts it before a moto, whose host and port these are.
    pub(crate) async fn start(moto: &str) -> Self {
        let state = Arc::new(State {
            client: Client::builder(TokioExecutor::new()).build_http(),
            moto: moto.to_owned(),
            kept: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let state = Arc::clone(&served);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    // Who asked may be gone.
                    let _ = connection.await;
                });
            }
        });
        Self { state, port, task }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What is there: kind and name.
    pub(crate) fn objects(&self) -> Vec<(String, String)> {
        self.state.kept().objects.keys().cloned().collect()
    }
}

impl Drop for Eks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path().to_owned();
    let parts: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let sent: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
    if let ["clusters", cluster, kind, rest @ ..] = &parts[..] {
        let own = state.kept().own(&head.method, cluster, kind, rest, &sent);
        if let Some((status, told)) = own {
            return Ok(told_as(status, Bytes::from(told.to_string())));
        }
    }
    let uri = format!("http://{}{}", state.moto, head.uri);
    let mut onward = Request::builder().method(head.method.clone()).uri(uri);
    for (name, value) in &head.headers {
        if name != http::header::HOST && name != http::header::CONTENT_LENGTH {
            onward = onward.header(name, value);
        }
    }
    let told = state.client.request(onward.body(Full::new(body))?).await?;
    let status = told.status();
    let mut body = told.into_body().collect().await?.to_bytes();
    let name_field = match &parts[..] {
        ["clusters"] | ["clusters", _] => Some("name"),
        ["clusters", _, "node-groups"] | ["clusters", _, "node-groups", _] => Some("nodegroupName"),
        _ => None,
    };
    if let Some(name_field) = name_field
        && status.is_success()
    {
        let mut path = path;
        if let (&Method::POST, Some(name)) = (&head.method, sent.get(name_field).and_then(Value::as_str)) {
            path = format!("{path}/{name}");
            state.kept().made.insert(path.clone(), sent.clone());
        }
        body = state.kept().remembered(&path, &body)?;
    }
    Ok(told_as(status.as_u16(), body))
}

fn told_as(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    if status == 404 {
        let kind = http::HeaderValue::from_static("ResourceNotFoundException");
        response.headers_mut().insert("x-amzn-errortype", kind);
    }
    response
}

impl Kept {
    /// The answer to what moto doesn't know; none if it does.
    fn own(
        &mut self,
        method: &Method,
        cluster: &str,
        kind: &str,
        rest: &[&str],
        sent: &Map<String, Value>,
    ) -> Option<(u16, Value)> {
        let (field, name_field) = match kind {
            "addons" => ("addon", "addonName"),
            "access-entries" => ("accessEntry", "principalArn"),
            "pod-identity-associations" => ("association", "associationId"),
            _ => return None,
        };
        let key = |name: &str| (kind.to_owned(), name.to_owned());
        Some(match (method, rest) {
            (&Method::POST, []) => {
                let mut object = sent.clone();
                object.remove("clientRequestToken");
                object.insert("clusterName".to_owned(), cluster.into());
                self.last += 1;
                let arn = format!("arn:aws:eks:eu-central-1:123456789012:{kind}/{cluster}/{}", self.last);
                let fills = match kind {
                    "addons" => json!({ "status": "ACTIVE", "addonVersion": "v1.0.0-eksbuild.1", "addonArn": arn }),
                    "access-entries" => json!({ "type": "STANDARD", "accessEntryArn": arn, "kubernetesGroups": [],
                        "username": sent.get("principalArn") }),
                    _ => json!({ "associationId": format!("a-{}", self.last), "associationArn": arn }),
                };
                for (name, value) in fills.as_object().cloned().unwrap_or_default() {
                    object.entry(name).or_insert(value);
                }
                let name = object.get(name_field).and_then(Value::as_str).unwrap_or_default();
                if self.objects.contains_key(&key(name)) {
                    return Some((409, json!({ "message": "it is there already" })));
                }
                self.objects.insert(key(name), object.clone());
                (200, json!({ field: object }))
            }
            (&Method::POST, [name, "access-policies"]) => {
                let policy = sent.get("policyArn").and_then(Value::as_str).unwrap_or_default();
                let mut association = sent.clone();
                association.insert("associatedAt".to_owned(), json!(1_700_000_000));
                self.objects.insert(
                    ("access-policies".to_owned(), format!("{name} {policy}")),
                    association.clone(),
                );
                (
                    200,
                    json!({ "clusterName": cluster, "principalArn": name, "associatedAccessPolicy": association }),
                )
            }
            (&Method::GET, [name, "access-policies"]) => {
                let start = format!("{name} ");
                let of_it = self.objects.iter();
                let of_it = of_it.filter(|((kind, of), _)| kind == "access-policies" && of.starts_with(&start));
                let told: Vec<&Map<String, Value>> = of_it.map(|(_, association)| association).collect();
                (
                    200,
                    json!({ "clusterName": cluster, "principalArn": name, "associatedAccessPolicies": told }),
                )
            }
            (&Method::DELETE, [name, "access-policies", policy @ ..]) => {
                let named = format!("{name} {}", policy.join("/"));
                self.objects.remove(&("access-policies".to_owned(), named));
                (200, json!({}))
            }
            (&Method::GET, [name]) => match self.objects.get(&key(name)) {
                Some(object) => (200, json!({ field: object })),
                None => (404, json!({ "message": "there is none" })),
            },
            (&Method::DELETE, [name]) => match self.objects.remove(&key(name)) {
                Some(object) => (200, json!({ field: object })),
                None => (404, json!({ "message": "there is none" })),
            },
            _ => (
                501,
                json!({ "message": format!("the stand-in can't do {method} {kind} {rest:?}") }),
            ),
        })
    }

    /// moto's answer about a cluster or a node group, with what it has forgotten.
    fn remembered(&self, path: &str, body: &[u8]) -> anyhow::Result<Bytes> {
        let mut told: Value = serde_json::from_slice(body)?;
        let kind = if told["nodegroup"].is_object() {
            "nodegroup"
        } else {
            "cluster"
        };
        if let (Some(made), Some(object)) = (self.made.get(path), told[kind].as_object_mut()) {
            object.retain(|field, _| field != MADE_UP || made.contains_key(field));
            for field in FORGOTTEN {
                if let Some(value) = made.get(field) {
                    object.insert(field.to_owned(), value.clone());
                }
            }
        }
        Ok(Bytes::from(told.to_string()))
    }
}

fn decoded(part: &str) -> String {
    // Every `%xx` of a path; there is no plus sign in these names.
    let as_query = format!("v={part}");
    let mut pairs = form_urlencoded::parse(as_query.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
