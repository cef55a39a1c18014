//! Decisions as a CSV file, and back.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use kompass_simulation::capacity::runs::Tape;
use serde::Deserialize;

const HEADER: &str = "time_s,headroom_nodes,policy,parameter,fit_until_s,replay";

#[derive(Debug, Deserialize)]
struct Line {
    time_s: i64,
    headroom_nodes: u32,
    policy: String,
    parameter: f64,
    fit_until_s: i64,
    replay: usize,
}

/// A line for each decision; `fit_until_s` is 0 where nothing is fitted.
pub(super) fn write(tapes: &[Tape]) -> String {
    let mut text = format!("{HEADER}\n");
    for tape in tapes {
        for (replay, (headroom, fit)) in tape.headroom.iter().zip(&tape.fit_until_ms).enumerate() {
            let mut tick_ms = tape.first_ms;
            for (nodes, fit_until_ms) in headroom.iter().zip(fit) {
                let fit_until_s = fit_until_ms.unwrap_or(0).div_euclid(1_000);
                let Tape { policy, parameter, .. } = tape;
                let time_s = tick_ms / 1_000;
                // Writing to a string never fails.
                let _ = writeln!(text, "{time_s},{nodes},{policy},{parameter},{fit_until_s},{replay}");
                tick_ms += tape.tick_ms;
            }
        }
    }
    text
}

/// Reads what [`write()`] wrote. Whether it is of this trace is for the backtest to say.
pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Vec<Tape>> {
    let mut tapes: Vec<Tape> = Vec::new();
    let mut reader = csv::Reader::from_reader(bytes);
    for (line, number) in reader.deserialize().zip(2_u64..) {
        let line: Line = line.with_context(|| format!("failed to read the decisions: expected {HEADER}"))?;
        let same = |tape: &Tape| tape.policy == line.policy && tape.parameter.total_cmp(&line.parameter).is_eq();
        if !tapes.last().is_some_and(same) {
            tapes.push(Tape {
                policy: line.policy,
                parameter: line.parameter,
                first_ms: line.time_s.saturating_mul(1_000),
                tick_ms: 0,
                headroom: Vec::new(),
                fit_until_ms: Vec::new(),
            });
        }
        let Some(tape) = tapes.last_mut() else { continue };
        if line.replay == tape.headroom.len() {
            tape.headroom.push(Vec::new());
            tape.fit_until_ms.push(Vec::new());
        }
        let replays = tape.headroom.len();
        let Some((headroom, fit)) = tape.headroom.last_mut().zip(tape.fit_until_ms.last_mut()) else {
            bail!("failed to read the decisions: line {number}: the first replay of a policy must be 0");
        };
        let since_ms = line.time_s.saturating_mul(1_000).saturating_sub(tape.first_ms);
        if tape.tick_ms == 0 {
            tape.tick_ms = since_ms;
        }
        let expected_ms = i64::try_from(headroom.len())
            .unwrap_or(i64::MAX)
            .saturating_mul(tape.tick_ms);
        if line.replay + 1 != replays || since_ms != expected_ms {
            bail!("failed to read the decisions: line {number} is out of order, or one before it is missing");
        }
        headroom.push(line.headroom_nodes);
        fit.push((line.fit_until_s != 0).then(|| line.fit_until_s.saturating_mul(1_000)));
    }
    Ok(tapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape(parameter: f64) -> Tape {
        Tape {
            policy: "echo".to_owned(),
            parameter,
            first_ms: 600_000,
            tick_ms: 300_000,
            headroom: vec![vec![1, 2, 3], vec![0, 0, 7]],
            fit_until_ms: vec![vec![None, Some(300_000), None]; 2],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let tapes = [tape(0.15), tape(2.0)];
        let text = write(&tapes);
        assert!(
            text.starts_with(&format!("{HEADER}\n600,1,echo,0.15,0,0\n900,2,echo,0.15,300,0\n")),
            "{text}"
        );
        assert_eq!(read(text.as_bytes()).unwrap(), tapes);
        assert_eq!(read(HEADER.as_bytes()).unwrap(), []);
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_with_its_line() {
        let text = write(&[tape(1.0)]);
        let without = |line: usize| {
            let lines: Vec<&str> = text.lines().collect();
            let kept: Vec<&str> = lines
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != line)
                .map(|(_, line)| *line)
                .collect();
            kept.join("\n")
        };
        for (text, word) in [
            (without(0), "expected time_s"),
            (without(2), "line 5 is out of order"),
            (without(4), "line 5 is out of order"),
            (text.replace("600,1,", "600,-1,"), "expected time_s"),
            (text.replace(",0\n", ",5\n"), "must be 0"),
        ] {
            let error = format!("{:#}", read(text.as_bytes()).unwrap_err());
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
