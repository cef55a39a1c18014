//! Gang traces: a CSV file with one gang a line, sorted by time of submission.

use std::io::Read;

use kompass_core::Resources;
use serde::{Deserialize, Serialize};

/// One gang of a trace.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Gang {
    /// When it is submitted, seconds from the trace's beginning.
    pub submit_time_s: f64,
    /// How long it runs once all of it is placed, seconds.
    pub run_time_s: f64,
    /// Identity of "the same job" as far as the trace tells.
    pub profile: String,
    /// Its queue (tenant).
    pub queue: String,
    /// Its namespace, which matters with rules of queues only; the column may be left out.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The driver's request, thousandths of a CPU.
    pub driver_cpu_milli: u64,
    /// The driver's request, MiB.
    pub driver_memory_mib: u64,
    /// Executors; 0 for a driver alone.
    pub executors: u64,
    /// One executor's request, thousandths of a CPU.
    pub executor_cpu_milli: u64,
    /// One executor's request, MiB.
    pub executor_memory_mib: u64,
}

/// Why a trace was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not such a CSV.
    #[error(
        "failed to read the trace: expected a header and a gang a line, as submit_time_s,run_time_s,profile,queue,..."
    )]
    Malformed(#[source] csv::Error),
    /// A number that can't be.
    #[error("failed to read the trace: line {line}: {what}")]
    Value {
        /// Line of the file, from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nothing in it.
    #[error("failed to read the trace: there is no gang in it")]
    Empty,
    /// It does not fit into a CSV.
    #[error("failed to write the trace")]
    Unwritten(#[source] csv::Error),
}

/// Later than this no time of a trace may be, seconds (over three thousand years).
const LATEST_S: f64 = 1e11;
/// No gang of a trace may have more executors.
const EXECUTORS_MAX: u64 = kompass_core::profile::MAX_EXECUTORS;

/// Reads a trace whole.
pub fn read(source: impl Read) -> Result<Vec<Gang>, Error> {
    let mut gangs: Vec<Gang> = Vec::new();
    let mut reader = csv::Reader::from_reader(source);
    let headers = reader.headers().map_err(Error::Malformed)?.clone();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(Error::Malformed)? {
        let gang: Gang = record.deserialize(Some(&headers)).map_err(Error::Malformed)?;
        let line = record.position().map_or(0, csv::Position::line);
        check(&gang, gangs.last()).map_err(|what| Error::Value { line, what })?;
        gangs.push(gang);
    }
    if gangs.is_empty() {
        return Err(Error::Empty);
    }
    Ok(gangs)
}

/// Writes a trace; what is read from it is the same to the last bit.
pub fn write(gangs: &[Gang]) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for gang in gangs {
        writer.serialize(gang).map_err(Error::Unwritten)?;
    }
    writer
        .into_inner()
        .map_err(|error| Error::Unwritten(error.into_error().into()))
}

fn check(gang: &Gang, before: Option<&Gang>) -> Result<(), &'static str> {
    if !(0.0..LATEST_S).contains(&gang.submit_time_s) {
        return Err("submit_time_s is not a time from the trace's beginning on");
    }
    if !(gang.run_time_s > 0.0 && gang.run_time_s < LATEST_S) {
        return Err("run_time_s is not a time above zero");
    }
    if before.is_some_and(|before| before.submit_time_s > gang.submit_time_s) {
        return Err("submit_time_s is before that of the line above: sort the trace by it");
    }
    if gang.executors > EXECUTORS_MAX {
        return Err("more executors than a gang may have (20,000)");
    }
    Ok(())
}

impl Gang {
    /// When it is submitted, milliseconds.
    pub fn submit_ms(&self) -> i64 {
        milliseconds(self.submit_time_s)
    }

    /// How long it runs, milliseconds, at least one.
    pub fn run_ms(&self) -> i64 {
        milliseconds(self.run_time_s).max(1)
    }

