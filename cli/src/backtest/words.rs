//! The results in words, for a terminal.

use kompass_simulation::capacity::Backtest;
use kompass_simulation::capacity::protocol::{Judged, Tried, Verdict};

use super::report::parameters;
use crate::table;

/// All that is told: what was measured, a line for each policy, what the recommended one gives, and the recommendation.
pub(super) fn told(backtest: &Backtest) -> String {
    let days = backtest.split.test.days();
    let left_out = match backtest.left_out {
        0 => String::new(),
        gangs => format!(
            "{} gangs are left out: a pod of theirs is larger than the node.\n",
            table::grouped(gangs as f64)
        ),
    };
    format!(
        "{} gangs; policies are chosen on {days} days and judged on the {days} days after them.\n{left_out}\n\
         Waits beside those with fixed headroom at the same cost (1 is the same, less is better; in brackets the 90 % \
         interval):\n{}\nOn the {days} days of the test:\n{}\n{}",
        table::grouped(backtest.gangs as f64),
        policies(backtest),
        points(backtest),
        recommendation(backtest)
    )
}

fn policies(backtest: &Backtest) -> String {
    let row = |tried: &Tried| {
        let parameters: Vec<String> = parameters(tried, &tried.on_test).iter().map(f64::to_string).collect();
        vec![
            tried.policy.clone(),
            ratio(&tried.on_validation),
            ratio(&tried.on_test),
            verdict(Verdict::of(&tried.on_test)).to_owned(),
            tried
                .in_hindsight
                .ratio
                .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
            parameters.join(", "),
        ]
    };
    let all = backtest.tried.iter().chain([&backtest.oracle]);
    let rows: Vec<Vec<String>> = all.map(row).collect();
    let header = [
        "policy",
        "where chosen",
        "test",
        "that is",
        "best in hindsight",
        "parameters",
    ];
    table::render(&header, &rows)
}

/// Reactive, and the recommended policy at its operating points.
fn points(backtest: &Backtest) -> String {
    let row = |tried: &Tried, parameter: usize| {
        let point = tried.test.get(parameter)?;
        let name = if parameter == 0 {
            "reactive".to_owned()
        } else {
            format!("{} {}", tried.policy, tried.parameters[parameter])
        };
        Some(vec![
            name,
            table::seconds(point.wait_mean_s),
            table::seconds(point.wait_p95_s),
            table::seconds(point.wait_p99_s),
            format!("{:.1} %", point.waited_share * 100.0),
            table::grouped(point.bill_node_hours),
            table::grouped(point.idle_node_hours),
            table::grouped(point.launches),
        ])
    };
    let best = &backtest.tried[backtest.recommended];
    let mut chosen = best.on_test.chosen.clone();
    chosen.retain(|parameter| *parameter > 0);
    chosen.dedup();
    let reactive = row(&backtest.tried[0], 0);
    let others = chosen.into_iter().filter_map(|parameter| row(best, parameter));
    let rows: Vec<Vec<String>> = reactive.into_iter().chain(others).collect();
    let header = [
        "policy",
        "mean wait",
        "p95",
        "p99",
        "waited > 1 s",
        "node-hours",
        "idle",
        "launches",
    ];
    table::render(&header, &rows)
}

/// What to do, in a sentence or two.
pub(super) fn recommendation(backtest: &Backtest) -> String {
    let best = &backtest.tried[backtest.recommended];
    let reactive_s = backtest.tried[0]
        .validation
        .first()
        .map_or(0.0, |point| point.wait_mean_s);
    if best.on_validation.ratio.is_none() {
        return format!(
            "Keep no nodes ready: without any, gangs waited {} on average where policies are chosen, too little to save.",
            table::seconds(reactive_s)
        );
    }
    if backtest.recommended == 0 {
        let others = backtest.tried[1..].iter();
        let closest = others.min_by(|a, b| {
            let ratio = |tried: &Tried| tried.on_validation.ratio.unwrap_or(f64::INFINITY);
            ratio(a).total_cmp(&ratio(b))
        });
        let closest = closest.map_or_else(String::new, |tried| {
            format!(
                " The closest, {}, came to {}.",
                tried.policy,
                ratio(&tried.on_validation)
            )
        });
        let counts: Vec<String> = parameters(best, &best.on_test).iter().map(f64::to_string).collect();
        return format!(
            "Prediction does not pay here: where policies are chosen, none surely beat a fixed number of nodes at the same \
             cost.{closest} Keep a fixed number ready: {} for half, a quarter and a tenth of the wait without any.",
            counts.join(", ")
        );
    }
    let chosen: Vec<String> = parameters(best, &best.on_test).iter().map(f64::to_string).collect();
    let test = match Verdict::of(&best.on_test) {
        Verdict::Win => "it won there too",
        Verdict::Even => "that is no sure win",
        Verdict::Loss => "it lost there: prefer a fixed number of nodes until a later backtest wins",
        Verdict::Nothing => "hardly anybody waited there",
    };
    format!(
        "Use {}, which {}: p = {} for half, a quarter and a tenth of the wait without any. Where it was chosen, gangs \
         waited {} of what they do with a fixed number of nodes at the same cost; on the test {}: {test}.",
        best.policy,
        best.meaning,
        chosen.join(", "),
        ratio(&best.on_validation),
        ratio(&best.on_test),
    )
}

/// A verdict in a word.
pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Win => "win",
        Verdict::Loss => "loss",
        Verdict::Even => "even",
        Verdict::Nothing => "nothing to win",
    }
}

pub(super) fn ratio(judged: &Judged) -> String {
    match (judged.ratio, judged.interval) {
        (Some(ratio), Some((low, high))) => format!("{ratio:.2} ({low:.2}–{high:.2})"),
        (Some(ratio), None) => format!("{ratio:.2}"),
        (None, _) => "–".to_owned(),
    }
}
