//! Questions about KOMPASS's own counters.

use super::{BORN, Counter, Fine, Question, SLOW_RANGE, Topic, offset, slow};
use crate::Window;
use crate::seen::STEP_MS;

/// Moments that are asked for at once.
const POINTS: usize = 5_000;

/// The questions about KOMPASS's own counters. `selector` are matchers that every series must meet, such as
/// `cluster="blue"`; may be empty.
pub fn about_counters(window: Window, selector: &str) -> Vec<Question> {
    const KEY: &str = "instance, pod, profile_key, outcome";
    let fine = Fine::of(window);
    let total = format!(
        "sum by (instance, pod) (max by (instance, pod, outcome) (kompass_extender_gangs_ended_total{{{selector}}}))"
    );
    let leaderless = format!("max(kompass_extender_leader{{{selector}}}) == 0");
    let start = |offset: &str| {
        format!(
            "max by (instance, pod) (process_start_time_seconds{{{selector}}}{offset} \
             and on (instance, pod) kompass_extender_leader{{{selector}}}{offset})"
        )
    };
    let changed = |value: &dyn Fn(&str) -> String| format!("{} unless ({0} == {})", value(""), value(&offset(STEP_MS)));
    let mut questions = vec![
        fine.ask(Topic::Total, total, POINTS),
        fine.ask(Topic::Leaderless, leaderless, POINTS),
        fine.ask(Topic::Starts, changed(&start), POINTS),
        fine.ask_before(Topic::Starts, start("")),
    ];
    let kin = format!(
        "max by (profile_key, wider) (last_over_time(kompass_extender_profile_key_info{{{selector}}}[{SLOW_RANGE}]))"
    );
    questions.push(slow(window, Topic::Kin, kin));
    for counter in Counter::ALL {
        let metric = counter.metric();
        // To aggregate what has changed costs a seventh of looking for changes in what is aggregated.
        let (now, before) = (
            format!("{metric}{{{selector}}}"),
            format!("{metric}{{{selector}}}{}", offset(STEP_MS)),
        );
        let born = with_born(&format!("max by ({KEY}) ({now} unless on ({KEY}) {before})"));
        let promql = format!("{born} or max by ({KEY}) ({now} != {before})");
        let value = format!("max by ({KEY}) ({now})");
        questions.push(fine.ask(Topic::Counter(counter), promql, POINTS));
        questions.push(fine.ask_before(Topic::Counter(counter), value));
    }
    questions
}

/// With a label that says that there was no value one step before.
fn with_born(promql: &str) -> String {
    format!("label_replace({promql}, \"{BORN}\", \"1\", \"\", \"\")")
}
