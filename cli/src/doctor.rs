//! `kompass doctor`: whether an install is well, what each finding means and what to do.

use std::fmt::Write as _;
use std::process::ExitCode;

use kompass_kube::client::Connected;
use kompass_lifecycle::doctor::{self, Finding, State};
use serde_json::json;

use crate::install::Install;

/// Options of `kompass doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kompass doctor                      of the cluster of KUBECONFIG
  kompass doctor --context=prod       of another context of the kubeconfig
  kompass doctor -o json              for programs

Nothing is changed: what is tried (a probe, a Spark driver) is a dry run. What each check means is in
docs/operations/doctor.md.

Exit codes: 0 all is well, perhaps with warnings, 1 something does not work, 2 wrong use.")]
pub(crate) struct Args {
    #[command(flatten)]
    install: Install,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: `{"server", "state", "findings": [{"check", "state", "text", "fix"}]}`.
    Json,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let Connected { client, server, .. } = self.install.connect().await?;
        let snapshot = doctor::read(&client, &self.install.namespace).await?;
        let findings = doctor::findings(&snapshot);
        let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
        match self.output {
            Format::Text => print!(
                "Cluster at {server}\n{}{}",
                show(&findings),
                same(&self.install.options())
            ),
            Format::Json => println!(
                "{:#}",
                json!({ "server": server, "state": worst, "findings": findings })
            ),
        }
        Ok(if worst == State::Fail {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn show(findings: &[Finding]) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    for finding in findings {
        let state = match finding.state {
            State::Ok => "ok  ",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        let _ = writeln!(text, "{state}  {:<18}  {}", finding.check, finding.text);
        if let Some(fix) = &finding.fix {
            let _ = writeln!(text, "      {:<18}  -> {fix}", "");
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let _ = writeln!(
        text,
        "{} checks: {} ok, {} warnings, {} failures",
        findings.len(),
        count(State::Ok),
        count(State::Warn),
        count(State::Fail)
    );
    text
}

/// The fixes name no cluster.
fn same(options: &str) -> String {
    if options.is_empty() {
        return String::new();
    }
    format!("Commands above are for this cluster with{options}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_its_fix_another() {
        let finding = |state, fix: Option<&str>| Finding {
            check: "leases",
            state,
            text: "text".into(),
            fix: fix.map(str::to_owned),
        };
        let text = show(&[finding(State::Ok, None), finding(State::Fail, Some("do this"))]);
        assert_eq!(
            text,
            "ok    leases              text\nFAIL  leases              text\n                          -> do this\n\
             2 checks: 1 ok, 0 warnings, 1 failures\n"
        );
    }
}
