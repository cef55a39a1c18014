//! A client over a function instead of a network, for tests.

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A request as the fake server sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: http::Method,
    /// Path and query.
    pub(crate) path: String,
    /// `Null` where there is no body.
    pub(crate) body: Value,
}

/// A client whose requests are answered by `answer`.
pub(crate) fn client(answer: impl Fn(Seen) -> Response<Body> + Clone + Send + Sync + 'static) -> Client {
    client_async(move |seen| {
        let response = answer(seen);
        async move { response }
    })
}

/// The same with answers that take their time.
pub(crate) fn client_async<F>(answer: impl Fn(Seen) -> F + Clone + Send + Sync + 'static) -> Client
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = if body.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(&body).unwrap()
            };
            let seen = Seen {
                method: parts.method,
                path: parts.uri.to_string(),
                body,
            };
            Ok::<_, Infallible>(answer(seen).await)
        }
    });
    Client::new(service, "default")
}

/// An answer with an object.
pub(crate) fn ok(object: &Value) -> Response<Body> {
    Response::new(Body::from(serde_json::to_vec(object).unwrap()))
}

/// A refusal as the API server words it.
pub(crate) fn status(code: StatusCode, message: &str) -> Response<Body> {
    let reason = match code.as_u16() {
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    let mut response = ok(&status);
    *response.status_mut() = code;
    response
}
