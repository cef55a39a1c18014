//! Queues of a running cluster: the file, the label of a namespace, and what they do to a job.

use k8s_openapi::api::core::v1::Namespace;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::watchdog::Watchdog;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{PATIENCE, all_done, bound, waits_for};

#[tokio::test]
async fn a_queue_at_its_limit_waits_until_the_file_allows_more() {
    let file = std::env::temp_dir().join(format!("kompass-queues-{}.yaml", std::process::id()));
    let allow = |cpus: u32| {
        let text = format!("version: 1\nqueues: [{{ name: etl, limit: {{ cpu: \"{cpus}\" }} }}]\n");
        std::fs::write(&file, text).unwrap();
    };
    allow(4);
    let deployment = Deployment::start(Options {
        nodes: 1,
        node_cpu_milli: 16_000,
        extender_args: vec![format!("--queues={}", file.display())],
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let client = deployment.client();
    let label = json!({ "metadata": { "labels": { "kompass.dev/queue": "etl" } } });
    Api::<Namespace>::all(client.clone())
        .patch(JOBS, &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();

    let first = Application::new("first", 500, 3, 1_000);
    let second = Application::new("second", 500, 1, 1_000);
    // A label names another queue, which is not in the file and therefore nobody's.
    let mut sly = Application::new("sly", 500, 1, 1_000);
    sly.labels
        .push(("kompass.dev/queue".to_owned(), "mine-alone".to_owned()));
    let stays = Behaviour {
        held: true,
        ..Behaviour::default()
    };
    let all = [first.clone(), second.clone(), sly.clone()];
    let drivers = Drivers::start(client.clone(), JOBS, &all, stays);
    first.submit(client, JOBS).await.unwrap();
    bound(&deployment, &first.driver(), PATIENCE).await.unwrap();
    second.submit(client, JOBS).await.unwrap();
    let view = waits_for(&deployment, &second, "queue-limit").await.unwrap();
    let text = view["waiting"]["text"].as_str().unwrap_or_default();
    assert_eq!(view["queue"], "etl");
    assert_eq!(
        text,
        "the queue etl has 3500m cpu of the 4000m that it may have, and this needs 1500m"
    );
    sly.submit(client, JOBS).await.unwrap();
    let view = waits_for(&deployment, &sly, "behind-others").await.unwrap();
    assert_eq!(view["queue"], "etl");

    allow(8);
    bound(&deployment, &second.driver(), PATIENCE).await.unwrap();
    drivers.let_go();
    all_done(&drivers, &all, PATIENCE).await.unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
    std::fs::remove_file(&file).unwrap();
}
