//! The distribution of waits as text, for a terminal.

use kompass_simulation::Report;

use super::charts;
use crate::draw::axis::{Scale, Unit};

/// Columns of the picture.
const COLUMNS: usize = 60;
/// From nobody to everybody.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A line for each policy: the higher a bar, the more gangs waited so long or shorter.
pub(super) fn waits(names: &[&str], reports: &[&Report]) -> String {
    let scale = charts::waits_scale(reports);
    let indent = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = "share of gangs that waited so long or shorter (a full bar is all)\n".to_owned();
    for (name, report) in names.iter().zip(reports) {
        let bars: String = (0..COLUMNS).map(|column| bar(report, scale, column)).collect();
        text.push_str(format!("{name:indent$}  {bars}").trim_end());
        text.push('\n');
    }
    text.push_str(format!("{:indent$}  {}", "", labels(scale)).trim_end());
    text.push('\n');
    text
}

fn bar(report: &Report, scale: Scale, column: usize) -> char {
    let share = report.course.waits.share_within(wait_ms(scale, column));
    // Only a bar that is all is full, and only one that is nobody is empty.
    let full = BARS.len() - 1;
    let height = match share {
        1.0.. => full,
        0.0 => 0,
        share => (1..full)
            .rev()
            .find(|&bar| share * full as f64 >= bar as f64)
            .unwrap_or(1),
    };
    BARS[height]
}

/// The wait that a column stands for; the last one is the longest of all.
#[expect(clippy::cast_possible_truncation, reason = "a cast from a float saturates")]
fn wait_ms(scale: Scale, column: usize) -> i64 {
    (scale.value(column as f64 / (COLUMNS - 1) as f64) * 1_000.0).ceil() as i64
}

/// Times below the columns that stand for them.
fn labels(scale: Scale) -> String {
    let mut line = String::new();
    for tick in scale.ticks(Unit::Time) {
        let reached = (0..COLUMNS).take_while(|&column| wait_ms(scale, column) as f64 / 1_000.0 < tick.value);
        let (column, written) = (reached.count(), line.chars().count());
        // Labels that would touch each other are left out.
        if written == 0 || column > written {
            line.extend(std::iter::repeat_n(' ', column - written));
            line.push_str(&tick.label);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    use kompass_simulation::waits::Waits;

    fn report(waits_s: &[i64]) -> Report {
        let settings = kompass_simulation::Settings {
            nodes: 0,
            node_cpu_milli: 1,
            node_memory_mib: 1,
            zones: 1,
            packing: kompass_planner::Packing::default(),
            backfill: kompass_planner::Backfill::Off,
            backfill_delay_ms: 0,
            estimates: kompass_simulation::Estimates::Learned,
            queues: kompass_simulation::engine::Queues::One,
        };
        let mut report = kompass_simulation::simulate(&[], &settings, |_| {});
        report.course.waits = Waits::new(waits_s.iter().map(|seconds| seconds * 1_000).collect());
        report
    }

    #[test]
    fn bars_rise_to_the_longest_wait() {
        let (slow, fast) = (report(&[0, 3_600, 100_000, 100_000]), report(&[0, 1, 10, 60]));
        let text = waits(&["fifo", "easier"], &[&slow, &fast]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(
            lines[1].starts_with("fifo    ▂▂") && lines[1].ends_with("▄▄█"),
            "{text}"
        );
        assert!(
            lines[2].starts_with("easier  ▄▄▄") && lines[2].ends_with("███"),
            "{text}"
        );
        assert!(
            lines[1..3].iter().all(|line| line.chars().count() == 8 + COLUMNS),
            "{text}"
        );
        assert!(lines[3].starts_with("        1 s         10 s"), "{text}");
        assert!(lines[3].ends_with("1 d"), "{text}");
    }

    #[test]
    fn nobody_and_nobody_who_waits_are_drawn_too() {
        let text = waits(&["a", "b"], &[&report(&[]), &report(&[0])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            (lines[1], lines[2]),
            ("a", format!("b  {}", "█".repeat(COLUMNS)).as_str())
        );
    }
}
