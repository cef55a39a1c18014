//! The webhook's work on one review: body in, body out. The goal is a 99th percentile below 1 ms.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use kompass_admission_webhook::admit::{self, Gang, Rules};
use kompass_admission_webhook::review;
use kompass_core::{GangPlan, names};
use kompass_spark::{DriverPod, profile_key, role};

const DRIVER: &[u8] = include_bytes!("../tests/data/review.driver.4.1.4.json");
const EXECUTOR: &[u8] = include_bytes!("../tests/data/review.executor.4.1.4.json");

fn gang() -> Gang {
    let plan = GangPlan {
        version: kompass_core::plan::VERSION,
        uid: "4ef19b0b-aad8-4d8a-8e5b-ab003629c249".into(),
        driver: "n0".into(),
        executors: (0..200)
            .map(|n| (format!("ip-10-0-{n}-1.eu-central-1.compute.internal"), 5))
            .collect(),
        planned_ms: 0,
        unclaimed: 0,
    };
    let bound = (0..100)
        .map(|n| (format!("ip-10-0-{n}-1.eu-central-1.compute.internal"), 5))
        .collect();
    let uid = plan.uid.clone();
    Gang {
        uid,
        scheduler: names::SCHEDULER.into(),
        plan: Some(Arc::new(plan)),
        bound,
        unbound: 20,
    }
}

fn driver_review() -> Vec<u8> {
    let request = review::parse(black_box(DRIVER)).expect("the recording is a review");
    let pod = request.pod.expect("of a pod");
    let key = DriverPod::from_json(&pod).map(|driver| profile_key::of(&request.namespace, &driver));
    review::answer(
        &request.uid,
        &admit::driver(pod, &key.expect("of a driver"), &Rules::default()),
    )
}

fn executor_review(gang: &Gang) -> Vec<u8> {
    let request = review::parse(black_box(EXECUTOR)).expect("the recording is a review");
    let pod = request.pod.expect("of a pod");
    assert!(role::driver_of(&pod).is_some());
    review::answer(&request.uid, &admit::executor(pod, Some(gang), &Rules::default()))
}

/// The percentile that the goal is about, which criterion does not show.
#[expect(clippy::print_stdout, reason = "a bench talks to its reader")]
fn p99(name: &str, work: impl Fn() -> Vec<u8>) {
    let mut micros: Vec<u128> = (0..20_000)
        .map(|_| {
            let begin = Instant::now();
            black_box(work());
            begin.elapsed().as_micros()
        })
        .collect();
    micros.sort_unstable();
    println!(
        "{name}: p50 {} µs, p99 {} µs, max {} µs",
        micros[10_000], micros[19_800], micros[19_999]
    );
}

fn benches(criterion: &mut Criterion) {
    let gang = gang();
    criterion.bench_function("patch/driver", |bencher| bencher.iter(driver_review));
    criterion.bench_function("patch/executor", |bencher| bencher.iter(|| executor_review(&gang)));
    p99("patch/driver", driver_review);
    p99("patch/executor", || executor_review(&gang));
}

criterion_group!(patch, benches);
criterion_main!(patch);
