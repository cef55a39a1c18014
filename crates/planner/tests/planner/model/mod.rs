//! The model: any interleaving of what API server, kube-scheduler, Spark, autoscaler, users and two planners do. The
//! invariants of docs/architecture.md hold after every step, and in the end nobody starves and nothing is left.
//!
//! `KOMPASS_MODEL_STEPS` sets how many steps are made in all (a million by default), `KOMPASS_MODEL_SEED` repeats a run.
//! A failure is shrunk, and its steps are printed as they can be given to `run` in a test.

mod act;
mod api;
mod check;
mod edge;
mod kept;
mod neighbours;
mod peers;
mod replica;
mod rest;
mod scheduler;
mod shadow;
mod steps;
mod turns;
mod unusual;

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use kompass_planner::{Backfill, Config};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use act::Model;
use steps::{Step, step};

/// Steps in all.
const STEPS: u64 = 1_000_000;
/// Steps of one sequence: long enough for queues to fill, planners to fall behind and timers to run out.
const LENGTH: usize = 500;

/// What differs between the tests.
#[derive(Debug, Clone, Copy)]
struct Setting {
    backfill: Backfill,
    markers: bool,
    /// Packing runs and orders of one decision.
    budget: (u32, usize),
}

const SETTINGS: [Setting; 4] = [
    Setting {
        backfill: Backfill::Off,
        markers: true,
        budget: (32, 256),
    },
    Setting {
        backfill: Backfill::Off,
        markers: false,
        budget: (1, 2),
    },
    Setting {
        backfill: Backfill::Easy,
        markers: false,
        budget: (32, 256),
    },
    Setting {
        backfill: Backfill::Easy,
        markers: true,
        budget: (1, 2),
    },
];

impl Setting {
    fn config(self) -> Config {
        Config {
            overtakes_max: 3,
            backfill: self.backfill,
            backfill_delay_ms: 10_000,
            backfills_max: 4,
            unplanned_max: 3,
            profile_hold_ms: 15_000,
            plan_hold_ms: 20_000,
            unclaimed_after_ms: 8_000,
            start_margin_ms: 2_000,
            demand_ms: 30_000,
            demand_pause_ms: 15_000,
            markers: self.markers,
            packs_per_decide: self.budget.0,
            orders_per_decide: self.budget.1,
            ..Config::default()
        }
    }
}

fn run(setting: Setting, webhook: bool, steps: &[Step]) {
    let mut model = Model::new(setting.config(), webhook);
    for &step in steps {
        model.apply(step);
    }
    model.come_to_rest();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
    })
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Shrinking panics thousands of times; only the last one is worth a word.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                tell(info);
            }
        }));
    });
}

/// Why these steps fail, if they do.
fn failure(setting: Setting, webhook: bool, steps: &[Step]) -> Option<String> {
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| run(setting, webhook, steps)));
    QUIET.set(false);
    let panic = result.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.unwrap_or_else(|| {
        panic
            .downcast_ref::<&str>()
            .map_or_else(String::new, ToString::to_string)
    }))
}

/// Leaves out steps, many at once first, while it still fails.
fn shrink(setting: Setting, webhook: bool, mut steps: Vec<Step>) -> Vec<Step> {
    let mut chunk = steps.len().div_ceil(2);
    loop {
        let (mut at, before) = (0, steps.len());
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            if failure(setting, webhook, &fewer).is_some() {
                steps = fewer;
            } else {
                at += chunk;
            }
        }
        match (chunk, steps.len() < before) {
            (1, false) => return steps,
            (1, true) => {}
            _ => chunk = chunk.div_ceil(2),
        }
    }
}

/// Makes a quarter of all steps in this setting.
fn explore(setting: Setting) {
    keep_quiet();
    let goal = number("KOMPASS_MODEL_STEPS")
        .unwrap_or(STEPS)
        .div_ceil(SETTINGS.len() as u64);
    let seed = number("KOMPASS_MODEL_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let sequences = (prop::collection::vec(step(), LENGTH), any::<bool>());
    let mut made = 0;
    while made < goal {
        let (steps, webhook) = sequences
            .new_tree(&mut runner)
            .expect("nothing is filtered out")
            .current();
        made += steps.len() as u64;
        if failure(setting, webhook, &steps).is_some() {
            let steps = shrink(setting, webhook, steps);
            let why = failure(setting, webhook, &steps).expect("it failed before");
            let lines: Vec<String> = steps.iter().map(|step| format!("    {step:?},\n")).collect();
            panic!(
                "KOMPASS_MODEL_SEED={seed} fails with {setting:?}, webhook: {webhook}: {why}\nsteps: [\n{}]",
                lines.concat()
            );
        }
    }
    assert!(made >= goal, "only {made} steps were made");
}

#[test]
fn nothing_is_double_booked_or_lost_in_strict_order() {
    explore(SETTINGS[0]);
}

#[test]
fn nothing_is_double_booked_or_lost_in_strict_order_and_small_bites() {
    explore(SETTINGS[1]);
}

#[test]
fn nothing_is_double_booked_or_lost_with_backfill() {
    explore(SETTINGS[2]);
}

#[test]
fn nothing_is_double_booked_or_lost_with_backfill_in_small_bites() {
    explore(SETTINGS[3]);
}
