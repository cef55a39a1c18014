//! The results as JSON.

use kompass_capacity::Holding;
use kompass_simulation::capacity::protocol::{Judged, OPERATING_SHARES, REPLAYS, Tried, Verdict};
use kompass_simulation::capacity::{Backtest, Split};
use serde::Serialize;

use super::forecast::Forecast;
use super::money::{Amount, Money};
use super::origin::Origin;
use super::{money, robust, words};

/// All that a backtest has found.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    version: &'static str,
    protocol: Protocol,
    source: &'a Origin,
    /// Of the trace as CSV, also where Prometheus told it.
    trace_sha256: String,
    node_cpu_milli: u64,
    node_memory_mib: u64,
    gangs: usize,
    /// Of the trace, because a pod of theirs is larger than a node.
    gangs_left_out: usize,
    split: Times,
    operating_points: Vec<OperatingPoint>,
    recommendation: Recommendation,
    policies: Vec<Candidate>,
    oracle: Candidate,
    validation: Vec<Figures>,
    test: Vec<Figures>,
    /// What was expected of each hour of the test, and what came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) forecast: Option<&'a Forecast>,
    /// What policies cost, where there are prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) money: Option<&'a Money>,
    /// The same on altered pasts, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) robustness: Option<&'a [robust::Past]>,
}

/// The protocol's constants.
#[derive(Debug, Serialize)]
struct Protocol {
    name: &'static str,
    tick_s: u32,
    boot_s: u32,
    reaction_s: u32,
    scale_down_s: u32,
    replays: u32,
    jitter_s: u32,
    bootstrap_resamples: u32,
    operating_shares: [f64; 3],
    seed: u64,
    /// What bounds what is held, where anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    holding: Option<Held>,
}

#[derive(Debug, Serialize)]
struct Held {
    nodes_max: Option<u32>,
    node_hours_per_day: Option<u64>,
    hold_s: i64,
}

/// Seconds from the trace's beginning.
#[derive(Debug, Serialize)]
struct Times {
    validation_start_s: i64,
    test_start_s: i64,
    test_end_s: i64,
    dense_days: usize,
}

#[derive(Debug, Serialize)]
struct OperatingPoint {
    share_of_reactive_wait: f64,
    validation_bill_node_hours: f64,
    validation_wait_mean_s: f64,
}

#[derive(Debug, Serialize)]
struct Recommendation {
    policy: String,
    /// One for each operating point.
    parameters: Vec<f64>,
    pays: bool,
    text: String,
    wait_ratio_to_best_fixed_at_equal_idle: Option<f64>,
    interval_90: Option<(f64, f64)>,
    verdict: &'static str,
}

#[derive(Debug, Serialize)]
struct Candidate {
    policy: String,
    meaning: String,
    /// With the parameters that were chosen on the validation.
    validation: Standing,
    test: Standing,
    /// With parameters that were chosen on the test itself.
    test_in_hindsight: Standing,
}

#[derive(Debug, Serialize)]
struct Standing {
    wait_ratio_to_best_fixed_at_equal_idle: Option<f64>,
    interval_90: Option<(f64, f64)>,
    verdict: &'static str,
    operating_points: Vec<At>,
}

#[derive(Debug, Serialize)]
struct At {
    parameter: f64,
    bill_node_hours: f64,
    wait_mean_s: f64,
    fixed_wait_mean_s: f64,
    ratio: Option<f64>,
}

/// A point of a frontier.
#[derive(Debug, Serialize)]
struct Figures {
    policy: String,
    parameter: f64,
    wait_mean_s: f64,
    wait_p50_s: f64,
    wait_p95_s: f64,
    wait_p99_s: f64,
    waited_over_1s_share: f64,
    wait_mean_by_node_size_s: f64,
    bill_node_hours: f64,
    idle_node_hours: f64,
    launches: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Amount>,
}

