use std::sync::{Arc, Mutex};

use http::{Method, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::fake;

/// One lease with a resourceVersion, as the API server keeps it.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    lease: Option<Value>,
    version: u64,
    /// Answer nothing at all.
    silent: bool,
}

impl Server {
    fn client(&self) -> Client {
        let stored = Arc::clone(&self.0);
        fake::client_async(move |seen| {
            let (answer, silent) = {
                let mut stored = stored.lock().unwrap();
                (stored.answer(&seen), stored.silent)
            };
            async move {
                if silent {
                    std::future::pending::<()>().await;
                }
                answer
            }
        })
    }

    fn holder(&self) -> Option<String> {
        let stored = self.0.lock().unwrap();
        stored.lease.as_ref()?["spec"]["holderIdentity"]
            .as_str()
            .map(str::to_owned)
    }

    fn transitions(&self) -> i64 {
        self.0.lock().unwrap().lease.as_ref().unwrap()["spec"]["leaseTransitions"]
            .as_i64()
            .unwrap()
    }

    fn set_silent(&self, silent: bool) {
        self.0.lock().unwrap().silent = silent;
    }

    /// Somebody else writes over whatever is there.
    fn steal(&self, by: &str) {
        let mut stored = self.0.lock().unwrap();
        stored.version += 1;
        let version = stored.version.to_string();
        let lease = stored.lease.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = by.into();
        lease["metadata"]["resourceVersion"] = version.into();
    }
}

impl Stored {
    fn answer(&mut self, seen: &fake::Seen) -> Response<Body> {
        if self.silent {
            return fake::status(StatusCode::INTERNAL_SERVER_ERROR, "");
        }
        match seen.method {
            Method::GET => match &self.lease {
                Some(lease) => fake::ok(lease),
                None => fake::status(StatusCode::NOT_FOUND, "not found"),
            },
            Method::POST if self.lease.is_some() => fake::status(StatusCode::CONFLICT, "exists"),
            Method::PUT
                if self.lease.as_ref().map(|lease| &lease["metadata"]["resourceVersion"])
                    != Some(&seen.body["metadata"]["resourceVersion"]) =>
            {
                fake::status(StatusCode::CONFLICT, "the object has been modified")
            }
            _ => {
                self.version += 1;
                let mut lease = seen.body.clone();
                lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.lease = Some(lease.clone());
                fake::ok(&lease)
            }
        }
    }
}

fn quick(identity: &str) -> Config {
    Config {
        duration: Duration::from_secs(1),
        renew_deadline: Duration::from_millis(600),
        retry: Duration::from_millis(20),
        ..Config::new("kompass", "kompass-planner", identity)
    }
}

fn start(server: &Server, identity: &str) -> (watch::Receiver<Claim>, CancellationToken, tokio::task::JoinHandle<()>) {
    let end = CancellationToken::new();
    let (claims, task) = run(server.client(), quick(identity), end.clone()).unwrap();
    (claims, end, tokio::spawn(task))
}

async fn until(claims: &mut watch::Receiver<Claim>, what: impl FnMut(&Claim) -> bool) -> Claim {
    let found = tokio::time::timeout(Duration::from_secs(10), claims.wait_for(what)).await;
    found.expect("the claim changes within the limit").unwrap().clone()
}

#[tokio::test]
async fn the_first_creates_the_lease_and_a_second_waits_for_its_end() {
    let server = Server::default();
    let (mut first, end, task) = start(&server, "a");
    let claim = until(&mut first, Claim::is_held).await;
    assert!(!claim.term.unwrap().predecessor, "nobody held it before");

    let (mut second, _end, _task) = start(&server, "b");
    let claim = until(&mut second, |claim| claim.holder.as_deref() == Some("a")).await;
    assert_eq!(claim.check(), Err(NotHeld));

    let before = Instant::now();
    end.cancel();
    task.await.unwrap();
    assert!(!first.borrow().is_held());
    let claim = until(&mut second, Claim::is_held).await;
    assert!(
        before.elapsed() < Duration::from_millis(900),
        "given back, not run out: {:?}",
        before.elapsed()
    );
    assert!(claim.term.unwrap().predecessor);
    assert_eq!(server.transitions(), 1);
}

#[tokio::test]
async fn a_dead_holder_is_waited_for_on_our_own_clock() {
    let server = Server::default();
    let (mut first, _end, task) = start(&server, "a");
    until(&mut first, Claim::is_held).await;
    task.abort();
    let seen_dead = Instant::now();
    let (mut second, _end, _task) = start(&server, "b");
    until(&mut second, Claim::is_held).await;
    assert!(
        seen_dead.elapsed() >= Duration::from_secs(1),
        "{:?}",
        seen_dead.elapsed()
    );
}

#[tokio::test]
async fn a_stolen_lease_is_lost_at_the_next_renewal() {
    let server = Server::default();
    let (mut claims, _end, _task) = start(&server, "a");
    until(&mut claims, Claim::is_held).await;
    server.steal("b");
    until(&mut claims, |claim| !claim.is_held()).await;
    until(&mut claims, |claim| claim.holder.as_deref() == Some("b")).await;
}

