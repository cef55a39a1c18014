//! `kompass queue`: who waits, in which order, and why.

use std::process::ExitCode;

use crate::extender;
use crate::gangs::Gang;
use crate::table;

/// Options of `kompass queue`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kompass queue\n  kompass queue --queue etl --output json\n  kompass queue --kubeconfig ~/.kube/config"
)]
pub(crate) struct Args {
    #[command(flatten)]
    extender: extender::Place,
    /// Only gangs of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only gangs of this namespace.
    #[arg(long, short)]
    namespace: Option<String>,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// As the extender sends it, filtered and ordered.
    Json,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut gangs = self.extender.connect().await?.gangs().await?.gangs;
        gangs.retain(|gang| {
            self.queue.as_ref().is_none_or(|queue| gang.queue == *queue)
                && self
                    .namespace
                    .as_ref()
                    .is_none_or(|namespace| gang.namespace == *namespace)
        });
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&gangs)?),
            Output::Table if gangs.is_empty() => println!("no gangs: nothing waits and nothing runs"),
            Output::Table => print!("{}", render(&gangs, jiff::Timestamp::now().as_millisecond())),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn render(gangs: &[Gang], now_ms: i64) -> String {
    let rows: Vec<Vec<String>> = gangs
        .iter()
        .map(|gang| {
            let (position, reason) = match &gang.waiting {
                Some(reason) => (
                    reason.position.to_string(),
                    format!("{}: {}", reason.code.as_str(), reason.text),
                ),
                None => ("-".to_owned(), String::new()),
            };
            let min = gang.executors_min.map_or_else(|| "?".to_owned(), |min| min.to_string());
            vec![
                gang.queue.clone(),
                position,
                gang.namespace.clone(),
                gang.name.clone(),
                gang.state.clone(),
                format!("{}/{min}", gang.executors_bound),
                table::span(table::between(gang.submitted_ms, now_ms)),
                reason,
            ]
        })
        .collect();
    table::render(
        &[
            "QUEUE",
            "POS",
            "NAMESPACE",
            "DRIVER",
            "STATE",
            "EXECUTORS",
            "AGE",
            "WHY",
        ],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use kompass_core::WaitReason;
    use kompass_core::wait::WaitCode;

    use super::*;

    #[test]
    fn a_waiting_gang_shows_its_place_and_its_reason() {
        let waiting = WaitReason {
            code: WaitCode::NoRoom,
            text: "3 of 9 executors fit".to_owned(),
            position: 1,
            start_p50: None,
            start_p90: None,
            starts_told: 0,
            starts_held_p50: 0,
            starts_held_p90: 0,
        };
        let gangs = [
            Gang {
                queue: "q".into(),
                namespace: "a".into(),
                name: "x-driver".into(),
                state: "running".into(),
                executors_min: Some(2),
                executors_bound: 2,
                submitted_ms: 1_000,
                ..Gang::default()
            },
            Gang {
                queue: "q".into(),
                namespace: "a".into(),
                name: "y-driver".into(),
                state: "waiting".into(),
                waiting: Some(waiting),
                submitted_ms: 60_000,
                ..Gang::default()
            },
        ];
        assert_eq!(
            render(&gangs, 61_000),
            "QUEUE  POS  NAMESPACE  DRIVER    STATE    EXECUTORS  AGE        WHY\n\
             q      -    a          x-driver  running  2/2        1 min 0 s\n\
             q      1    a          y-driver  waiting  0/?        1.0 s      no-room: 3 of 9 executors fit\n"
        );
    }
}
