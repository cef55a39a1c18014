//! Reads the history off a Prometheus and says what is in it and how long it took:
//! `cargo run --release -p kompass-prometheus --example history -- http://127.0.0.1:9090 28 $(date +%s)`.

#![expect(clippy::print_stdout, reason = "it is for people")]

use std::time::{Duration, Instant};

use anyhow::Context as _;
use kompass_prometheus::{Client, Options, history_with};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("which Prometheus?")?.parse()?;
    let days: u64 = arguments.next().context("how many days?")?.parse()?;
    let end_s: u64 = arguments
        .next()
        .context("until when, in seconds since 1970?")?
        .parse()?;
    let client = Client::new(address, Options::default())?;
    let begun = Instant::now();
    let since = Duration::from_hours(24 * days);
    let history = history_with(&client, since, end_s * 1_000, |done, all| {
        println!("{:6.1} s: {done} of {all}", begun.elapsed().as_secs_f64());
    })
    .await?;
    println!("{} gangs, {} gaps", history.gangs.len(), history.gaps.len());
    for line in &history.dropped {
        println!("{line}");
    }
    for warning in &history.warnings {
        println!("the server warns: {warning}");
    }
    Ok(())
}
