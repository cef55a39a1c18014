//! What a server that is ill, hostile or none at all costs, and what is said about it.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kompass_history::questions::{Question, Topic};
use kompass_prometheus::{Client, Error, Options, history};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const NOTHING: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

/// A server that gives answers one after the other, the last one for ever. An answer is made of the request's form.
struct Stub {
    address: String,
    asked: Arc<AtomicUsize>,
}

type Script = Box<dyn Fn(usize, &str) -> Vec<u8> + Send>;

impl Stub {
    async fn new(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // It ends with the test's runtime.
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let form = request(&mut stream).await;
                let answer = script(count.fetch_add(1, Ordering::Relaxed), &form);
                // The client may have gone already.
                let _ = stream.write_all(&answer).await;
            }
        });
        Self { address, asked }
    }

    fn client(&self, options: Options) -> Client {
        Client::new(self.address.parse().unwrap(), options).unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next());
            if length.is_none_or(|length| body.len() >= length.trim().parse().unwrap()) {
                return text;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return text;
        }
    }
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}

/// A value of 1 for each moment that is asked for.
fn ones(form: &str, warning: &str) -> (usize, String) {
    let of = |name: &str| -> f64 {
        let (_, rest) = form.split_once(&format!("&{name}=")).unwrap();
        rest.split('&').next().unwrap().parse().unwrap()
    };
    let (start, end, step) = (of("start"), of("end"), of("step"));
    let mut values = Vec::new();
    let mut at = start;
    while at <= end {
        values.push(format!("[{at},\"1\"]"));
        at += step;
    }
    let body = format!(
        r#"{{"status":"success","warnings":["{warning}"],"data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{}]}}]}}}}"#,
        values.join(",")
    );
    (values.len(), body)
}

fn question(moments: i64, points: usize) -> Question {
    Question {
        topic: Topic::Total,
        promql: "a{b=\"c&d\"} + 1".to_owned(),
        moments: (60_000, 60_000 * moments),
        step_ms: 60_000,
        points,
    }
}

fn hasty() -> Options {
    Options {
        limit: Duration::from_secs(5),
        attempts: 3,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_server_that_cannot_answer_now_is_asked_again() {
    let stub = Stub::new(Box::new(|index, form| match index {
        0 => http("503 Service Unavailable", "", "no healthy upstream"),
        1 => http("429 Too Many Requests", "retry-after: 0\r\n", "too many requests"),
        _ => http("200 OK", "", &ones(form, "a store did not answer").1),
    }))
    .await;
    let (series, warnings) = stub.client(hasty()).ask(&question(3, 10)).await.unwrap();
    assert_eq!((stub.asked(), series[0].points.len()), (3, 3));
    assert_eq!(warnings, ["a store did not answer"]);
}

#[tokio::test]
async fn in_the_end_it_is_told_what_the_server_said() {
    for (answer, asked, words) in [
        (
            http("503 Service Unavailable", "", "no healthy upstream"),
            3,
            "no healthy upstream; try again later",
        ),
        (http("401 Unauthorized", "", ""), 1, "give a token"),
        (
            http("404 Not Found", "", "404 page not found"),
            1,
            "check --prometheus URL",
        ),
        (
            http("302 Found", "location: https://login/\r\n", ""),
            1,
            "https://login/",
        ),
        (http("200 OK", "", "<html>Welcome</html>"), 1, "is it a Prometheus?"),
        (
            http(
                "200 OK",
                "",
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":"#,
            ),
            1,
            "is it a",
        ),
        // The connection breaks within the body, or before it.
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{".to_vec(),
            3,
            "3 attempts",
        ),
        (Vec::new(), 3, "3 attempts"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), 3, "check --prometheus URL"),
    ] {
        let script = answer.clone();
        let stub = Stub::new(Box::new(move |_, _| script.clone())).await;
        let error = stub
            .client(hasty())
            .ask(&question(3, 10))
            .await
            .unwrap_err()
            .to_string();
        let answer = String::from_utf8_lossy(&answer);
        assert!(error.contains(words), "{answer}: {error}");
        assert_eq!(stub.asked(), asked, "{answer}: {error}");
    }
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address() {
    let stub = Stub::new(Box::new(|_, _| Vec::new())).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    drop(stub);
    let client = Client::new(format!("http://me:secret@{address}").parse().unwrap(), hasty()).unwrap();
    let error = client.ask(&question(3, 10)).await.unwrap_err();
    let words = error.to_string();
    assert!(matches!(error, Error::Connect { attempts: 3, .. }), "{error:?}");
    assert!(
        words.contains(&address.to_string()) && !words.contains("secret"),
        "{words}"
    );
}

#[tokio::test]
async fn too_long_an_answer_is_asked_for_in_halves() {
    // Of more than three moments it is longer than what is taken.
    let options = || Options {
        max_bytes: 200,
        ..hasty()
    };
    let stub = Stub::new(Box::new(|_, form| http("200 OK", "", &ones(form, "").1))).await;
    let (series, _) = stub.client(options()).ask(&question(40, 10)).await.unwrap();
    let mut times: Vec<i64> = series
        .iter()
        .flat_map(|series| &series.points)
        .map(|point| point.at_ms)
        .collect();
    times.sort_unstable();
    assert_eq!(times, (1..=40).map(|minute| minute * 60_000).collect::<Vec<i64>>());

    // A body without a length and without an end is read to the bound and no further.
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let stub = Stub::new(Box::new(move |_, _| {
        let mut answer = endless.clone();
        (0..1_000).for_each(|_| answer.extend_from_slice(b"10\r\n0123456789abcdef\r\n"));
        answer
    }))
    .await;
    let error = stub.client(options()).ask(&question(4, 10)).await.unwrap_err();
    assert!(matches!(error, Error::TooLong(200)), "{error:?}");
    // 4, 2, 1 moments.
    assert_eq!(stub.asked(), 3);

    // A length that is only told is enough.
    let stub = Stub::new(Box::new(|_, _| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec()
    }))
    .await;
    let error = stub.client(options()).ask(&question(1, 10)).await.unwrap_err();
    assert!(matches!(error, Error::TooLong(200)), "{error:?}");
}

#[tokio::test]
async fn a_question_that_is_too_much_is_put_in_halves() {
    let stub = Stub::new(Box::new(|_, form| match ones(form, "") {
        (moments, body) if moments <= 7 => http("200 OK", "", &body),
        _ => http(
            "503 Service Unavailable",
            "",
            r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#,
        ),
    }))
    .await;
    let (series, _) = stub.client(hasty()).ask(&question(100, 50)).await.unwrap();
    let points: usize = series.iter().map(|series| series.points.len()).sum();
    assert_eq!(points, 100);
}

#[tokio::test]
async fn a_server_that_stalls_costs_its_limit() {
    // The kernel takes the connection; nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let options = Options {
        limit: Duration::from_millis(50),
        attempts: 2,
        ..Options::default()
    };
    let client = Client::new(address.parse().unwrap(), options).unwrap();
    let error = client.ask(&question(3, 10)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { attempts: 2, .. }), "{error:?}");

    let options = Options {
        total_limit: Duration::from_millis(50),
        ..Options::default()
    };
    let client = Client::new(address.parse().unwrap(), options).unwrap();
    let error = history(&client, Duration::from_hours(1), 3_600_000).await.unwrap_err();
    assert!(matches!(error, Error::TotalTimeout(_)), "{error:?}");
}

