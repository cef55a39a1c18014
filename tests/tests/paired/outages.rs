//! Parts of KOMPASS that are down, killed or stopped.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kompass_core::names;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use kube::Api;

use crate::{PATIENCE, all_done, bound, run_all, submit_all};

#[tokio::test]
async fn with_the_webhook_down_spark_goes_the_ordinary_way() {
    let mut deployment = Deployment::start(Options::default()).await.unwrap();
    deployment.webhook.as_mut().unwrap().kill_9().await.unwrap();
    deployment.create_foreign("ordinary", 100).await.unwrap();
    bound(&deployment, "ordinary", Duration::from_secs(10)).await.unwrap();
    let applications = [Application::new("spark", 500, 2, 500)];
    let drivers = run_all(&deployment, &applications, Duration::from_mins(1))
        .await
        .unwrap();
    let driver = deployment.pods().get("spark-driver").await.unwrap();
    assert_eq!(
        driver.spec.unwrap().scheduler_name.as_deref(),
        Some("default-scheduler")
    );
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

/// The webhook dies with a review in its hands.
#[tokio::test]
async fn a_driver_whose_review_is_lost_goes_the_ordinary_way() {
    let mut deployment = Deployment::start(Options::default()).await.unwrap();
    let port = webhook_port(&deployment).await;
    let webhook = deployment.webhook.as_mut().unwrap();
    webhook.sigstop().unwrap();
    let lost = Application::new("lost", 500, 2, 500);
    let next = Application::new("next", 500, 2, 500);
    let drivers = Drivers::start(
        deployment.client().clone(),
        JOBS,
        &[lost.clone(), next.clone()],
        Behaviour::default(),
    );
    let (client, application) = (deployment.client().clone(), lost.clone());
    let submitting = tokio::spawn(async move { application.submit(&client, JOBS).await });
    // Shorter than the webhook's time-out of 2 s, after which there would be nothing to lose.
    wait_for(
        "the review to lie unread at the webhook",
        Duration::from_secs(1),
        || async {
            let table = std::fs::read_to_string("/proc/net/tcp").map_err(|error| error.to_string())?;
            if has_unread(&table, port) { Ok(()) } else { Err(table) }
        },
    )
    .await
    .unwrap();
    deployment.webhook.as_mut().unwrap().kill_9().await.unwrap();
    submitting.await.unwrap().unwrap();
    let driver = deployment.pods().get(&lost.driver()).await.unwrap().spec.unwrap();
    assert_eq!(driver.scheduler_name.as_deref(), Some("default-scheduler"));
    assert_eq!(driver.scheduling_gates, None);

    deployment.start_webhook().await.unwrap();
    next.submit(deployment.client(), JOBS).await.unwrap();
    let driver = deployment.pods().get(&next.driver()).await.unwrap().spec.unwrap();
    assert_eq!(driver.scheduler_name.as_deref(), Some(names::SCHEDULER));
    all_done(&drivers, &[lost, next], Duration::from_mins(1)).await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

/// Where the API server calls the webhook.
async fn webhook_port(deployment: &Deployment) -> u16 {
    let registered: Api<MutatingWebhookConfiguration> = Api::all(deployment.client().clone());
    let registered = registered.get("kompass-admission-webhook").await.unwrap();
    let url = registered.webhooks.unwrap().remove(0).client_config.url.unwrap();
    let port = url.split([':', '/']).nth(4).unwrap();
    port.parse().unwrap()
}

/// Whether a connection to this port holds bytes that its process has not read, by the kernel's table of sockets.
fn has_unread(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let unread = fields[4].split(':').nth(1).unwrap();
        // 01: established. One that listens counts connections there.
        fields[3] == "01" && fields[1].ends_with(&format!(":{port:04X}")) && unread != "00000000"
    })
}

#[tokio::test]
async fn with_the_extender_down_only_spark_waits_and_goes_on_when_it_is_back() {
    let mut deployment = Deployment::start(Options::default()).await.unwrap();
    let watchdog = Watchdog::start(deployment.client());
    deployment.extender.as_mut().unwrap().kill_9().await.unwrap();
    let applications: Vec<Application> = (0..3)
        .map(|number| Application::new(format!("spark-{number}"), 500, 2, 500))
        .collect();
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, Behaviour::default());
    for application in &applications {
        application.submit(deployment.client(), JOBS).await.unwrap();
    }
    deployment.create_foreign("ordinary", 100).await.unwrap();
    bound(&deployment, "ordinary", Duration::from_secs(10)).await.unwrap();
    assert!(
        bound(&deployment, "spark-0-driver", Duration::from_secs(5))
            .await
            .is_err()
    );
    deployment.start_extender().await.unwrap();
    all_done(&drivers, &applications, Duration::from_secs(90))
        .await
        .unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

#[tokio::test]
async fn with_the_api_server_gone_for_a_while_everybody_catches_up() {
    let mut deployment = Deployment::start(Options {
        nodes: 3,
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let applications: Vec<Application> = (0..8)
        .map(|number| Application::new(format!("app-{number}"), 1_000, 4, 1_000))
        .collect();
    let behaviour = Behaviour {
        run_for: Duration::from_secs(2),
        ..Behaviour::default()
    };
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, behaviour);
    submit_all(&deployment, &applications).await.unwrap();
    wait_for("a gang to be done", PATIENCE, || async {
        if drivers.done() > 0 { Ok(()) } else { Err(()) }
    })
    .await
    .unwrap();
    deployment.cluster().api_server().restart().await.unwrap();
    all_done(&drivers, &applications, Duration::from_mins(2)).await.unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

/// Kills everything of KOMPASS's, one after the other and again and again, while gangs come and go.
#[tokio::test]
async fn killed_again_and_again_nothing_is_booked_twice_and_all_finish() {
    let mut deployment = Deployment::start(Options {
        nodes: 6,
        ..Options::default()
    })
    .await
    .unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let applications: Vec<Application> = (0..30)
        .map(|number| Application::new(format!("app-{number:02}"), 1_000, 4, 500))
        .collect();
    let behaviour = Behaviour {
        run_for: Duration::from_secs(1),
        ..Behaviour::default()
    };
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, behaviour);
    for application in &applications {
        application.submit(deployment.client(), JOBS).await.unwrap();
    }
    for round in 1..=6_usize {
        let goal = round * 4;
        wait_for("a few more to finish", Duration::from_mins(2), || async {
            let done = drivers.done();
            if done >= goal { Ok(()) } else { Err(done) }
        })
        .await
        .unwrap();
        match round % 3 {
            0 => {
                deployment.webhook.as_mut().unwrap().kill_9().await.unwrap();
                deployment.start_webhook().await.unwrap();
            }
            1 => {
                deployment.extender.as_mut().unwrap().kill_9().await.unwrap();
                deployment.start_extender().await.unwrap();
            }
            _ => {
                deployment.scheduler.as_mut().unwrap().kill_9().await.unwrap();
                deployment.start_scheduler().await.unwrap();
            }
        }
    }
    all_done(&drivers, &applications, Duration::from_mins(3)).await.unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
