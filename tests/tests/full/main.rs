//! KOMPASS as it is deployed: its chart and its images as real pods on a real node. Jobs are played on KWOK's nodes, so
//! that many of them come and go beside; real Spark is the other target's (`e2e`).
//!
//! Needs root, and the programs and images that `cargo xtask prepare` makes.

#![cfg(test)]
#![allow(clippy::print_stdout, reason = "a long test tells what it has seen")]

mod rollout;
mod script;

use kompass_local_cluster::full;
use kompass_local_cluster::progress::Progress;
use kompass_tests::installed::Installed;

const NAME: &str = "kompass-full";

/// The steps share one cluster, so they are one test.
#[tokio::test(flavor = "multi_thread")]
async fn the_chart_is_upgraded_killed_rolled_back_removed_and_installed_by_the_script() {
    let walked = walk().await;
    let removed = full::down(NAME, &Progress::lines()).await;
    walked.unwrap();
    removed.unwrap();
    assert_eq!(full::leftovers(NAME).unwrap(), Vec::<String>::new());
}

async fn walk() -> anyhow::Result<()> {
    let installed = Installed::up(NAME, &[]).await?;
    rollout::upgrade_and_rollback_with_jobs_running(&installed).await?;
    rollout::each_pod_is_killed_while_jobs_come(&installed).await?;
    script::uninstall_leaves_nothing(&installed).await?;
    script::shadow_changes_nothing_and_counts(&installed).await?;
    script::cluster_installs_and_proves(&installed).await?;
    script::helm_uninstall_leaves_no_webhook(&installed).await
}
