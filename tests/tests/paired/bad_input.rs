//! Configurations and requests that make no sense: a typed refusal or a safe default, never a panic, never a stuck pod,
//! and never a word of the user's configuration anywhere.

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Event;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::http::{post, post_tls};
use kompass_tests::spark::{Application, SECRET, is_bound};
use kompass_tests::wait_for;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::gang;

/// The hold time after which a profile is guessed, and then some.
const LIMIT: Duration = Duration::from_secs(40);
/// What one ConfigMap takes: 1 MiB for all of its data.
const LARGEST: usize = (1 << 20) - 64;

fn applications() -> Vec<Application> {
    let usual = |lines: &str| {
        format!("spark.hadoop.fs.s3a.secret.key={SECRET}\nspark.kubernetes.executor.request.cores=100m\n{lines}")
    };
    let mut long = usual("spark.executor.instances=2\n");
    let mut number = 0;
    while long.len() < LARGEST - 100 {
        writeln!(long, "spark.key.{number}={SECRET}").unwrap();
        number += 1;
    }
    let one_line = format!("spark.executor.memory={}", "9".repeat(LARGEST - 100));
    let texts = [
        ("empty", String::new()),
        ("comment", "# nothing\n! at all\n".to_owned()),
        (
            "garbage",
            format!("\u{1}\u{7f}\\u12 = \\uZZZZ\n\\\n=\n:::\n{SECRET}\n\u{fffd}\\u0000{SECRET}\\"),
        ),
        ("one-long-line", one_line),
        ("one-mebibyte", long),
        ("no-executors-named", usual("")),
        ("zero", usual("spark.executor.instances=0\nspark.executor.cores=0\n")),
        (
            "negative",
            usual("spark.executor.instances=-3\nspark.executor.memory=-1g\nspark.executor.cores=-2\n"),
        ),
        ("billion", usual("spark.executor.instances=1000000000\n")),
        (
            "beyond-64-bits",
            usual("spark.executor.instances=99999999999999999999\nspark.executor.memory=99999999999t\n"),
        ),
        (
            "words",
            usual(&format!(
                "spark.executor.instances={SECRET}\nspark.executor.memory={SECRET}\n"
            )),
        ),
        (
            "bad-factor",
            usual("spark.kubernetes.memoryOverheadFactor=NaN\nspark.executor.memoryOverheadFactor=-1e308\n"),
        ),
        (
            "bad-dynamic",
            usual("spark.dynamicAllocation.enabled=perhaps\nspark.dynamicAllocation.maxExecutors=-1\n"),
        ),
        (
            "bad-selector",
            usual("spark.kubernetes.node.selector.=x\nspark.kubernetes.node.selector.a b/c/d=\n"),
        ),
    ];
    let mut applications: Vec<Application> = texts
        .into_iter()
        .map(|(name, text)| Application {
            properties: Some(text),
            ..Application::new(name, 100, 2, 100)
        })
        .collect();
    for (name, version) in [
        ("future-version", "99.9.9"),
        ("odd-version", "vier.x"),
        ("no-version", ""),
    ] {
        let labels = vec![("spark-version".to_owned(), version.to_owned())];
        applications.push(Application {
            labels,
            ..Application::new(name, 100, 2, 100)
        });
    }
    let templates = [
        ("template-words", format!("{SECRET}: [{SECRET}")),
        ("template-list", "- a\n- b\n".to_owned()),
        (
            "template-types",
            "spec: {containers: 7, tolerations: {a: b}, nodeSelector: [x]}\n".to_owned(),
        ),
        ("template-deep", "[".repeat(LARGEST)),
        ("template-deep-map", "{a: ".repeat(LARGEST / 4)),
        ("template-laughs", laughs()),
    ];
    for (name, text) in templates {
        applications.push(Application {
            template: Some(text),
            ..Application::new(name, 100, 2, 100)
        });
    }
    applications
}

/// Aliases of aliases: a few hundred bytes that would be a billion words.
fn laughs() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let before = level - 1;
        writeln!(
            text,
            "a{level}: &a{level} [{}]",
            vec![format!("*a{before}"); 10].join(", ")
        )
        .unwrap();
    }
    text
}

/// Bound, or waiting for a reason that says what to do.
async fn is_settled(deployment: &Deployment, application: &Application) -> Result<String, String> {
    let driver = deployment
        .pods()
        .get(&application.driver())
        .await
        .map_err(|error| error.to_string())?;
    if is_bound(&driver) {
        return Ok("runs".to_owned());
    }
    let view = gang(deployment, application)
        .await
        .map_err(|error| format!("{error:#}"))?;
    match view["waiting"]["code"].as_str() {
        Some(code) if code != "no-profile" && code != "behind-others" => Ok(code.to_owned()),
        _ => Err(format!("{}: {view}", application.name)),
    }
}

