//! The time line of a gang as a table with a bar for each step.

use std::fmt::Write as _;

use super::recorder::{Moment, Outcome};

/// Characters of the lane that the bars are drawn in.
const LANE: usize = 40;

/// The table. Times are seconds from the submission; each bar covers the time from the moment before.
pub(super) fn render(heading: &str, moments: &[(Moment, i64)]) -> String {
    let mut moments: Vec<(String, i64)> = moments.iter().map(|(moment, at_ms)| (words(moment), *at_ms)).collect();
    moments.sort_by_key(|&(_, at_ms)| at_ms);
    let submitted = words(&Moment::Submitted);
    let first_ms = moments.first().map_or(0, |&(_, at_ms)| at_ms);
    let zero_ms = moments
        .iter()
        .find(|(words, _)| *words == submitted)
        .map_or(first_ms, |&(_, at_ms)| at_ms);
    let last_ms = moments.last().map_or(0, |&(_, at_ms)| at_ms);
    let place = |at_ms: i64| {
        let (done, all) = (at_ms - first_ms, (last_ms - first_ms).max(1));
        // Both are of one run: far below the range in which anything could be lost.
        usize::try_from(done * i64::try_from(LANE).unwrap_or(i64::MAX) / all)
            .unwrap_or(LANE)
            .min(LANE)
    };
    let width = moments
        .iter()
        .map(|(words, _)| words.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = format!("{heading}\n");
    let mut from = 0;
    for (words, at_ms) in &moments {
        let to = place(*at_ms);
        let relative_ms = at_ms - zero_ms;
        let sign = if relative_ms < 0 { "-" } else { "" };
        let seconds = format!(
            "{sign}{}.{:02}",
            relative_ms.abs() / 1000,
            relative_ms.abs() % 1000 / 10
        );
        let bar = format!(
            "{}{}",
            " ".repeat(from),
            "█".repeat((to - from).max(usize::from(to == from && to < LANE)))
        );
        let line = format!("{seconds:>8} s  {words:width$}  {bar}");
        // Writing to a String can't fail.
        let _ = writeln!(text, "{}", line.trim_end());
        from = to;
    }
    text
}

fn words(moment: &Moment) -> String {
    match moment {
        Moment::Started => "spark-submit started".to_owned(),
        Moment::Submitted => "submitted".to_owned(),
        Moment::Profiled(text) => format!("profiled: {text}"),
        Moment::Planned(text) => format!("planned, gate opened: {text}"),
        Moment::DriverBound(node) => format!("driver bound to {node}"),
        Moment::DriverRunning => "driver running".to_owned(),
        Moment::ExecutorBound(number, node) => format!("executor {number} bound to {node}"),
        Moment::FirstExecutorRunning => "first executor running".to_owned(),
        Moment::Done(Outcome::Succeeded) => "done: succeeded".to_owned(),
        Moment::Done(Outcome::Failed(reason)) => format!("done: failed ({reason})"),
        Moment::Done(Outcome::Deleted) => "done: the driver was deleted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_to_the_submission_and_bars_follow_each_other() {
        let text = render(
            "Gang",
            &[
                (Moment::Started, 1_000_000),
                (Moment::Submitted, 1_004_000),
                (Moment::DriverBound("n1".into()), 1_005_250),
                (Moment::Done(Outcome::Succeeded), 1_020_000),
            ],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Gang");
        assert_eq!(lines[1], "   -4.00 s  spark-submit started  █");
        assert_eq!(lines[2], "    0.00 s  submitted             ████████");
        assert_eq!(lines[3], "    1.25 s  driver bound to n1            ██");
        assert_eq!(
            lines[4],
            format!("   16.00 s  done: succeeded                 {}", "█".repeat(30))
        );
    }

    #[test]
    fn nothing_and_one_moment_are_time_lines_too() {
        assert_eq!(render("Gang", &[]), "Gang\n");
        assert_eq!(
            render("Gang", &[(Moment::Submitted, 5)]),
            "Gang\n    0.00 s  submitted  █\n"
        );
    }

    #[test]
    fn every_failure_says_what_happened() {
        let text = render(
            "Gang",
            &[(Moment::Done(Outcome::Failed("OOMKilled, exit code 137".into())), 0)],
        );
        assert!(text.contains("done: failed (OOMKilled, exit code 137)"), "{text}");
    }
}
