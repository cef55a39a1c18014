//! How long the service learns and how much memory it takes: from a Prometheus that is a stub and has what kube-state-metrics
//! shows of so many gangs, in bursts of ten every few minutes of ten hours a day.
//!
//! `cargo bench --workspace --bench learning -- [GANGS [EXECUTORS [DAYS]]]`: 40,000 gangs of 4 executors in 42 days. Memory is
//! that of the service's own process, the largest until it has learned and decided; the stub runs in the bench's. What begins
//! with `--` goes to the service, such as `--mode=act`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kompass_local_cluster::ports::free_address;
use kompass_service::clock::Clock;

const HOUR_S: i64 = 3_600;
/// For all of it.
const LIMIT: Duration = Duration::from_mins(30);

/// A pod as kube-state-metrics shows it.
struct Pod {
    name: String,
    gang: usize,
    is_driver: bool,
    from: i64,
    until: i64,
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        // `cargo test --benches` only wants to know that it starts.
        return;
    }
    let numbers: Vec<i64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let number = |place: usize, usual| numbers.get(place).copied().unwrap_or(usual);
    let (gangs, executors, days) = (number(0, 40_000), number(1, 4), number(2, 42));
    let now = i64::try_from(Clock::system().now_ms() / 1_000).unwrap();
    let pods = Arc::new(pods(gangs, executors, days, now));
    let begin = now - days * 24 * HOUR_S;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let prometheus = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let pods = Arc::clone(&pods);
            std::thread::spawn(move || serve(stream, &pods, begin));
        }
    });
    let admin = free_address().unwrap();
    let started = Instant::now();
    let service = Service(start(prometheus, admin, days));
    let metrics = loop {
        let metrics = ask(admin).unwrap_or_default();
        if value(&metrics, "kompass_predictor_decision_nodes").is_some()
            && value(&metrics, "kompass_predictor_trainings_total{result=\"learned\"}") == Some(1.0)
            && sum(&metrics, "kompass_predictor_decisions_total") > 0.0
        {
            break metrics;
        }
        assert!(started.elapsed() < LIMIT, "it takes too long: {metrics}");
        std::thread::sleep(Duration::from_millis(200));
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.0.id())).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("VmHWM: unknown");
    println!("gangs\texecutors\tdays\tlearning, s\tprocess CPU, s\tmemory after, MiB\tmemory at most");
    println!(
        "{gangs}\t{executors}\t{days}\t{:.1}\t{:.1}\t{:.0}\t{}",
        value(&metrics, "kompass_predictor_training_seconds_sum").unwrap(),
        value(&metrics, "process_cpu_seconds_total").unwrap_or(f64::NAN),
        value(&metrics, "process_resident_memory_bytes").unwrap_or(f64::NAN) / f64::from(1 << 20),
        peak.trim_start_matches("VmHWM:").trim()
    );
}

