use http::StatusCode;
use serde_json::json;

use super::*;
use crate::fake;

fn object(uid: &str) -> object::Pod {
    serde_json::from_value(
        json!({ "metadata": { "name": uid, "namespace": "ns", "uid": uid, "resourceVersion": "1" } }),
    )
    .unwrap()
}

/// Applied objects by name, deletions with a minus, `*` for the end of a list.
fn words(events: Vec<Event<Box<Pod>>>) -> Vec<String> {
    let word = |event: Event<Box<Pod>>| match event {
        Event::Applied(pod) => pod.uid,
        Event::Deleted(key) => format!("-{key}"),
        Event::Synced => "*".to_owned(),
    };
    let mut words: Vec<String> = events.into_iter().map(word).collect();
    words.sort();
    words
}

#[test]
fn deletions_during_an_outage_are_found_by_the_next_list() {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    let mut told = Told::<object::Pod>::default();
    for (event, expected) in [
        (Init, vec![]),
        (InitApply(object("a")), vec!["a"]),
        (InitApply(object("b")), vec!["b"]),
        (InitDone, vec!["*"]),
        (Apply(object("c")), vec!["c"]),
        (Delete(object("c")), vec!["-c"]),
        // Not told before, or told as deleted already.
        (Delete(object("c")), vec![]),
        // A list that breaks off deletes nothing.
        (Init, vec![]),
        (InitApply(object("b")), vec!["b"]),
        (Init, vec![]),
        (InitApply(object("d")), vec!["d"]),
        (InitApply(object("b")), vec!["b"]),
        (InitDone, vec!["*", "-a"]),
    ] {
        assert_eq!(words(told.translate(event.clone())), expected, "{event:?}");
    }
}

#[test]
fn an_object_that_becomes_unreadable_is_left_out() {
    let mut told = Told::<object::Pod>::default();
    told.translate(watcher::Event::Apply(object("a")));
    let mut bad = object("a");
    bad.spec.overhead = [("cpu".to_owned(), object::Quantity("x".to_owned()))].into();
    assert_eq!(words(told.translate(watcher::Event::Apply(bad))), ["-a"]);
}

#[tokio::test]
async fn a_server_without_streaming_lists_is_listed_by_pages() {
    let client = fake::client_async(|seen| async move {
        if seen.path.contains("sendInitialEvents=true") {
            let text = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList \
                feature gate is enabled";
            return fake::status(StatusCode::UNPROCESSABLE_ENTITY, text);
        }
        if seen.path.contains("watch=true") {
            std::future::pending::<()>().await;
        }
        let (item, next) = if seen.path.contains("continue=") {
            ("b", "")
        } else {
            ("a", "more")
        };
        let item = json!({ "metadata": { "name": item, "uid": item, "resourceVersion": "1" } });
        fake::ok(&json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": { "resourceVersion": "1", "continue": next },
            "items": [item],
        }))
    });
    let (sender, mut receiver) = mpsc::channel(8);
    let api: Api<object::Pod> = Api::all(client);
    let task = tokio::spawn(feed(api, Options::default(), sender, |event| event));
    let mut events = Vec::new();
    while events.last() != Some(&Event::Synced) {
        let next = timeout(Duration::from_secs(10), receiver.recv()).await;
        events.push(next.expect("the list ends within the limit").unwrap());
    }
    assert_eq!(words(events), ["*", "a", "b"]);
    task.abort();
}

#[tokio::test]
async fn a_streaming_list_that_falls_silent_is_given_up() {
    let client = fake::client_async(|seen| async move {
        if seen.path.contains("watch=true") {
            std::future::pending::<()>().await;
        }
        fake::ok(&json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": [],
        }))
    });
    let (sender, mut receiver) = mpsc::channel(8);
    let options = Options {
        streaming_silence: Duration::from_millis(20),
        ..Options::default()
    };
    let task = tokio::spawn(feed(Api::<object::Pod>::all(client), options, sender, |event| event));
    let first = timeout(Duration::from_secs(10), receiver.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first, Event::Synced);
    task.abort();
}
