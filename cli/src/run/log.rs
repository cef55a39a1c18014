//! The driver's log, line by line.

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

/// Prints the log of a container of the driver until it ends. What can't be shown is said and is no failure of the job.
pub(super) async fn follow(pods: Api<Pod>, driver: String, container: Option<String>) {
    let params = LogParams {
        follow: true,
        container,
        ..LogParams::default()
    };
    let shown = async {
        let mut lines = pods.log_stream(&driver, &params).await?.lines();
        while let Some(line) = lines.try_next().await? {
            println!("{}", printable(&line));
        }
        anyhow::Ok(())
    };
    if let Err(error) = shown.await {
        eprintln!("failed to show the driver's log: {error:#}");
    }
}

/// Without control characters, which could play tricks on the terminal.
fn printable(line: &str) -> String {
    line.chars().filter(|&c| c == '\t' || !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_can_play_no_tricks_on_the_terminal() {
        assert_eq!(printable("a\tb\u{1b}[2Jc\r"), "a\tb[2Jc");
    }
}