#[tokio::test]
async fn all_answers_together_are_bounded() {
    let stub = Stub::new(Box::new(|_, form| http("200 OK", "", &ones(form, "").1))).await;
    let options = Options {
        max_points: 50,
        ..hasty()
    };
    let error = stub.client(options).ask(&question(100, 10)).await.unwrap_err();
    assert!(matches!(error, Error::TooManyPoints(50)), "{error:?}");
    assert_eq!(stub.asked(), 5);
}

#[tokio::test]
async fn a_history_without_series_says_what_to_look_for() {
    let stub = Stub::new(Box::new(|_, _| http("200 OK", "", NOTHING))).await;
    let client = stub.client(hasty());
    let error = history(&client, Duration::from_hours(24), 86_400_000)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("kube_pod_created") && error.contains("kompass_extender_gangs_ended_total"),
        "{error}"
    );
    // Neither KOMPASS nor kube-state-metrics is there: nothing more was asked.
    assert!(stub.asked() < 30, "{}", stub.asked());
    let error = history(&client, Duration::ZERO, 1).await.unwrap_err();
    assert!(
        matches!(error, Error::History(kompass_history::Error::Window)),
        "{error:?}"
    );
}

#[tokio::test]
async fn who_asks_is_told_and_certificates_are_checked() {
    let stub = Stub::new(Box::new(|_, form| {
        assert!(
            form.contains("authorization: bearer t0ken")
                && form.contains("query=a%7bb%3d%22c%26d%22%7d+%2b+1&start=60.000")
        );
        http("200 OK", "", NOTHING)
    }))
    .await;
    let token = |token: &str| Options {
        token: Some(token.to_owned()),
        ..hasty()
    };
    stub.client(token("T0ken\n")).ask(&question(1, 1)).await.unwrap();
    let address = || stub.address.parse().unwrap();
    assert!(matches!(Client::new(address(), token("a\nb")), Err(Error::Token)));
    for pem in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let options = Options {
            authority_pem: Some(pem.as_bytes().to_vec()),
            ..hasty()
        };
        assert!(matches!(Client::new(address(), options), Err(Error::Tls(_))), "{pem}");
    }
}
