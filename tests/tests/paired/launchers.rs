//! Executors that no driver pod owns, of Spark's other allocators and of client mode, and those that are other ones than
//! the configuration said.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use kompass_core::names;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Asked, Behaviour, Drivers};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::{PATIENCE, all_done, bound, plan, run_all, waits_for};

/// Creates a pod as the API server gets it.
async fn create(deployment: &Deployment, pod: Value) -> kube::Result<()> {
    let pod = serde_json::from_value(pod).map_err(kube::Error::SerdeError)?;
    deployment.pods().create(&PostParams::default(), &pod).await.map(drop)
}

/// An executor that nobody owns.
fn executor(application: &Application, id: u64) -> Value {
    let mut pod = application.executor_pod("nobody", id);
    pod["metadata"]["ownerReferences"] = json!([]);
    pod
}

/// An executor of one of the runs of a notebook.
fn executor_of_run(notebook: &Application, run: u64, id: u64) -> Value {
    let mut pod = executor(notebook, id);
    pod["metadata"]["name"] = json!(format!("{}-{run}-exec-{id}", notebook.name));
    pod["metadata"]["labels"]["spark-app-selector"] = json!(format!("spark-{}-{run}", notebook.name));
    pod
}

/// All executors of a run go at once.
async fn end_run(deployment: &Deployment, notebook: &Application, run: u64, executors: u64) {
    for id in 1..=executors {
        let name = format!("{}-{run}-exec-{id}", notebook.name);
        let at_once = DeleteParams::default().grace_period(0);
        deployment.pods().delete(&name, &at_once).await.unwrap();
    }
}

/// Waits until the extender says for how many executors of client mode it sets room aside.
async fn aside(deployment: &Deployment, executors: u64) {
    let line = format!("kompass_extender_client_slots {executors}");
    wait_for(&line, PATIENCE, || async {
        let page = deployment.get(deployment.extender_admin(), "/metrics").await;
        let page = page.map_err(|error| format!("{error:#}"))?;
        let known = page
            .lines()
            .find(|line| line.starts_with("kompass_extender_client_slots "));
        if known == Some(&line) {
            Ok(())
        } else {
            Err(format!("{known:?}"))
        }
    })
    .await
    .unwrap();
}

