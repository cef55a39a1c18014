//! `kompass predictor`: pause the predictor, let it go on, and see what it holds and has done.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_lifecycle::predictor::{pause, resume};
use kube::Client;
use serde::Deserialize;

use crate::{page, table};

/// Options of `kompass predictor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kompass predictor pause --reason \"price spike\"    give back all that is held, hold nothing until told otherwise
  kompass predictor resume                          go on
  kompass predictor actions --last 20               what is held, what was done, what it cost and saved

The cluster is that of KUBECONFIG, or --kubeconfig FILE.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    /// Kubeconfig file of the cluster; without it, KUBECONFIG or ~/.kube/config.
    #[arg(long, global = true, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of KOMPASS's own objects.
    #[arg(long, global = true, env = "KOMPASS_NAMESPACE", default_value = names::DEFAULT_NAMESPACE, value_name = "NAME")]
    kompass_namespace: String,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Give back all that is held within seconds, and hold nothing until it is resumed.
    Pause {
        /// Why; shown by the predictor.
        #[arg(long, default_value = "by hand")]
        reason: String,
    },
    /// Let it hold nodes again.
    Resume,
    /// Show what is held, and what was done, last one first.
    Actions {
        /// So many.
        #[arg(long, default_value_t = 20)]
        last: usize,
        /// Ask the predictor at this address, instead of through the API server.
        #[arg(long, env = "KOMPASS_PREDICTOR", value_name = "HOST:PORT")]
        predictor: Option<SocketAddr>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Deserialize)]
struct Answer {
    mode: String,
    acts: bool,
    aim: String,
    why_not: Option<String>,
    actions: Vec<Action>,
}

#[derive(Debug, Deserialize)]
struct Action {
    at_ms: i64,
    target: String,
    what: String,
    why: String,
    cost: Option<f64>,
    saved: Option<f64>,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let namespace = &self.kompass_namespace;
        match &self.command {
            Command::Pause { reason } => {
                pause(&self.client().await?, namespace, reason).await?;
                println!(
                    "The predictor is paused: floors, buffers and pause pods are given back within a minute, the nodes go \
                     when the autoscaler finds them empty. `kompass predictor resume` lets it go on."
                );
            }
            Command::Resume => {
                let was = resume(&self.client().await?, namespace).await?;
                println!(
                    "{}",
                    if was {
                        "The predictor goes on."
                    } else {
                        "The predictor was not paused."
                    }
                );
            }
            Command::Actions { last, predictor, json } => {
                let path = format!("/v1/actions?last={last}");
                let text = match predictor {
                    Some(address) => page::get(*address, &path).await?,
                    None => proxied(&self.client().await?, namespace, &path).await?,
                };
                let answer: Answer = serde_json::from_str(&text)
                    .context("failed to read the predictor's answer: it is of another version")?;
                print!("{}", if *json { text } else { show(&answer) });
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn client(&self) -> anyhow::Result<Client> {
        Ok(kompass_kube::client::connect(self.kubeconfig.as_deref(), "kompass").await?)
    }
}

/// Asks through the API server, which forwards to the predictor's Service.
async fn proxied(client: &Client, namespace: &str, path: &str) -> anyhow::Result<String> {
    let service = "kompass-predictor";
    let url = format!("/api/v1/namespaces/{namespace}/services/{service}:http/proxy{path}");
    let request = http::Request::get(url).body(Vec::new())?;
    within(REQUEST_TIMEOUT, client.request_text(request))
        .await
        .with_context(|| {
            format!("failed to ask the Service {service} in namespace {namespace}; --predictor asks an address")
        })
}

fn show(answer: &Answer) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = match answer.mode.as_str() {
        "act" if answer.acts => writeln!(text, "It acts: {}", answer.aim),
        "act" => writeln!(text, "It holds nothing: {}", answer.aim),
        mode => writeln!(text, "It does not act (--mode {mode})."),
    };
    if let Some(why_not) = answer.why_not.as_ref().filter(|_| answer.mode == "act") {
        let _ = writeln!(text, "Holding nodes does not pay: {why_not}");
    }
    if answer.actions.is_empty() {
        text += "Nothing was done yet.\n";
        return text;
    }
    let money = |amount: Option<f64>| amount.map_or_else(String::new, |amount| format!("{amount:.2}"));
    let rows: Vec<Vec<String>> = answer
        .actions
        .iter()
        .map(|action| {
            let at = jiff::Timestamp::from_millisecond(action.at_ms).unwrap_or_default();
            vec![
                at.strftime("%m-%d %H:%M:%S").to_string(),
                action.target.clone(),
                action.what.clone(),
                money(action.cost),
                money(action.saved),
                action.why.clone(),
            ]
        })
        .collect();
    text + &table::render(&["UTC", "TARGET", "WHAT", "COST", "SAVED", "WHY"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actions_are_a_table_with_their_money() {
        let answer: Answer = serde_json::from_value(json!({
            "mode": "act", "acts": true, "aim": "echo", "pays": true, "why_not": null, "leader": {}, "actions": [
                { "at_ms": 0, "kind": "ended", "target": "spark-a", "what": "the floor has ended", "why": "paused", "cost": 1.5 },
                { "at_ms": 0, "kind": "verdict", "target": "", "what": "2 gangs", "why": "an hour ago", "cost": 0.5, "saved": 4.0 },
            ],
        }))
        .unwrap();
        let text = show(&answer);
        assert!(text.starts_with("It acts: echo\n"), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].contains("spark-a") && lines[2].contains("1.50"), "{text}");
        assert!(lines[3].contains("0.50") && lines[3].contains("4.00"), "{text}");
    }

    #[test]
    fn where_it_does_not_pay_that_is_said() {
        let answer: Answer = serde_json::from_value(json!({
            "mode": "act", "acts": false, "aim": "paused: x", "why_not": "reactive is cheaper", "actions": [],
        }))
        .unwrap();
        let text = show(&answer);
        assert!(
            text.contains("It holds nothing: paused: x") && text.contains("reactive is cheaper"),
            "{text}"
        );
        assert!(text.ends_with("Nothing was done yet.\n"), "{text}");
    }
}