    /// What its driver requests.
    pub(crate) fn driver(&self) -> Resources {
        Resources::from_mib(self.driver_cpu_milli, self.driver_memory_mib)
    }

    /// What each of its executors requests.
    pub(crate) fn executor(&self) -> Resources {
        Resources::from_mib(self.executor_cpu_milli, self.executor_memory_mib)
    }

    /// CPU of all its pods, thousandths.
    pub fn cpu_milli(&self) -> u64 {
        self.driver_cpu_milli
            .saturating_add(self.executor_cpu_milli.saturating_mul(self.executors))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "times were checked to be far within the range"
)]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "submit_time_s,run_time_s,profile,queue,driver_cpu_milli,driver_memory_mib,executors,\
                          executor_cpu_milli,executor_memory_mib\n";

    fn of(lines: &str) -> Result<Vec<Gang>, Error> {
        read(format!("{HEADER}{lines}").as_bytes())
    }

    #[test]
    fn a_line_is_a_gang() {
        let gangs = of("0.5,60,etl,team,1000,2048,3,2000,4096\n7,0.0001,a,b,1,1,0,1,1\n").unwrap();
        assert_eq!(
            (gangs[0].submit_ms(), gangs[0].run_ms(), gangs[0].cpu_milli()),
            (500, 60_000, 7_000)
        );
        assert_eq!(gangs[1].run_ms(), 1);
    }

    fn gang() -> impl Strategy<Value = Gang> {
        let times = (0.0..LATEST_S, f64::MIN_POSITIVE..LATEST_S);
        // Names from outside: commas, quotes and line ends, too.
        let names = (".*", ".*", proptest::option::of(".+"));
        let pods = (any::<[u64; 4]>(), 0..=EXECUTORS_MAX);
        (times, names, pods).prop_map(|(times, (profile, queue, namespace), (requests, executors))| Gang {
            submit_time_s: times.0,
            run_time_s: times.1,
            profile,
            queue,
            namespace,
            driver_cpu_milli: requests[0],
            driver_memory_mib: requests[1],
            executors,
            executor_cpu_milli: requests[2],
            executor_memory_mib: requests[3],
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_again(mut gangs in proptest::collection::vec(gang(), 1..8)) {
            gangs.sort_by(|one, other| one.submit_time_s.total_cmp(&other.submit_time_s));
            prop_assert_eq!(read(&*write(&gangs).unwrap()).unwrap(), gangs);
        }
    }

    #[test]
    fn a_namespace_may_be_given() {
        let text = format!("namespace,{HEADER}team-a,0,1,p,q,1,1,0,1,1\n,0,1,p,q,1,1,0,1,1\n");
        let gangs = read(text.as_bytes()).unwrap();
        assert_eq!((gangs[0].namespace.as_deref(), &*gangs[0].queue), (Some("team-a"), "q"));
        assert_eq!(gangs[1].namespace, None);
        assert_eq!(of("0,1,p,q,1,1,0,1,1\n").unwrap()[0].namespace, None);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_line() {
        for (lines, word) in [
            ("-1,60,p,q,1,1,1,1,1\n", "line 2: submit_time_s"),
            ("nan,60,p,q,1,1,1,1,1\n", "line 2: submit_time_s"),
            ("5,0,p,q,1,1,1,1,1\n", "line 2: run_time_s"),
            ("5,inf,p,q,1,1,1,1,1\n", "line 2: run_time_s"),
            (
                "5,1,p,q,1,1,1,1,1\n4,1,p,q,1,1,1,1,1\n",
                "line 3: submit_time_s is before",
            ),
            ("5,1,p,q,1,1,20001,1,1\n", "line 2: more executors"),
            ("5,1,p,q,1,1,-1,1,1\n", "expected a header"),
            ("5,1,p\n", "expected a header"),
            ("", "no gang"),
        ] {
            let error = of(lines).unwrap_err().to_string();
            assert!(error.contains(word), "{lines:?}: {error}");
        }
    }
}
