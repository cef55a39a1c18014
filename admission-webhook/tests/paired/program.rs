//! The program itself: options, logs, readiness, the end.

use std::process::Stdio;

use kompass_local_cluster::kompass::Service;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{ControlPlane, DEADLINE, Recording, eventually, gates};

pub(crate) async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn it_becomes_ready_serves_and_ends_in_order_on_sigterm() {
    let plane = ControlPlane::start().await;
    let groups = Service::groups();
    let kubeconfig = plane
        .cluster
        .kubeconfig_for(
            &Service::AdmissionWebhook.user(),
            &groups.each_ref().map(String::as_str),
        )
        .unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_kompass-admission-webhook"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--url",
            "https://127.0.0.1",
        ])
        .args(["--shutdown-grace", "0s"])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let admin = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if line["message"] == "serving" {
                return line["admin"].as_str().unwrap().to_owned();
            }
        }
        panic!("it ended");
    };
    let admin = timeout(DEADLINE, admin).await.expect("it serves");
    let logs = tokio::spawn(async move { while let Ok(Some(_line)) = lines.next_line().await {} });
    eventually("readiness", || async {
        get(&admin, "/readyz").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    let driver = plane
        .create(&Recording::read("4.1.4", "a-basic-scala", "x").driver)
        .await;
    assert_eq!(gates(&driver).len(), 1);
    let metrics = get(&admin, "/metrics").await;
    for name in [
        "kompass_webhook_reviews_total",
        "kompass_profiler_waiting_drivers",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    let pid = program.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    assert!(
        timeout(DEADLINE, program.wait())
            .await
            .expect("it ends")
            .unwrap()
            .success()
    );
    logs.await.unwrap();
    plane.stop().await;
}

#[tokio::test]
async fn bad_options_end_it_with_a_reason() {
    let output = Command::new(env!("CARGO_BIN_EXE_kompass-admission-webhook"))
        .args(["--url", "http://127.0.0.1"])
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("write https://host"), "{text}");
}
