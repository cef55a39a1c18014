//! Logs: `tracing` to standard error, as text for people or as one JSON object per line for a cluster.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Json,
    /// For a terminal.
    Text,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not in the syntax of `tracing_subscriber::EnvFilter`.
    #[error("failed to parse the log filter {filter:?}")]
    Filter {
        /// The text given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another subscriber is installed already.
    #[error("failed to install the log subscriber")]
    Install(#[source] TryInitError),
}

/// Installs the process-wide subscriber. `filter` is like `info,kompass_kube=debug`.
pub fn init(format: Format, filter: &str) -> Result<(), Error> {
    use std::io::IsTerminal as _;

    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter = capped(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .finish()
            .try_init(),
        Format::Text => builder
            .with_target(false)
            // Files and the logs of pods are read by other things than terminals. NO_COLOR counts as everywhere.
            .with_ansi(
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            )
            .finish()
            .try_init(),
    }
    .map_err(Error::Install)
}

/// The client of the API server quotes the whole body of an answer that it can't read at level "warn", and that of a
/// `ConfigMap` may hold secrets.
fn capped(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(format!("{filter},kube_client::client=error")).map_err(|source| Error::Filter {
        filter: filter.to_owned(),
        source,
    })
}

/// An error with its causes, in one line: `failed to bind: address in use`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause() {
        let error = init(Format::Text, "info,=[").unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(chain(&error), format!("{error}: {cause}"));
    }

    #[test]
    fn bodies_of_answers_are_never_quoted() {
        for asked in ["", "info", "trace", "kube_client=trace", "kube_client::client=trace"] {
            let filter = capped(asked).unwrap().to_string();
            assert!(filter.contains("kube_client::client=error"), "{asked}: {filter}");
            assert!(!filter.contains("kube_client::client=trace"), "{asked}: {filter}");
        }
    }

    #[test]
    fn a_bad_filter_is_named_in_the_error() {
        let error = init(Format::Text, "info,=[").unwrap_err();
        assert!(error.to_string().contains("info,=["), "{error}");
    }
}