#[tokio::test]
async fn a_silent_api_server_ends_the_term_in_time_and_does_not_end_the_candidate() {
    let server = Server::default();
    let (mut claims, _end, _task) = start(&server, "a");
    until(&mut claims, Claim::is_held).await;
    server.set_silent(true);
    let silent = Instant::now();
    until(&mut claims, |claim| claim.term.is_none()).await;
    assert!(
        silent.elapsed() < Duration::from_secs(1),
        "before another may take over: {:?}",
        silent.elapsed()
    );
    server.set_silent(false);
    until(&mut claims, Claim::is_held).await;
    assert_eq!(server.holder().as_deref(), Some("a"));
}

#[tokio::test]
async fn a_lost_answer_is_not_taken_for_anothers_write() {
    let server = Server::default();
    let (mut claims, _end, _task) = start(&server, "a");
    let first = until(&mut claims, Claim::is_held).await;
    // Our own write is stored under a new version, but we never hear of it.
    server.set_silent(true);
    tokio::time::sleep(Duration::from_millis(60)).await;
    server.steal("a");
    server.set_silent(false);
    let renewed = until(&mut claims, |claim| claim.is_held() && claim.term != first.term).await;
    assert_eq!(server.transitions(), 0);
    assert_eq!(renewed.holder.as_deref(), Some("a"));
}

#[tokio::test]
async fn a_restarted_process_of_the_same_name_goes_on_at_once() {
    let server = Server::default();
    let (mut first, _end, task) = start(&server, "a");
    until(&mut first, Claim::is_held).await;
    task.abort();
    let restarted = Instant::now();
    let (mut again, _end, _task) = start(&server, "a");
    let claim = until(&mut again, Claim::is_held).await;
    assert!(restarted.elapsed() < Duration::from_millis(900));
    assert!(
        claim.term.unwrap().predecessor,
        "its own former writes may be on their way"
    );
}

#[tokio::test]
async fn durations_that_contradict_each_other_are_refused() {
    let bad = [
        Config {
            renew_deadline: Duration::from_secs(15),
            ..Config::new("n", "l", "a")
        },
        Config {
            retry: Duration::from_secs(10),
            ..Config::new("n", "l", "a")
        },
        Config::new("n", "l", ""),
    ];
    for config in bad {
        assert!(run(Server::default().client(), config, CancellationToken::new()).is_err());
    }
}

#[test]
fn the_term_ends_by_the_clock_alone() {
    let now = Instant::now();
    let term = |until| Claim {
        holder: None,
        term: Some(Term {
            since: now,
            until,
            predecessor: false,
        }),
    };
    assert!(term(now + Duration::from_mins(1)).check().unwrap() > Duration::from_secs(50));
    assert_eq!(term(now).check(), Err(NotHeld));
    assert!(Claim::unconditional().is_held());
}

/// A server that also has the lease of the schedulers, held by `holder`.
fn with_scheduler(server: &Server, holder: &Arc<Mutex<String>>) -> Client {
    let (stored, holder) = (Arc::clone(&server.0), Arc::clone(holder));
    fake::client_async(move |seen| {
        let answer = if seen.path.ends_with("/kompass-scheduler") {
            let holder = holder.lock().unwrap().clone();
            fake::ok(&json!({ "metadata": { "name": "kompass-scheduler" }, "spec": { "holderIdentity": holder } }))
        } else {
            stored.lock().unwrap().answer(&seen)
        };
        async move { answer }
    })
}

#[tokio::test]
async fn two_that_work_together_lead_together() {
    let (server, scheduler) = (Server::default(), Arc::new(Mutex::new(String::new())));
    let start = |identity: &str| {
        let config = Config {
            beside: Some("kompass-scheduler".to_owned()),
            ..quick(identity)
        };
        let end = CancellationToken::new();
        let (claims, task) = run(with_scheduler(&server, &scheduler), config, end.clone()).unwrap();
        (claims, end, tokio::spawn(task))
    };
    // While no scheduler leads, anybody may.
    let (mut first, _end, _task) = start("pod-a");
    until(&mut first, Claim::is_held).await;

    // One leads in the other pod: the lease is given back, and taken there.
    *scheduler.lock().unwrap() = "pod-b_1234".to_owned();
    let (mut second, _end, _task) = start("pod-b");
    let claim = until(&mut second, Claim::is_held).await;
    assert!(claim.term.unwrap().predecessor);
    let claim = until(&mut first, |claim| claim.holder.as_deref() == Some("pod-b")).await;
    assert!(!claim.is_held());
    assert_eq!(server.holder().as_deref(), Some("pod-b"));

    // And back, once the scheduler beside it leads. Not that of a pod whose name only begins alike.
    *scheduler.lock().unwrap() = "pod-ab_5678".to_owned();
    until(&mut second, |claim| !claim.is_held()).await;
    *scheduler.lock().unwrap() = "pod-a_5678".to_owned();
    until(&mut first, Claim::is_held).await;
    assert_eq!(server.holder().as_deref(), Some("pod-a"));
}