impl<'a> Report<'a> {
    pub(super) fn new(backtest: &Backtest, source: &'a Origin, boot_s: u32, trace_sha256: &str) -> Self {
        let Split {
            validation,
            test,
            dense_days,
        } = backtest.split;
        let all = || backtest.tried.iter().chain([&backtest.oracle]);
        let best = &backtest.tried[backtest.recommended];
        Self {
            version: env!("CARGO_PKG_VERSION"),
            protocol: Protocol {
                name: "P1",
                tick_s: 300,
                boot_s,
                reaction_s: 10,
                scale_down_s: 600,
                replays: REPLAYS,
                jitter_s: 60,
                bootstrap_resamples: 1_000,
                operating_shares: OPERATING_SHARES,
                seed: backtest.settings.seed,
                holding: held(backtest.settings.holding),
            },
            source,
            trace_sha256: trace_sha256.to_owned(),
            node_cpu_milli: backtest.settings.shape.cpu_milli(),
            node_memory_mib: backtest.settings.shape.memory_mib(),
            gangs: backtest.gangs,
            gangs_left_out: backtest.left_out,
            split: Times {
                validation_start_s: validation.start_ms / 1_000,
                test_start_s: test.start_ms / 1_000,
                test_end_s: test.end_ms / 1_000,
                dense_days,
            },
            operating_points: backtest
                .operating_points
                .iter()
                .map(|point| OperatingPoint {
                    share_of_reactive_wait: point.share,
                    validation_bill_node_hours: point.bill,
                    validation_wait_mean_s: point.wait_s,
                })
                .collect(),
            recommendation: Recommendation {
                policy: best.policy.clone(),
                parameters: parameters(best, &best.on_test),
                pays: backtest.recommended > 0,
                text: words::recommendation(backtest),
                wait_ratio_to_best_fixed_at_equal_idle: best.on_test.ratio,
                interval_90: best.on_test.interval,
                verdict: words::verdict(Verdict::of(&best.on_test)),
            },
            policies: backtest.tried.iter().map(policy).collect(),
            oracle: policy(&backtest.oracle),
            validation: all().flat_map(|tried| figures(backtest, tried, 0)).collect(),
            test: all().flat_map(|tried| figures(backtest, tried, 1)).collect(),
            forecast: None,
            money: None,
            robustness: None,
        }
    }
}

fn held(holding: Holding) -> Option<Held> {
    (holding != Holding::default()).then(|| Held {
        nodes_max: holding.nodes_max,
        node_hours_per_day: holding.limits.map(|limits| limits.day_node_ms / 3_600_000),
        hold_s: holding.hold_ms / 1_000,
    })
}

/// The parameters at the operating points.
pub(super) fn parameters(tried: &Tried, judged: &Judged) -> Vec<f64> {
    let all = judged.chosen.iter();
    all.filter_map(|&parameter| tried.parameters.get(parameter).copied())
        .collect()
}

fn policy(tried: &Tried) -> Candidate {
    Candidate {
        policy: tried.policy.clone(),
        meaning: tried.meaning.clone(),
        validation: standing(tried, &tried.on_validation),
        test: standing(tried, &tried.on_test),
        test_in_hindsight: standing(tried, &tried.in_hindsight),
    }
}

fn standing(tried: &Tried, judged: &Judged) -> Standing {
    let points = parameters(tried, judged).into_iter().zip(&judged.beside);
    Standing {
        wait_ratio_to_best_fixed_at_equal_idle: judged.ratio,
        interval_90: judged.interval,
        verdict: words::verdict(Verdict::of(judged)),
        operating_points: points
            .map(|(parameter, beside)| At {
                parameter,
                bill_node_hours: beside.bill,
                wait_mean_s: beside.wait_s,
                fixed_wait_mean_s: beside.wait_fixed_s,
                ratio: beside.ratio,
            })
            .collect(),
    }
}

fn figures<'a>(backtest: &'a Backtest, tried: &'a Tried, part: usize) -> impl Iterator<Item = Figures> + 'a {
    let points = [&tried.validation, &tried.test][part];
    points
        .iter()
        .zip(&tried.parameters)
        .map(move |(point, &parameter)| Figures {
            policy: tried.policy.clone(),
            parameter,
            wait_mean_s: point.wait_mean_s,
            wait_p50_s: point.wait_p50_s,
            wait_p95_s: point.wait_p95_s,
            wait_p99_s: point.wait_p99_s,
            waited_over_1s_share: point.waited_share,
            wait_mean_by_node_size_s: point.wait_by_size_s,
            bill_node_hours: point.bill_node_hours,
            idle_node_hours: point.idle_node_hours,
            launches: point.launches,
            cost: money::cost(backtest, part, point),
        })
}
