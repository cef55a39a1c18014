//! Where the gangs of a backtest are from: a file, or a Prometheus that is asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use kompass_history::{Dropped, History};
use kompass_local_cluster::progress::Progress;
use kompass_prometheus::{Address, Client, history_with};
use kompass_simulation::capacity::Split;
use kompass_simulation::capacity::protocol::Error;
use kompass_simulation::capacity::split;
use kompass_simulation::trace;

use super::origin::{Origin, Past, minute};
use crate::table;

/// Options that say where the gangs are from.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["trace", "prometheus"]))]
pub(super) struct Options {
    /// The gang trace, a CSV file.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// A Prometheus, or what speaks its API, that has scraped KOMPASS or kube-state-metrics: its gangs instead of a trace's.
    /// Name and password may be in the URL.
    #[arg(long, value_name = "URL")]
    prometheus: Option<Address>,
    /// How much of the past Prometheus is asked for: a whole number with h, d or w.
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "28d", conflicts_with = "trace")]
    since: Duration,
    /// Where that past ends: 2026-11-29T08:00:00Z, or a day, at the beginning of which it ends in UTC; now if not given.
    #[arg(long, value_name = "TIME", value_parser = until, conflicts_with = "trace")]
    until: Option<Timestamp>,
    /// A file with a bearer token for Prometheus.
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    prometheus_token_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that sign Prometheus's, instead of those that this machine trusts.
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    prometheus_ca_file: Option<PathBuf>,
    /// What every series must have, such as 'cluster="blue"', where one Prometheus has those of several clusters.
    #[arg(
        long,
        value_name = "MATCHERS",
        default_value = "",
        hide_default_value = true,
        conflicts_with = "trace"
    )]
    prometheus_selector: String,
    /// Write the gangs that Prometheus told of to this file, as a trace: with --trace the same comes out again.
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    save_trace: Option<PathBuf>,
}

/// The gangs, and where they are from.
#[derive(Debug)]
pub(super) struct Source {
    /// The trace as CSV.
    pub(super) bytes: Vec<u8>,
    /// Its gangs.
    pub(super) gangs: Vec<trace::Gang>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Prometheus {
        server: String,
        selector: String,
        history: Box<History>,
        left_out: Vec<Dropped>,
    },
}

impl Options {
    /// Reads the trace, or asks Prometheus.
    pub(super) async fn read(self, progress: &Progress) -> anyhow::Result<Source> {
        if let Some(address) = self.prometheus.clone() {
            return self.asked(address, progress).await;
        }
        let path = self.trace.context("give --trace FILE or --prometheus URL")?;
        let bytes = std::fs::read(&path).with_context(|| format!("failed to open the trace {}", path.display()))?;
        let gangs = trace::read(&*bytes).with_context(|| format!("failed to use {}", path.display()))?;
        let place = Place::File(path);
        Ok(Source { bytes, gangs, place })
    }

    async fn asked(self, address: Address, progress: &Progress) -> anyhow::Result<Source> {
        let now = Timestamp::now();
        let until = self.until.unwrap_or(now);
        if until > now {
            bail!("failed to look at a past that ends at {until}: that is still to come; give an earlier --until");
        }
        let server = address.to_string();
        let options = kompass_prometheus::Options {
            token: self.prometheus_token_file.as_deref().map(token).transpose()?,
            authority_pem: self.prometheus_ca_file.as_deref().map(certificates).transpose()?,
            selector: self.prometheus_selector.clone(),
            ..kompass_prometheus::Options::default()
        };
        let client = Client::new(address, options)?;
        let until_ms = u64::try_from(until.as_millisecond()).context("failed to look at a past before 1970")?;
        let step = progress.step(format!("{} of history from {server}", table::span(self.since)), None);
        let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
        let history = history_with(&client, self.since, until_ms, |done, all| {
            step.count(count(done), count(all), "questions");
        });
        let history = history.await?;
        step.done();

        let (gangs, left_out) = history.trace();
        if gangs.is_empty() {
            bail!(
                "failed to find jobs at {server}: none that has ended was submitted between {} and {}; look at a longer time \
                 (--since), check --prometheus-selector, or let jobs run first and keep no nodes ready until then",
                minute(history.window.from_ms),
                minute(history.window.to_ms)
            );
        }
        let bytes = trace::write(&gangs)?;
        if let Some(path) = &self.save_trace {
            std::fs::write(path, &bytes).with_context(|| format!("failed to write {}", path.display()))?;
            progress.say(&format!("the gangs are saved in {}", path.display()));
        }
        // Read again, so that a saved trace is known to be one, and gives the same.
        let gangs = trace::read(&*bytes).with_context(|| format!("failed to use what {server} told"))?;
        let place = Place::Prometheus {
            server,
            selector: self.prometheus_selector,
            history: Box::new(history),
            left_out,
        };
        Ok(Source { bytes, gangs, place })
    }
}