/// What Spark makes instead of executors where `spark.kubernetes.allocation.pods.allocator` is `statefulset`.
fn stateful_set(application: &Application, driver_uid: &str) -> Value {
    let pod = application.executor_pod(driver_uid, 0);
    let mut labels = pod["metadata"]["labels"].clone();
    labels["spark-exec-id"] = json!("EXECID");
    let mut spec = pod["spec"].clone();
    spec["restartPolicy"] = json!("Always");
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {
            "name": format!("spark-s-{}-0", application.name),
            "ownerReferences": pod["metadata"]["ownerReferences"],
        },
        "spec": {
            "replicas": application.executors, "serviceName": "none", "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    })
}

#[tokio::test]
async fn executors_of_a_stateful_set_take_the_slots_of_their_gang() {
    let deployment = Deployment::start(Options {
        nodes: 2,
        node_cpu_milli: 4_000,
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let application = Application::new("allocated", 500, 3, 2_000);
    let stays = Behaviour {
        held: true,
        ..Behaviour::default()
    };
    let client = deployment.client();
    let drivers = Drivers::start(client.clone(), JOBS, std::slice::from_ref(&application), stays);
    application.submit(client, JOBS).await.unwrap();
    let driver = bound(&deployment, &application.driver(), PATIENCE).await.unwrap();
    let uid = driver.uid().unwrap();
    let planned = plan(&driver).unwrap();
    let sets = Api::<StatefulSet>::namespaced(client.clone(), JOBS);
    let set = serde_json::from_value(stateful_set(&application, &uid)).unwrap();
    sets.create(&PostParams::default(), &set).await.unwrap();
    let mut taken = BTreeMap::new();
    for id in 0..3 {
        let name = format!("spark-s-allocated-0-{id}");
        wait_for("the executor to be made", PATIENCE, || async {
            deployment.pods().get(&name).await.map_err(|error| error.to_string())
        })
        .await
        .unwrap();
        let pod = bound(&deployment, &name, PATIENCE).await.unwrap();
        assert_eq!(pod.labels().get(names::GANG_LABEL), Some(&uid));
        *taken.entry(pod.spec.unwrap().node_name.unwrap()).or_insert(0_u64) += 1;
    }
    assert_eq!(
        taken,
        planned.executors.into_iter().collect(),
        "each on a slot of the plan"
    );
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn executors_of_client_mode_run_and_leave_reserved_room_alone() {
    let deployment = Deployment::start(Options {
        nodes: 1,
        node_cpu_milli: 8_000,
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let gang = Application::new("gang", 500, 3, 2_000);
    let stays = Behaviour {
        held: true,
        ..Behaviour::default()
    };
    let client = deployment.client();
    let drivers = Drivers::start(client.clone(), JOBS, std::slice::from_ref(&gang), stays);
    gang.submit(client, JOBS).await.unwrap();
    bound(&deployment, &gang.driver(), PATIENCE).await.unwrap();

    // One CPU and a half are not reserved: room for one of the notebook's executors.
    let notebook = Application::new("notebook", 500, 0, 1_000);
    let mut names = Vec::new();
    for id in 1..=2 {
        let pod = executor(&notebook, id);
        names.push(pod["metadata"]["name"].as_str().unwrap().to_owned());
        create(&deployment, pod).await.unwrap();
    }
    let first = bound(&deployment, &names[0], PATIENCE).await.unwrap();
    assert_eq!(first.spec.unwrap().scheduler_name.as_deref(), Some(names::SCHEDULER));
    // The gang's executors get what was reserved for them, though the second of the notebook's has waited longer.
    drivers.let_go();
    all_done(&drivers, &[gang], PATIENCE).await.unwrap();
    bound(&deployment, &names[1], PATIENCE).await.unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn the_second_run_of_a_notebook_has_room_for_all_its_executors_while_a_gang_waits() {
    let deployment = Deployment::start(Options {
        nodes: 1,
        node_cpu_milli: 8_000,
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let notebook = Application::new("notebook", 500, 0, 1_000);
    let run = async |run: u64, ids: RangeInclusive<u64>| {
        for id in ids {
            let pod = executor_of_run(&notebook, run, id);
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            create(&deployment, pod).await.unwrap();
            bound(&deployment, &name, PATIENCE).await.unwrap();
        }
    };
    run(1, 1..=4).await;
    end_run(&deployment, &notebook, 1, 4).await;
    run(2, 1..=1).await;
    aside(&deployment, 3).await;

    // Seven CPUs are free, and the gang needs six and a half.
    let gang = Application::new("gang", 500, 3, 2_000);
    let client = deployment.client();
    let drivers = Drivers::start(client.clone(), JOBS, std::slice::from_ref(&gang), Behaviour::default());
    gang.submit(client, JOBS).await.unwrap();
    waits_for(&deployment, &gang, "no-room").await.unwrap();
    run(2, 2..=4).await;
    aside(&deployment, 0).await;
    end_run(&deployment, &notebook, 2, 4).await;
    all_done(&drivers, &[gang], PATIENCE).await.unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn slots_that_the_code_never_asks_for_are_for_the_next_gang() {
    let deployment = Deployment::start(Options {
        nodes: 1,
        node_cpu_milli: 8_000,
        extender_args: vec!["--unclaimed-after=3s".to_owned()],
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let mut fewer = Application::new("fewer", 500, 3, 2_000);
    fewer.asks = Some(Asked {
        executors: 1,
        cpu_milli: 2_000,
    });
    let next = Application::new("next", 500, 2, 1_500);
    let stays = Behaviour {
        run_for: Duration::from_hours(1),
        ..Behaviour::default()
    };
    let client = deployment.client();
    let drivers = Drivers::start(client.clone(), JOBS, &[fewer.clone(), next.clone()], stays);
    fewer.submit(client, JOBS).await.unwrap();
    let driver = bound(&deployment, &fewer.driver(), PATIENCE).await.unwrap();
    assert_eq!(plan(&driver).unwrap().executor_count(), 3);
    next.submit(client, JOBS).await.unwrap();
    bound(&deployment, "next-exec-2", PATIENCE).await.unwrap();
    let driver = deployment.pods().get(&fewer.driver()).await.unwrap();
    let planned = plan(&driver).unwrap();
    assert_eq!(
        (planned.executor_count(), planned.unclaimed),
        (1, 2),
        "what it has is kept"
    );
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn more_and_larger_executors_than_configured_are_not_blocked() {
    let deployment = Deployment::start(Options {
        nodes: 2,
        node_cpu_milli: 4_000,
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start_for_any_number(deployment.client());
    let mut application = Application::new("larger", 500, 2, 1_000);
    application.asks = Some(Asked {
        executors: 4,
        cpu_milli: 1_700,
    });
    let applications = [application];
    let drivers = run_all(&deployment, &applications, PATIENCE).await.unwrap();
    assert_eq!(drivers.timelines()["larger"].created, 4, "none was refused or replaced");
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
