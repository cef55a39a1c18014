//! A million gangs on 10,000 nodes: how long the simulation takes. `cargo bench -p kompass-simulation --bench million`;
//! arguments: gangs, nodes, load in percent, and the policies (fifo, easy) if not all.

#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the figures are the result; numbers of executors are small"
)]

use std::time::Instant;

use kompass_planner::{Backfill, Packing};
use kompass_simulation::engine::Queues;
use kompass_simulation::{Estimates, Gang, Settings, simulate};

/// As in the program `kompass`: the planner's objects are many and small.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODE_CPU_MILLI: u64 = 16_000;
const NODE_MEMORY_MIB: u64 = 65_536;
/// Jobs that come again and again.
const JOBS: u64 = 2_000;

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let gangs = numbers.next().unwrap_or(1_000_000);
    let nodes = numbers.next().unwrap_or(10_000);
    let load_percent = numbers.next().unwrap_or(85);
    let only: Vec<String> = std::env::args()
        .filter(|argument| argument == "fifo" || argument == "easy")
        .collect();
    let trace = trace(gangs, nodes, load_percent);
    for (name, backfill) in [("fifo", Backfill::Off), ("easy", Backfill::Easy)] {
        if !only.is_empty() && !only.iter().any(|known| known == name) {
            continue;
        }
        let settings = Settings {
            nodes,
            zones: 3,
            packing: Packing::default(),
            node_cpu_milli: NODE_CPU_MILLI,
            node_memory_mib: NODE_MEMORY_MIB,
            backfill,
            backfill_delay_ms: 3_600_000,
            estimates: Estimates::Learned,
            queues: Queues::One,
        };
        let started = Instant::now();
        let report = simulate(&trace, &settings, |_| ());
        println!(
            "{name}: {} gangs on {nodes} nodes in {:.1?}; mean wait {:.0} s, utilisation {:.1} %, violations {}",
            report.gangs,
            started.elapsed(),
            report.wait_mean_s,
            100.0 * report.utilisation,
            report.violations,
        );
    }
}

/// Gangs that come at random, more by day than by night, of jobs whose sizes and run times span orders of magnitude.
fn trace(gangs: usize, nodes: usize, load_percent: usize) -> Vec<Gang> {
    let mut random = Random(7);
    let jobs: Vec<(u64, f64)> = (0..JOBS)
        .map(|_| {
            let executors = 2_f64.powf(7.0 * random.share() * random.share()).round() as u64;
            // Two minutes to half a day, most of them short.
            (executors, 120.0 * 360_f64.powf(random.share() * random.share()))
        })
        .collect();
    let work: f64 = jobs
        .iter()
        .map(|&(executors, run_s)| (1.0 + 2.0 * executors as f64) * run_s)
        .sum::<f64>()
        / JOBS as f64;
    let capacity = nodes as f64 * NODE_CPU_MILLI as f64 / 1_000.0;
    let mean_gap_s = work / (capacity * load_percent as f64 / 100.0);
    let mut submit_time_s = 0.0_f64;
    (0..gangs)
        .map(|_| {
            let day = submit_time_s / 86_400.0 * std::f64::consts::TAU;
            submit_time_s += -random.share().ln() * mean_gap_s / (1.0 + 0.3 * day.sin());
            let job = random.next() % JOBS;
            let (executors, run_s) = jobs[job as usize];
            Gang {
                submit_time_s,
                run_time_s: run_s * (0.5 + random.share()),
                profile: format!("job-{job}"),
                queue: format!("queue-{}", job % 16),
                namespace: None,
                driver_cpu_milli: 1_000,
                driver_memory_mib: 2_048 + 512 * (job % 3),
                executors,
                executor_cpu_milli: 2_000,
                executor_memory_mib: 6_144 + 1_024 * (job % 4),
            }
        })
        .collect()
}

/// A linear congruential generator (Knuth's MMIX constants): the same trace every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Above 0 and at most 1.
    fn share(&mut self) -> f64 {
        (self.next() + 1) as f64 / (1_u64 << 31) as f64
    }
}