impl Source {
    /// For the results: where the gangs are from, and what to know about that.
    pub(super) fn origin(&self, split: Split) -> Origin {
        match &self.place {
            Place::File(path) => Origin::Trace {
                file: path
                    .file_name()
                    .unwrap_or(path.as_os_str())
                    .to_string_lossy()
                    .into_owned(),
            },
            Place::Prometheus {
                server,
                selector,
                history,
                left_out,
            } => Origin::Prometheus(Box::new(Past::new(server, selector, history, left_out, split))),
        }
    }

    /// Times of the trace of which nothing is known, milliseconds.
    pub(super) fn unknown_ms(&self) -> Vec<(i64, i64)> {
        let Place::Prometheus { history, .. } = &self.place else {
            return Vec::new();
        };
        let from_ms = history.window.from_ms;
        let gaps = history.gaps.iter();
        gaps.map(|gap| (gap.from_ms - from_ms, gap.to_ms - from_ms)).collect()
    }

    /// What went wrong, and what can be done about it here.
    pub(super) fn advise(&self, error: Error) -> anyhow::Error {
        let words = match (&self.place, &error) {
            (Place::File(path), _) => format!("failed to backtest {}", path.display()),
            (Place::Prometheus { server, history, .. }, Error::Split(split::Error::TooShort { needed, .. })) => {
                format!(
                    "failed to backtest the history from {server}; {}",
                    longer(history, *needed)
                )
            }
            (Place::Prometheus { server, .. }, _) => format!("failed to backtest the history from {server}"),
        };
        anyhow::Error::new(error).context(words)
    }
}

/// How a history comes to have so many days.
fn longer(history: &History, days: i64) -> String {
    match super::origin::first_known_ms(history) {
        // Some time passes before the first submission, and after the last.
        None => format!("look at a longer time (--since {}d), or keep no nodes ready", days + 2),
        Some(first_ms) => {
            let ready_ms = first_ms.saturating_add((days + 1) * split::DAY_MS);
            format!(
                "nothing was measured before {}: keep no nodes ready until {} and look again then",
                minute(first_ms),
                minute(ready_ms)
            )
        }
    }
}

pub(crate) fn token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read the token {}", path.display()))?;
    match text.trim() {
        "" => bail!("failed to use the token {}: the file is empty", path.display()),
        token => Ok(token.to_owned()),
    }
}

pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read the certificates {}", path.display()))
}

/// `28d`, `12h`, `4w`.
pub(crate) fn since(text: &str) -> Result<Duration, String> {
    let wrong = || "write a whole number above 0 with h, d or w, such as 28d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let hours: u64 = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 7 * 24,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    if number == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(u64::from(number) * hours * 3_600))
}

/// A moment, or the beginning of a day in UTC.
pub(crate) fn until(text: &str) -> Result<Timestamp, String> {
    let wrong = || "write a moment such as 2026-11-29T08:00:00Z or a day such as 2026-11-29".to_owned();
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    // To parse it would drop a time without a zone.
    let day = civil::Date::strptime("%Y-%m-%d", text).map_err(|_| wrong())?;
    let moment = day.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    Ok(moment.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_need_their_unit() {
        for (text, hours) in [("1h", Some(1)), ("28d", Some(672)), ("4w", Some(672))] {
            assert_eq!(since(text).ok(), hours.map(Duration::from_hours), "{text}");
        }
        for text in ["", "d", "28", "0d", "-1d", "1.5d", "28D", "9999999999d", "1µ"] {
            assert!(since(text).is_err(), "{text}");
        }
        for (text, seconds) in [
            ("1970-01-02", Some(86_400)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1970-01-01T00:00:07Z", Some(7)),
            ("yesterday", None),
            ("1970-01-01T00:00:07", None),
        ] {
            assert_eq!(until(text).ok().map(Timestamp::as_second), seconds, "{text}");
        }
    }
}
