use std::sync::{Arc, Mutex};

use http::{Response, StatusCode};
use kube::client::Body;
use serde_json::json;
use tokio::time::timeout;

use super::source::Change as Raw;
use super::*;
use crate::fake::{self, Seen};
use crate::protobuf::encode::{annotated, frame, list, pod, status};

fn object(uid: &str) -> object::Pod {
    serde_json::from_value(
        json!({ "metadata": { "name": uid, "namespace": "ns", "uid": uid, "resourceVersion": "1" } }),
    )
    .unwrap()
}

fn word(event: Event<Box<Pod>>) -> String {
    match event {
        Event::Applied(pod) => pod.uid,
        Event::Deleted(key) => format!("-{key}"),
        Event::Synced => "*".to_owned(),
    }
}

/// Applied objects by name, deletions with a minus, `*` for the end of a list.
fn words(events: Vec<Event<Box<Pod>>>) -> Vec<String> {
    let mut words: Vec<String> = events.into_iter().map(word).collect();
    words.sort();
    words
}

#[test]
fn deletions_during_an_outage_are_found_by_the_next_list() {
    use Raw::{Applied, Deleted, ListBegins, ListEnds, Listed};
    let mut told = Told::<object::Pod>::default();
    for (change, expected) in [
        (ListBegins, vec![]),
        (Listed(object("a")), vec!["a"]),
        (Listed(object("b")), vec!["b"]),
        (ListEnds, vec!["*"]),
        (Applied(object("c")), vec!["c"]),
        (Deleted(object("c").metadata), vec!["-c"]),
        // Not told before, or told as deleted already.
        (Deleted(object("c").metadata), vec![]),
        // A list that breaks off deletes nothing.
        (ListBegins, vec![]),
        (Listed(object("b")), vec!["b"]),
        (ListBegins, vec![]),
        (Listed(object("d")), vec!["d"]),
        (Listed(object("b")), vec!["b"]),
        (ListEnds, vec!["*", "-a"]),
    ] {
        assert_eq!(words(told.translate(change.clone())), expected, "{change:?}");
    }
}

#[test]
fn an_object_that_becomes_unreadable_is_left_out() {
    let mut told = Told::<object::Pod>::default();
    told.translate(Raw::Applied(object("a")));
    let mut bad = object("a");
    bad.spec.overhead = [("cpu".to_owned(), object::Quantity("x".to_owned()))].into();
    assert_eq!(words(told.translate(Raw::Applied(bad))), ["-a"]);
}

/// What the feed tells while the API server's answers are these, one after the other, until `count` events are there;
/// and what it has asked for.
async fn told(answers: Vec<Response<Body>>, count: usize) -> (Vec<String>, Vec<String>) {
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let client = fake::client_async(move |request: Seen| {
        seen.lock().unwrap().push(request.path);
        let answer = answers.lock().unwrap().next();
        async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    });
    let (sender, mut receiver) = mpsc::channel(8);
    let task = tokio::spawn(feed::<object::Pod, _>(client, Selection::default(), sender, |event| {
        event
    }));
    let mut words = Vec::new();
    while words.len() < count {
        let next = timeout(Duration::from_secs(10), receiver.recv()).await;
        words.push(word(next.expect("the next event comes within the limit").unwrap()));
    }
    task.abort();
    let asked = asked.lock().unwrap().clone();
    (words, asked)
}

fn bytes(bytes: Vec<u8>) -> Response<Body> {
    Response::new(Body::from(bytes))
}

#[tokio::test]
async fn a_watch_goes_on_from_the_last_version_that_was_seen() {
    let first = [frame("MODIFIED", &pod("a", "8")), frame("BOOKMARK", &pod("", "20"))].concat();
    let (words, asked) = told(
        vec![
            bytes(list("5", &[pod("a", "1"), pod("b", "2")])),
            bytes(first),
            bytes(frame("DELETED", &pod("b", "21"))),
            // Not answered: the connection breaks.
            fake::status(StatusCode::SERVICE_UNAVAILABLE, "later"),
            bytes(frame("ADDED", &pod("c", "22"))),
        ],
        6,
    )
    .await;
    assert_eq!(words, ["a", "b", "*", "a", "-b", "c"]);
    let versions: Vec<_> = asked
        .iter()
        .map(|path| path.split("resourceVersion=").nth(1).unwrap_or("list"))
        .collect();
    assert_eq!(versions[..5], ["list", "5", "20", "21", "21"]);
    assert!(
        asked[1].contains("watch=true") && asked[1].contains("allowWatchBookmarks=true"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_version_that_is_too_old_is_listed_anew() {
    for gone in [
        bytes(frame("ERROR", &status(410, "too old resource version"))),
        fake::status(StatusCode::GONE, "too old resource version"),
    ] {
        let (words, _) = told(
            vec![
                bytes(list("5", &[pod("a", "1")])),
                gone,
                bytes(list("9", &[pod("b", "6")])),
            ],
            5,
        )
        .await;
        assert_eq!(words, ["a", "*", "b", "-a", "*"]);
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_is_asked_for_again_and_deletes_nothing() {
    let mut broken = list("5", &[pod("a", "1"), pod("b", "2")]);
    broken.truncate(broken.len() - 12);
    let (words, _) = told(
        vec![bytes(broken), bytes(list("6", &[pod("b", "2"), pod("a", "1")]))],
        4,
    )
    .await;
    assert_eq!(words, ["a", "b", "a", "*"]);
}

#[tokio::test]
async fn a_text_that_is_not_utf8_costs_one_more_request_and_no_pod() {
    let odd = annotated("odd", "2", &[("note", b"\xff\xfe")]);
    let (words, asked) = told(
        vec![
            bytes(list("5", &[pod("a", "1"), odd.clone()])),
            fake::ok(
                &json!({ "metadata": { "name": "odd", "namespace": "ns", "uid": "odd", "resourceVersion": "2" } }),
            ),
            bytes([frame("MODIFIED", &odd), frame("ADDED", &pod("b", "3"))].concat()),
            fake::status(StatusCode::NOT_FOUND, "pods \"odd\" not found"),
        ],
        5,
    )
    .await;
    assert_eq!(words, ["a", "odd", "*", "-odd", "b"]);
    assert_eq!(asked[1], "/api/v1/namespaces/ns/pods/odd");
}

#[tokio::test]
async fn an_answer_that_is_newer_than_its_event_does_not_move_the_watch() {
    let odd = annotated("odd", "6", &[("note", b"\xff\xfe")]);
    let newer = json!({ "metadata": { "name": "odd", "namespace": "ns", "uid": "odd", "resourceVersion": "9" } });
    let (words, asked) = told(
        vec![
            bytes(list("5", &[])),
            bytes(frame("MODIFIED", &odd)),
            fake::ok(&newer),
            bytes(frame("ADDED", &pod("b", "7"))),
        ],
        3,
    )
    .await;
    assert_eq!(words, ["*", "odd", "b"]);
    assert!(
        asked[3].contains("watch=true") && asked[3].ends_with("resourceVersion=6"),
        "{asked:?}"
    );
}
