//! Schedules and a lease, which a real API server keeps.

use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::progress::Progress;
use kompass_local_cluster::prometheus::Server;
use serde_json::{Value, json};

use crate::{SCHEDULE, decided, samples, start, text};

/// As the Spark operator of Kubeflow has it, as far as it matters here.
fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "scheduledsparkapplications.sparkoperator.k8s.io", "annotations": {
            "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/kubebuilder/pull/1111",
        } },
        "spec": {
            "group": "sparkoperator.k8s.io", "scope": "Namespaced",
            "names": {
                "kind": "ScheduledSparkApplication", "plural": "scheduledsparkapplications",
                "singular": "scheduledsparkapplication", "listKind": "ScheduledSparkApplicationList",
            },
            "versions": [{ "name": "v1beta2", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
}

fn cron_job(name: &str, schedule: &str) -> Value {
    let container = json!({ "name": "submit", "image": "spark", "command": ["spark-submit"] });
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": name },
        "spec": { "schedule": schedule, "timeZone": "Etc/UTC", "jobTemplate": { "spec": { "template": { "spec": {
            "restartPolicy": "Never", "containers": [container],
        } } } } },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cron_job_starts_is_held_for_and_one_replica_leads() {
    let options = Options {
        default_scheduler: false,
        progress: Progress::lines(),
        ..Options::default()
    };
    let (cluster, prometheus) = tokio::join!(Cluster::start(options), async {
        Server::with(&samples(), &[]).await.unwrap()
    });
    let cluster = cluster.unwrap();
    let api = cluster.client();
    for (name, schedule) in [("nightly", SCHEDULE), ("weekly", "30 4 * * 1"), ("yearly", "@yearly")] {
        api.create("/apis/batch/v1/namespaces/default/cronjobs", &cron_job(name, schedule))
            .await
            .unwrap();
    }
    let more = format!(
        "--schedules --lease default/predictor --kubeconfig {}",
        cluster.kubeconfig().display()
    );
    let first = start(&prometheus, &format!("{more} --identity first")).await;
    // Without a kind of the operator's.
    let told = decided(&first, |told| {
        told["leader"]["leads"] == true && reason(told).contains("default/nightly")
    })
    .await;
    assert!(
        !reason(&told).contains("weekly") && !reason(&told).contains("yearly"),
        "{told}"
    );
    let by_rule = told["model"]["words"].as_str().unwrap();
    assert!(reason(&told).starts_with(by_rule), "{told}");

    // A second replica decides alike and does not recommend, until the first one has ended.
    api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition())
        .await
        .unwrap();
    let application = json!({
        "apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "ScheduledSparkApplication", "metadata": { "name": "hourly" },
        "spec": { "schedule": "@hourly", "template": { "type": "Scala" } },
    });
    let applications = "/apis/sparkoperator.k8s.io/v1beta2/namespaces/default/scheduledsparkapplications";
    tokio::time::timeout(std::time::Duration::from_mins(1), async {
        // The API server serves a new kind a moment later.
        while api.create(applications, &application).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let second = start(&prometheus, &format!("{more} --identity second")).await;
    let other = decided(&second, |told| reason(told).contains("default/nightly")).await;
    assert_eq!(other["decisions"][0]["nodes"], told["decisions"][0]["nodes"]);
    assert_eq!(other["leader"]["leads"], false, "{other}");
    let (_, metrics) = text(&second, "/metrics").await;
    assert!(
        metrics.contains("\nkompass_predictor_schedules 4\n"),
        "the operator's too: {metrics}"
    );
    assert!(
        metrics.contains("\nkompass_predictor_recommended_nodes NaN\n"),
        "{metrics}"
    );
    first.shutdown().trigger();
    first.run().await.unwrap();
    decided(&second, |told| told["leader"]["leads"] == true).await;
    let lease = api
        .get("/apis/coordination.k8s.io/v1/namespaces/default/leases/predictor")
        .await
        .unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "second", "{lease}");
    second.shutdown().trigger();
    second.run().await.unwrap();
    cluster.stop().await.unwrap();
}

fn reason(told: &Value) -> &str {
    told["decisions"][0]["reason"].as_str().unwrap()
}
