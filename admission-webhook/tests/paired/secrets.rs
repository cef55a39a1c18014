//! Secrets of a configuration are read with it, and go no further.

use std::process::Stdio;

use k8s_openapi::api::events::v1::Event;
use kompass_core::names;
use kompass_local_cluster::kompass::Service;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::{ControlPlane, DEADLINE, JOBS, Recording, annotation, eventually, name};
use crate::profiling::create_config_maps;
use crate::program::get;

/// In every secret's value, and nowhere else.
const NEEDLE: &str = "hunter2";

/// Keys as users have them, a broken line, and values where they don't belong.
const PROPERTIES: &str = "
spark.hadoop.fs.s3a.access.key=AKIA-hunter2
spark.hadoop.fs.s3a.secret.key=s3-hunter2
spark.ssl.keyPassword=ssl-hunter2
spark.ssl.keyStorePassword : store-hunter2
spark.authenticate.secret auth-hunter2
spark.hadoop.javax.jdo.option.ConnectionPassword=jdo\\
  -hunter2
spark.kubernetes.driverEnv.TOKEN=env-hunter2
spark.executorEnv.AWS_SECRET_ACCESS_KEY=env-hunter2
spark.driver.extraJavaOptions=-Dpassword=java-hunter2
spark.executor.instances=3
\\u00zz-hunter2
";

/// The program at trace level, all that it logs, and the address of its administrative server.
struct Program {
    child: Child,
    logs: JoinHandle<Vec<String>>,
    admin: String,
}

impl Program {
    async fn start(plane: &ControlPlane) -> Self {
        let groups = Service::groups();
        let user = Service::AdmissionWebhook.user();
        let kubeconfig = plane
            .cluster
            .kubeconfig_for(&user, &groups.each_ref().map(String::as_str))
            .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kompass-admission-webhook"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--url", "https://127.0.0.1", "--shutdown-grace", "0s"])
            .args(["--log", "trace", "--conf-hold", "1s"])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (address, serving) = oneshot::channel();
        let logs = tokio::spawn(async move {
            let (mut all, mut address) = (Vec::new(), Some(address));
            while let Ok(Some(line)) = lines.next_line().await {
                let json: Value = serde_json::from_str(&line).unwrap_or_default();
                if json["message"] == "serving"
                    && let Some(address) = address.take()
                {
                    address.send(json["admin"].as_str().unwrap().to_owned()).unwrap();
                }
                all.push(line);
            }
            all
        });
        let admin = timeout(DEADLINE, serving).await.expect("it serves").unwrap();
        eventually("readiness", || async {
            get(&admin, "/readyz").await.starts_with("HTTP/1.1 200").then_some(())
        })
        .await;
        Self { child, logs, admin }
    }

    /// Ends it; all that it logged.
    async fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().unwrap().to_string();
        let ended = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        assert!(ended.success());
        timeout(DEADLINE, self.child.wait()).await.expect("it ends").unwrap();
        self.logs.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_logs_metrics_annotations_or_events() {
    let plane = ControlPlane::start().await;
    let program = Program::start(&plane).await;
    // One read from its configuration, one too late: the guess makes an event. Both carry a secret in the pod as well.
    let mut drivers = Vec::new();
    for (suffix, in_time) in [("soon", true), ("late", false)] {
        let mut recording = Recording::read("4.1.4", "a-basic-scala", suffix);
        recording.config_maps[0]["data"]["spark.properties"] = json!(PROPERTIES);
        let environment = json!({"name": "TOKEN", "value": "pod-hunter2"});
        let container = &mut recording.driver["spec"]["containers"][0];
        match container["env"].as_array_mut() {
            Some(list) => list.push(environment),
            None => container["env"] = json!([environment]),
        }
        let driver = plane.create(&recording.driver).await;
        if in_time {
            create_config_maps(&plane, &recording).await;
        }
        drivers.push((driver, recording));
    }
    let profile = |name: String| {
        let pods = plane.pods();
        async move {
            let pod = pods.get(&name).await.unwrap();
            annotation(&pod, names::PROFILE_ANNOTATION).map(str::to_owned)
        }
    };
    for (driver, _) in &drivers {
        eventually("a profile", || profile(name(driver).to_owned())).await;
    }
    let events = Api::<Event>::namespaced(plane.user.clone(), JOBS);
    eventually("an event", || async {
        let all = events.list(&ListParams::default()).await.unwrap();
        (!all.items.is_empty()).then_some(())
    })
    .await;
    create_config_maps(&plane, &drivers[1].1).await;
    for (driver, _) in &drivers {
        let text = eventually("a profile from the configuration", || async {
            let text = profile(name(driver).to_owned()).await?;
            text.contains(r#""source":"conf""#).then_some(text)
        })
        .await;
        assert!(text.contains(r#""executors_at_start":3"#), "it was read: {text}");
        let pod = plane.pods().get(name(driver)).await.unwrap();
        let told = serde_json::to_string(&(pod.metadata.annotations, pod.metadata.labels)).unwrap();
        assert!(!told.contains(NEEDLE), "{told}");
    }
    let metrics = get(&program.admin, "/metrics").await;
    assert!(metrics.contains("kompass_profiler_profiles_total"));
    assert!(!metrics.contains(NEEDLE), "{metrics}");
    let all = events.list(&ListParams::default()).await.unwrap();
    let all = serde_json::to_string(&all).unwrap();
    assert!(all.contains("ProfileGuessed") && !all.contains(NEEDLE), "{all}");

    let logs = program.stop().await;
    assert!(
        logs.iter().any(|line| line.contains(r#""level":"TRACE""#)),
        "trace level was on: {:?}",
        logs.first()
    );
    assert!(logs.iter().any(|line| line.contains("profiled")));
    let telling: Vec<_> = logs.iter().filter(|line| line.contains(NEEDLE)).collect();
    assert!(telling.is_empty(), "{telling:?}");
    plane.stop().await;
}