#[tokio::test]
async fn no_configuration_sticks_panics_or_is_seen() {
    let deployment = Deployment::start(Options::default()).await.unwrap();
    let applications = applications();
    for application in &applications {
        application.submit(deployment.client(), JOBS).await.unwrap();
    }
    for application in &applications {
        let end = wait_for(&application.name, LIMIT, || is_settled(&deployment, application))
            .await
            .unwrap();
        println!("{}: {end}", application.name);
    }

    let mut seen = deployment.logs().unwrap();
    assert!(
        !seen.contains("panicked"),
        "{}",
        seen.lines().find(|line| line.contains("panicked")).unwrap()
    );
    for admin in [deployment.extender_admin(), deployment.webhook_admin()] {
        seen += &deployment.get(admin, "/metrics").await.unwrap();
        deployment.get(admin, "/readyz").await.unwrap();
    }
    seen += &deployment
        .get(deployment.extender_address(), "/v1/gangs")
        .await
        .unwrap();
    for pod in deployment.pods().list(&ListParams::default()).await.unwrap() {
        writeln!(seen, "{}: {:?} {:?}", pod.name_any(), pod.annotations(), pod.labels()).unwrap();
    }
    let events: Api<Event> = Api::all(deployment.client().clone());
    for event in events.list(&ListParams::default()).await.unwrap() {
        writeln!(seen, "{event:?}").unwrap();
    }
    assert!(
        seen.contains("negative-driver") && seen.contains("job-profile"),
        "nothing was looked at"
    );
    assert!(
        !seen.contains(SECRET),
        "{}",
        seen.lines().find(|line| line.contains(SECRET)).unwrap()
    );
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn malformed_requests_are_refused_and_nobody_falls_over() {
    let deployment = Deployment::start(Options {
        nodes: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    let bodies: [Vec<u8>; 7] = [
        Vec::new(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"null".to_vec(),
        json!({ "Pod": { "spec": { "containers": 3 } }, "NodeNames": "all" })
            .to_string()
            .into_bytes(),
        [b"{\"Pod\":".repeat(200_000), b"1".to_vec()].concat(),
    ];
    for verb in ["/filter", "/bind", "/preempt"] {
        for body in &bodies {
            let answered = post(deployment.extender_address(), verb, body.clone()).await;
            // One that is too large is refused, and the connection closed, while the rest of it is still being sent: then
            // it depends on who is faster whether the answer is seen.
            if body.len() > 1_000_000 && answered.is_err() {
                continue;
            }
            let (status, answer) = answered.unwrap();
            let is_refusal = status.is_client_error() || answer.contains("\"Error\":\"failed");
            // Preempt is a veto whatever it is asked.
            assert!(is_refusal || verb == "/preempt", "{verb} {status}: {answer}");
            assert!(!status.is_server_error(), "{verb} {status}: {answer}");
        }
    }
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(deployment.client().clone());
    let configuration = configurations.get("kompass-admission-webhook").await.unwrap();
    let authority = configuration.webhooks.unwrap()[0]
        .client_config
        .ca_bundle
        .clone()
        .unwrap()
        .0;
    let pods = [
        json!(null),
        json!(3),
        json!({}),
        json!({ "metadata": { "labels": [] }, "spec": { "containers": {} } }),
    ];
    let reviews = pods.into_iter().map(|pod| {
        let request = json!({ "uid": "u", "operation": "CREATE", "namespace": JOBS, "object": pod });
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request })
    });
    for body in bodies
        .iter()
        .cloned()
        .chain(reviews.map(|review| review.to_string().into_bytes()))
    {
        let sent = post_tls(deployment.webhook_address(), &authority, "/mutate", body).await;
        let (status, answer) = sent.unwrap();
        // Either the review is answered, and the pod let in, or the request is refused; then the API server lets it in.
        let is_let_in = status.is_success() && answer.contains("\"allowed\":true");
        assert!(is_let_in || status.is_client_error(), "{status}: {answer}");
    }
    for admin in [deployment.extender_admin(), deployment.webhook_admin()] {
        deployment.get(admin, "/readyz").await.unwrap();
    }
    assert!(!deployment.logs().unwrap().contains("panicked"));
    deployment.stop().await.unwrap();
}
