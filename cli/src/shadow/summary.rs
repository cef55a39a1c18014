//! The figures of a report. Pure.

use kompass_history::starts::{Start, Starts, at_once};
use serde::Serialize;

/// Gangs that are shown one by one.
const SHOWN: usize = 10;

/// The node that room is counted in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) cpu: f64,
    pub(super) gib: f64,
    pub(super) price: Option<f64>,
}

/// What a week, or any time, was like.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Gangs whose driver ran.
    pub(super) gangs: usize,
    /// Gangs whose driver never ran.
    pub(super) never_ran: u64,
    /// Waits of drivers for their node.
    pub(super) wait_p50_ms: i64,
    pub(super) wait_p90_ms: i64,
    /// Gangs that held room while an executor had none, for how long together, and the longest.
    pub(super) short_gangs: usize,
    pub(super) short_ms: i64,
    pub(super) longest_ms: i64,
    /// Executors that never had a node.
    pub(super) without_node: u64,
    /// Drivers that ran without any executor though they had asked for some, so long together.
    pub(super) alone_ms: i64,
    /// Times at which at least two gangs were short at once, so long together, and at most so many gangs.
    pub(super) stand_offs: usize,
    pub(super) stand_off_ms: i64,
    pub(super) most_at_once: usize,
    /// What was held meanwhile.
    pub(super) cpu_hours: f64,
    pub(super) gib_hours: f64,
    /// The same in nodes, by whichever of CPU and memory is more of one, and in money.
    pub(super) node_hours: Option<f64>,
    pub(super) money: Option<f64>,
    /// The gangs that held most.
    pub(super) worst: Vec<Worst>,
}

/// A gang that held much.
#[derive(Debug, Serialize)]
pub(super) struct Worst {
    pub(super) namespace: String,
    pub(super) driver: String,
    pub(super) begin_ms: i64,
    pub(super) short_ms: i64,
    pub(super) executors: u64,
    pub(super) cpu_hours: f64,
}

impl Summary {
    pub(super) fn of(starts: &Starts, node: Option<Node>) -> Self {
        let gangs = &starts.gangs;
        let mut waits: Vec<i64> = gangs.iter().map(|gang| gang.wait_ms).collect();
        waits.sort_unstable();
        let mut short: Vec<&Start> = gangs.iter().filter(|gang| !gang.short.is_empty()).collect();
        short.sort_by(|one, other| other.held.cpu_hours.total_cmp(&one.held.cpu_hours));
        let spans = |count| at_once(short.iter().map(|gang| &gang.short[..]), count);
        let stand_offs = spans(2);
        let node_hours = node.map(|node| {
            let of = |gang: &&Start| (gang.held.cpu_hours / node.cpu).max(gang.held.gib_hours / node.gib);
            short.iter().map(of).sum::<f64>()
        });
        let worst = short.iter().take(SHOWN).map(|gang| Worst {
            namespace: gang.namespace.clone(),
            driver: gang.driver.clone(),
            begin_ms: gang.begin_ms,
            short_ms: gang.short_ms(),
            executors: gang.executors,
            cpu_hours: gang.held.cpu_hours,
        });
        Self {
            gangs: gangs.len(),
            never_ran: starts.never,
            wait_p50_ms: quantile(&waits, 0.5),
            wait_p90_ms: quantile(&waits, 0.9),
            short_gangs: short.len(),
            short_ms: short.iter().map(|gang| gang.short_ms()).sum(),
            longest_ms: short.iter().map(|gang| gang.short_ms()).max().unwrap_or(0),
            without_node: gangs.iter().map(|gang| gang.without_node).sum(),
            alone_ms: gangs.iter().map(|gang| gang.alone_ms).sum(),
            stand_off_ms: stand_offs.iter().map(|(from_ms, to_ms)| to_ms - from_ms).sum(),
            stand_offs: stand_offs.len(),
            most_at_once: (1..=short.len())
                .take_while(|&count| !spans(count).is_empty())
                .last()
                .unwrap_or(0),
            cpu_hours: short.iter().map(|gang| gang.held.cpu_hours).sum(),
            gib_hours: short.iter().map(|gang| gang.held.gib_hours).sum(),
            money: node_hours
                .zip(node.and_then(|node| node.price))
                .map(|(hours, price)| hours * price),
            node_hours,
            worst: worst.collect(),
        }
    }
}

/// The value that so large a part is at or below, of sorted ones.
fn quantile(sorted: &[i64], part: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of the list, at least 0"
    )]
    let index = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(index.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use kompass_history::Window;
    use kompass_history::starts::Held;

    use super::*;

    fn gang(driver: &str, wait_ms: i64, short: &[(i64, i64)], cpu_hours: f64) -> Start {
        Start {
            namespace: "etl".into(),
            driver: driver.into(),
            wait_ms,
            begin_ms: 0,
            end_ms: 100,
            executors: 4,
            without_node: 1,
            alone_ms: 5,
            short: short.to_vec(),
            held: Held {
                cpu_hours,
                gib_hours: cpu_hours * 8.0,
            },
        }
    }

    #[test]
    fn gangs_that_are_short_at_once_stand_off() {
        let starts = Starts {
            window: Window { from_ms: 0, to_ms: 100 },
            gangs: vec![
                gang("a", 1, &[(0, 10)], 1.0),
                gang("b", 2, &[(5, 20)], 3.0),
                gang("c", 3, &[], 0.0),
                gang("d", 9, &[(6, 7), (50, 60)], 2.0),
            ],
            never: 0,
            gaps: Vec::new(),
            dropped: Vec::new(),
        };
        let node = Node {
            cpu: 4.0,
            gib: 16.0,
            price: Some(2.0),
        };
        let told = Summary::of(&starts, Some(node));
        assert_eq!((told.short_gangs, told.short_ms, told.longest_ms), (3, 36, 15));
        assert_eq!((told.stand_offs, told.stand_off_ms, told.most_at_once), (1, 5, 3));
        assert_eq!((told.wait_p50_ms, told.wait_p90_ms, told.without_node), (2, 9, 4));
        // Memory is more of a node than CPU here.
        assert!((told.node_hours.unwrap() - 3.0).abs() < 1e-9 && (told.money.unwrap() - 6.0).abs() < 1e-9);
        let worst: Vec<_> = told.worst.iter().map(|gang| gang.driver.as_str()).collect();
        assert_eq!(worst, ["b", "d", "a"]);
    }

    #[test]
    fn quantiles_are_values_that_were_there() {
        assert_eq!(
            [quantile(&[], 0.5), quantile(&[7], 0.9), quantile(&[1, 2, 3, 4], 0.5)],
            [0, 7, 2]
        );
    }
}
