//! Durations, and what processes have used, as the kernel counts it.

use std::time::Duration;

use anyhow::Context as _;
use kompass_local_cluster::process::Daemon;

/// The kernel shows processor time in this unit on every Linux that Rust knows.
const TICKS_PER_SECOND: f64 = 100.0;

/// Median, 99th percentile and worst, in milliseconds.
pub(crate) fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let Some(last) = times.len().checked_sub(1) else {
        return "nothing measured".to_owned();
    };
    let at = |percent: usize| times[last * percent / 100].as_secs_f64() * 1_000.0;
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms, n = {}",
        at(50),
        at(99),
        at(100),
        times.len()
    )
}

/// The median of figures, 0 where there are none.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// Processor seconds of a process so far, its own and the kernel's for it.
pub(crate) fn cpu_seconds(process: i32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).context("failed to read a process's times")?;
    // The name stands in brackets and may hold blanks; the times are the 12th and 13th field behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// Processor seconds of some processes, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpu(Vec<(&'static str, i32, f64)>);

impl Cpu {
    /// Begins to count.
    pub(crate) fn of(processes: &[(&'static str, i32)]) -> anyhow::Result<Self> {
        let begun = processes
            .iter()
            .map(|&(name, process)| Ok((name, process, cpu_seconds(process)?)));
        Ok(Self(begun.collect::<anyhow::Result<_>>()?))
    }

    /// Seconds since then.
    pub(crate) fn used(&self) -> anyhow::Result<Vec<(&'static str, f64)>> {
        self.0
            .iter()
            .map(|&(name, process, begun)| Ok((name, cpu_seconds(process)? - begun)))
            .collect()
    }
}

/// The name and process id of a daemon that runs.
pub(crate) fn process(name: &'static str, daemon: Option<&Daemon>) -> anyhow::Result<(&'static str, i32)> {
    Ok((name, daemon.with_context(|| format!("{name} does not run"))?.pid()))
}

/// The sum of a metric's series whose labels have one of `any`.
pub(crate) fn metric(text: &str, name: &str, any: &[&str]) -> f64 {
    let series = text.lines().filter_map(|line| line.strip_prefix(name));
    let wanted = series
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter(|rest| any.is_empty() || any.iter().any(|label| rest.contains(label)));
    wanted
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Requests to the API server so far that change something.
pub(crate) const WRITES: [&str; 5] = [
    r#"verb="POST""#,
    r#"verb="PUT""#,
    r#"verb="PATCH""#,
    r#"verb="APPLY""#,
    r#"verb="DELETE""#,
];
