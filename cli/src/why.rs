//! `kompass why JOB`: why a job waits, and until when.

use std::fmt::Write as _;
use std::process::ExitCode;

use kompass_core::{Outcome, WaitReason};

use crate::extender;
use crate::gangs::{self, Finished, Gang};
use crate::table;

/// Options of `kompass why`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kompass why SparkPi\n  kompass why nightly-etl-0123456789abcdef-driver --namespace etl"
)]
pub(crate) struct Args {
    /// Name of the application or of its driver pod.
    job: String,
    /// Namespace of the job; every one when it is not given.
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    extender: extender::Place,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let all = self.extender.connect().await?.gangs().await?;
        let namespace = self.namespace.as_deref();
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let found = gangs::matching(&all.gangs, namespace, &self.job);
        if found.is_empty() {
            let Some(last) = gangs::matching(&all.finished, namespace, &self.job).pop() else {
                let place = namespace.map_or_else(|| "any namespace".to_owned(), |name| format!("namespace {name}"));
                anyhow::bail!(
                    "KOMPASS knows no gang of {} in {place}: it was never submitted, ended long ago, or goes past \
                     KOMPASS. `kompass queue` lists those it knows",
                    self.job
                );
            };
            print!("{}", ended(last, now_ms));
        }
        for gang in found {
            print!("{}", explain(gang, now_ms));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is known of one gang, in sentences.
fn explain(gang: &Gang, now_ms: i64) -> String {
    let age = table::span(table::between(gang.submitted_ms, now_ms));
    let mut text = format!(
        "{}/{} (queue {}, priority {})\n",
        gang.namespace, gang.name, gang.queue, gang.priority
    );
    let executors = match gang.executors_min {
        Some(min) => format!("{} of {min} executors of its minimum", gang.executors_bound),
        None => "an unknown number of executors".to_owned(),
    };
    // Writing to a String can't fail.
    let _ = match &gang.waiting {
        Some(reason) => {
            let _ = writeln!(text, "  waits for {age}, number {} in its queue", reason.position);
            let _ = writeln!(text, "  {}: {}", reason.code.as_str(), reason.text);
            writeln!(text, "  {}", expected(reason, now_ms))
        }
        None => match gang.state.as_str() {
            "running" => writeln!(text, "  does not wait: it runs with {executors}, submitted {age} ago"),
            "driver-bound" => writeln!(
                text,
                "  does not wait: its driver starts, all its room is reserved; {executors} are there"
            ),
            "reserved" => writeln!(
                text,
                "  does not wait: all its room is reserved and its driver is on the way to its node"
            ),
            state => writeln!(text, "  is {state}, submitted {age} ago"),
        },
    };
    if gang.slots_missing > 0 {
        let _ = writeln!(
            text,
            "  {} executors of its minimum have lost their room and get it back first",
            gang.slots_missing
        );
    }
    if gang.executors_unclaimed > 0 {
        let _ = writeln!(
            text,
            "  room for {} more executors was given up: its code has not asked for them",
            gang.executors_unclaimed
        );
    }
    if gang.executors_gated > 0 {
        let _ = writeln!(
            text,
            "  {} executors beyond its minimum wait for unreserved room",
            gang.executors_gated
        );
    }
    text
}

/// What is known of a gang that has ended.
fn ended(gang: &Finished, now_ms: i64) -> String {
    let outcome = match gang.outcome {
        Outcome::Succeeded => "has succeeded",
        Outcome::Failed => "has failed",
        Outcome::Deleted => "was deleted",
    };
    let ago = table::span(table::between(gang.ended_ms, now_ms));
    let waited = table::span(table::between(0, gang.wait_ms));
    let ran = gang.run_ms.map_or_else(String::new, |run_ms| {
        format!(", ran {}", table::span(table::between(0, run_ms)))
    });
    format!(
        "{}/{}\n  {outcome} {ago} ago; it waited {waited}{ran}\n",
        gang.namespace, gang.name
    )
}

/// When a gang is expected to start, and what such words were worth so far.
fn expected(reason: &WaitReason, now_ms: i64) -> String {
    let from_now = |moment_ms: i64| table::span(table::between(now_ms, moment_ms));
    let (p50, p90) = match (reason.start_p50, reason.start_p90) {
        (Some(p50), Some(p90)) => (p50, p90),
        (Some(p50), None) => return format!("expected to start in {}", from_now(p50)),
        (None, _) => return "when it starts can't be told yet".to_owned(),
    };
    let mut text = format!(
        "expected to start in {} (in {} at worst in 9 of 10 cases)",
        from_now(p50),
        from_now(p90)
    );
    if reason.starts_told > 0 {
        let _ = write!(
            text,
            "; of the last {} gangs that were told so, {} started by the first time and {} by the second",
            reason.starts_told, reason.starts_held_p50, reason.starts_held_p90
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use kompass_core::wait::WaitCode;

    use super::*;

    #[test]
    fn a_waiting_gang_is_told_why_and_until_when() {
        let mut gang = Gang {
            namespace: "etl".into(),
            name: "x-driver".into(),
            queue: "default".into(),
            state: "waiting".into(),
            submitted_ms: 10_000,
            waiting: Some(WaitReason {
                code: WaitCode::BehindOthers,
                text: "2 gangs are ahead".into(),
                position: 3,
                start_p50: Some(100_000),
                start_p90: Some(160_000),
                starts_told: 40,
                starts_held_p50: 22,
                starts_held_p90: 37,
            }),
            ..Gang::default()
        };
        assert_eq!(
            explain(&gang, 40_000),
            "etl/x-driver (queue default, priority 0)\n  waits for 30.0 s, number 3 in its queue\n  behind-others: 2 gangs are ahead\n  \
             expected to start in 1 min 0 s (in 2 min 0 s at worst in 9 of 10 cases); of the last 40 gangs that were told \
             so, 22 started by the first time and 37 by the second\n"
        );
        if let Some(reason) = &mut gang.waiting {
            (reason.start_p50, reason.start_p90) = (None, None);
        }
        assert!(explain(&gang, 40_000).contains("can't be told yet"));
    }

    #[test]
    fn a_gang_that_has_ended_is_told_of_too() {
        let gang = Finished {
            namespace: "etl".into(),
            name: "x-driver".into(),
            ended_ms: 100_000,
            wait_ms: 4_000,
            run_ms: Some(61_000),
            outcome: Outcome::Failed,
        };
        assert_eq!(
            ended(&gang, 130_000),
            "etl/x-driver\n  has failed 30.0 s ago; it waited 4.0 s, ran 1 min 1 s\n"
        );
    }

    #[test]
    fn every_other_state_is_explained_too() {
        for (state, words) in [
            ("running", "it runs with 1 of 2"),
            ("driver-bound", "its driver starts"),
            ("reserved", "on the way"),
            ("odd", "is odd"),
        ] {
            let gang = Gang {
                state: state.into(),
                executors_min: Some(2),
                executors_bound: 1,
                ..Gang::default()
            };
            assert!(explain(&gang, 0).contains(words), "{state}: {}", explain(&gang, 0));
        }
    }
}