/// The service's process; it ends with the bench.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(prometheus: SocketAddr, admin: SocketAddr, days: i64) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kompass-predictor"))
        .arg(format!("--prometheus=http://{prometheus}"))
        .arg(format!("--since={days}d"))
        .args([
            "--node-cpu-milli=8000",
            "--node-memory-mib=65536",
            "--listen=127.0.0.1:0",
        ])
        .arg(format!("--admin-listen={admin}"))
        .args(std::env::args().filter(|argument| argument.starts_with("--") && argument != "--bench"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn ask(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn sum(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter(|line| line.starts_with(name));
    values
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// Gangs in bursts of ten, 20 minutes long at most, in order of time.
fn pods(gangs: i64, executors: i64, days: i64, now: i64) -> Vec<Pod> {
    let begin = now - days * 24 * HOUR_S;
    let mut pods = Vec::new();
    for gang in 0..gangs {
        let burst = gang / 10;
        let chance = (gang * 2_654_435_761).rem_euclid(1 << 32);
        // Bursts of a day are in its first ten hours.
        let per_day = (gangs / 10 / days).max(1);
        let (day, of_day) = (burst / per_day, burst % per_day);
        let from = begin + day * 24 * HOUR_S + of_day * 10 * HOUR_S / per_day + (gang % 10) * 20;
        let until = from + 120 + chance % 1_080;
        if until > now {
            break;
        }
        let name = format!("etl-{:03}-{gang:07}", chance % 200);
        for member in 0..=executors {
            pods.push(Pod {
                name: if member == 0 {
                    format!("{name}-driver")
                } else {
                    format!("{name}-exec-{member}")
                },
                gang: usize::try_from(gang).unwrap(),
                is_driver: member == 0,
                from,
                until,
            });
        }
    }
    pods
}

fn serve(stream: TcpStream, pods: &[Pod], begin: i64) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let form: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let answer = answer(&form, pods, begin);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(answer.as_bytes()).ok()
}

/// What a Prometheus would answer to the questions of `kompass-history`.
fn answer(form: &[(String, String)], pods: &[Pod], begin: i64) -> String {
    let of = |name: &str| &*form.iter().find(|(other, _)| other == name).unwrap().1;
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
    let time = |name: &str| of(name).parse::<f64>().unwrap() as i64;
    let (query, start, end, step) = (of("query"), time("start"), time("end"), time("step").max(1));
    let mut result = String::new();
    let mut tell = |labels: &str, (from, until): (i64, i64), value: i64| {
        let first = start + (from - start).max(0).div_euclid(step) * step;
        let first = if first < from { first + step } else { first };
        if first > until.min(end) {
            return;
        }
        let comma = if result.is_empty() { "" } else { "," };
        let _ = write!(result, "{comma}{{\"metric\":{{{labels}}},\"values\":[");
        let mut at = first;
        while at <= until.min(end) {
            let comma = if at == first { "" } else { "," };
            let _ = write!(result, "{comma}[{at},\"{value}\"]");
            at += step;
        }
        result.push_str("]}");
    };
    if query.starts_with("count(") {
        tell("", (begin, end), 1);
    } else if !query.contains("kompass_extender") && !query.contains("init_container") {
        // Pods are found for six hours after they are gone.
        let first = pods.partition_point(|pod| pod.from < start - 8 * HOUR_S);
        let last = pods.partition_point(|pod| pod.from <= end);
        for pod in &pods[first..last] {
            let who = format!("\"namespace\":\"jobs\",\"pod\":\"{0}\",\"uid\":\"{0}\"", pod.name);
            let found = (pod.from, pod.until + 6 * HOUR_S);
            let ended = (pod.until, pod.until + 6 * HOUR_S);
            if query.contains(" unless on ") {
                tell(&who, (pod.until + 600, pod.until + 899), pod.from);
            } else if query.contains("kube_pod_container_resource_requests") {
                tell(&format!("{who},\"resource\":\"cpu\""), found, 2);
                tell(&format!("{who},\"resource\":\"memory\""), found, 8 << 30);
            } else if query.contains("kube_pod_status_phase") {
                tell(&format!("{who},\"phase\":\"Succeeded\""), ended, 1);
            } else if query.contains("kube_pod_completion_time") {
                tell(&who, ended, pod.until);
            } else if query.contains("kube_pod_start_time") {
                tell(&who, found, pod.from + 5);
            } else if query.contains("kube_pod_created") && query.contains("[6m]") {
                tell(&who, (pod.from, pod.until), pod.from);
            } else if query.contains("kube_pod_created") {
                tell(&who, found, pod.from);
            } else if query.contains("kube_pod_labels") {
                let role = if pod.is_driver { "driver" } else { "executor" };
                let key = &pod.name[..7];
                let labels = format!(
                    "\"label_spark_role\":\"{role}\",\"label_spark_app_selector\":\"app-{}\"",
                    pod.gang
                );
                tell(
                    &format!("{who},{labels},\"label_kompass_dev_profile_key\":\"{key}\""),
                    found,
                    1,
                );
            }
        }
    }
    format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{result}]}}}}")
}
