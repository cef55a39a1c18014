//! From the profile written to the gate open and to the driver bound, one gang after the other on an idle cluster.

use std::time::{Duration, Instant};

use kompass_tests::deployment::JOBS;
use kompass_tests::spark::Application;

use crate::recorder::Recorder;
use crate::{load, measure, say};

const SAMPLES: usize = 200;
/// The first ones, whose connections are new.
const WARM_UP: usize = 5;

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut deployment = crate::deployment(true).await?;
    let recorder = Recorder::start(&deployment);
    let (mut opened, mut bound, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..SAMPLES + WARM_UP {
        let application = Application::new(format!("app-{number}"), 1_000, 19, 1_000);
        let name = application.driver();
        let submitted = Instant::now();
        application.submit(deployment.client(), JOBS).await?;
        recorder
            .until("the driver to be bound", |recorder| {
                recorder.seen(&name).bound.is_some()
            })
            .await?;
        let seen = recorder.seen(&name);
        let (Some(profiled), Some(open), Some(end)) = (seen.profiled, seen.open, seen.bound) else {
            anyhow::bail!("{name} was bound without a profile: {seen:?}");
        };
        if number >= WARM_UP {
            opened.push(open - profiled);
            bound.push(end - open);
            whole.push(end - submitted);
        }
        let client = deployment.cluster().client();
        load::delete_pod(client, &name).await?;
        recorder
            .until("the driver to be gone", |recorder| recorder.names().is_empty())
            .await?;
        // The next one comes to a quiet cluster.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    say(&format!(
        "profile written to gate open, idle: {}",
        measure::percentiles(opened)
    ));
    say(&format!(
        "gate open to driver bound, idle: {}",
        measure::percentiles(bound)
    ));
    say(&format!(
        "driver submitted to driver bound, idle: {}",
        measure::percentiles(whole)
    ));
    drop(recorder);
    deployment.stop().await
}
