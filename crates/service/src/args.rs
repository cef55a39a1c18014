//! Groups of command line options that every service flattens into its own.

use std::net::SocketAddr;
use std::time::Duration;

use crate::logging::{self, Format};
use crate::shutdown::Timing;

/// Options of the administrative server.
#[derive(Clone, Debug, clap::Args)]
pub struct Admin {
    /// Address of /livez, /readyz and /metrics; port 0 takes any free one.
    #[arg(long, env = "KOMPASS_ADMIN_LISTEN", default_value = "0.0.0.0:9090")]
    pub admin_listen: SocketAddr,
}

/// Options of the logs.
#[derive(Clone, Debug, clap::Args)]
pub struct Log {
    /// How log lines are written.
    #[arg(long, env = "KOMPASS_LOG_FORMAT", value_enum, default_value_t = Format::Json)]
    pub log_format: Format,
    /// What is logged, like `info` or `info,kompass_kube=debug`.
    #[arg(long, env = "KOMPASS_LOG", default_value = "info")]
    pub log: String,
}

impl Log {
    /// Sets logging up as told.
    pub fn init(&self) -> Result<(), logging::Error> {
        logging::init(self.log_format, &self.log)
    }
}

/// Options of the end of the service.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct End {
    /// Time between losing readiness and closing the port.
    #[arg(long, env = "KOMPASS_SHUTDOWN_GRACE", value_parser = duration, default_value = "3s")]
    pub shutdown_grace: Duration,
    /// Time for everything to end after that.
    #[arg(long, env = "KOMPASS_SHUTDOWN_DRAIN", value_parser = duration, default_value = "20s")]
    pub shutdown_drain: Duration,
}

impl End {
    /// The same for [`crate::shutdown::Shutdown::run`].
    pub fn timing(&self) -> Timing {
        Timing {
            grace: self.shutdown_grace,
            drain: self.shutdown_drain,
        }
    }
}

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read {text:?} as a duration: write a whole number with ms, s, m or h")]
pub struct DurationError {
    text: String,
}

/// Reads `250ms`, `10s`, `3m`, `1h`; a value parser for clap. A bare number is refused: its unit would be a guess.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError { text: text.to_owned() };
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| error())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(error()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct All {
        #[command(flatten)]
        admin: Admin,
        #[command(flatten)]
        log: Log,
        #[command(flatten)]
        end: End,
    }

    #[test]
    fn defaults_hold_together() {
        let all = All::try_parse_from(["test"]).unwrap();
        assert_eq!(all.admin.admin_listen.port(), 9090);
        assert_eq!(all.log.log, "info");
        let timing = all.end.timing();
        assert!(
            timing.grace + timing.drain < Duration::from_secs(30),
            "Kubernetes kills after 30 s"
        );
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, ms) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("3m", 180_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "1.5s",
            "-1s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
            "1 s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
