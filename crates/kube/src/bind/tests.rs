use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::fake;

fn request() -> Request {
    Request {
        namespace: "ns".into(),
        name: "driver".into(),
        uid: "u1".into(),
        node: "n1".into(),
        annotations: [("a".to_owned(), "b".to_owned())].into(),
    }
}

fn pod(uid: &str, node: &str, gates: &Value) -> Value {
    json!({
        "metadata": { "name": "driver", "namespace": "ns", "uid": uid },
        "spec": { "nodeName": node, "schedulingGates": gates, "containers": [] },
    })
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

async fn against(refusal: (u16, &'static str), then: Value) -> Result<Outcome, Error> {
    let client = fake::client(move |seen| {
        if seen.method == Method::POST {
            return fake::status(StatusCode::from_u16(refusal.0).unwrap(), refusal.1);
        }
        if then.is_null() {
            fake::status(StatusCode::NOT_FOUND, "not found")
        } else {
            fake::ok(&then)
        }
    });
    bind(&client, &request(), soon()).await
}

#[tokio::test]
async fn the_binding_carries_uid_node_and_annotations() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let client = fake::client(move |request| {
        log.lock().unwrap().push(request);
        fake::ok(&json!({ "kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201 }))
    });
    assert_eq!(bind(&client, &request(), soon()).await.unwrap(), Outcome::Bound);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].path.starts_with("/api/v1/namespaces/ns/pods/driver/binding"),
        "{}",
        seen[0].path
    );
    assert_eq!(seen[0].body["metadata"]["uid"], "u1");
    assert_eq!(seen[0].body["metadata"]["annotations"], json!({ "a": "b" }));
    assert_eq!(seen[0].body["target"]["name"], "n1");
}

#[tokio::test]
async fn each_meaning_of_a_conflict_has_its_answer() {
    let conflict = (409, "Operation cannot be fulfilled");
    let none = json!([]);
    let gates = json!([{ "name": "x" }]);
    assert!(matches!(
        against(conflict, pod("u1", "n1", &none)).await,
        Ok(Outcome::AlreadyBound(_))
    ));
    let elsewhere = against(conflict, pod("u1", "n2", &none)).await;
    assert!(matches!(elsewhere, Err(Error::Elsewhere { node, .. }) if node == "n2"));
    assert!(matches!(
        against(conflict, pod("u2", "n1", &none)).await,
        Err(Error::Replaced)
    ));
    assert!(matches!(
        against(conflict, pod("u1", "", &gates)).await,
        Err(Error::Gated)
    ));
    assert!(matches!(
        against(conflict, pod("u1", "", &none)).await,
        Err(Error::Unbound(_))
    ));
    let large = (409, "etcdserver: request is too large");
    assert!(matches!(
        against(large, pod("u1", "", &none)).await,
        Err(Error::TooLarge)
    ));
    assert!(matches!(against(conflict, Value::Null).await, Err(Error::Gone)));
}

#[tokio::test]
async fn refusals_that_are_no_conflict_are_not_read_again() {
    assert!(matches!(
        against((404, "not found"), Value::Null).await,
        Err(Error::Gone)
    ));
    assert!(matches!(
        against((403, "forbidden"), Value::Null).await,
        Err(Error::Unbound(_))
    ));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_found_by_reading() {
    // The POST never answers; the pod is bound nevertheless.
    let client = fake::client_async(|seen| async move {
        if seen.method == Method::POST {
            std::future::pending::<()>().await;
        }
        fake::ok(&pod("u1", "n1", &json!([])))
    });
    let deadline = Instant::now() + READ_RESERVE + Duration::from_millis(50);
    assert!(matches!(
        bind(&client, &request(), deadline).await,
        Ok(Outcome::AlreadyBound(_))
    ));
}

#[tokio::test]
async fn without_any_answer_the_bind_ends_by_its_deadline() {
    let client = fake::client_async(|_| std::future::pending());
    let deadline = Instant::now() + READ_RESERVE + Duration::from_millis(50);
    assert!(matches!(
        bind(&client, &request(), deadline).await,
        Err(Error::Unknown(_))
    ));
    assert!(Instant::now() < deadline + Duration::from_secs(1));
}
