use std::process::Stdio;
use std::time::Duration;

use kompass_aws::{Autoscaling, Config, Options};
use kompass_local_cluster::moto::GroupSpec;
use tokio::process::Command;

use crate::stand_in::StandIn;

const TEST: &str = "environment::what_the_environment_says_counts";
/// Tells the test that it is its own child, and what it should find.
const EXPECTED: &str = "KOMPASS_TEST_EXPECTED";

/// An environment is a process's own, so the test runs itself in others.
#[tokio::test]
async fn what_the_environment_says_counts() {
    if let Ok(expected) = std::env::var(EXPECTED) {
        assert_eq!(found().await, expected);
        return;
    }
    let aws = StandIn::start(1).await;
    aws.layer.create_group(&GroupSpec::new("g", 1, 5)).await.unwrap();
    let whole = aws.layer.environment();
    for (left_out, expected) in [
        ("nothing", "g"),
        ("AWS_SECRET_ACCESS_KEY", "credentials"),
        ("AWS_REGION", "region"),
    ] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env_clear()
            .envs(whole.iter().filter(|(name, _)| name != left_out).cloned())
            .env(EXPECTED, expected)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_mins(1), child)
            .await
            .unwrap()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && told.contains("1 passed"),
            "{left_out}: {told}"
        );
    }
    assert_eq!(aws.asked("DescribeAutoScalingGroups"), 1);
}

/// The name of the only group, or what kind of error there is.
async fn found() -> String {
    let config = match Config::load(Options::default()).await {
        Ok(config) => config,
        Err(error) => return error.kind().to_owned(),
    };
    match Autoscaling::new(&config).groups().await {
        Ok(groups) => groups.into_iter().map(|group| group.name).collect(),
        Err(error) => error.kind().to_owned(),
    }
}
