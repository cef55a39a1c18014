//! What policies decide in a replay, tick by tick.

use kompass_capacity::{Family, Past, Shape};

use super::input::{Seen, Timing};

/// Decisions of a family in one replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decisions {
    /// For each parameter, in the family's order, the headroom at one tick after the other, nodes.
    pub headroom: Vec<Vec<u32>>,
    /// For each tick, up to when observations went into the fit, milliseconds.
    pub fit_until_ms: Vec<Option<i64>>,
}

/// Asks a family at every tick from `begin_ms` to before `end_ms`. At each it is shown what is known then, and that only.
pub fn decide(family: &Family, shape: Shape, seen: &Seen, timing: Timing, (begin_ms, end_ms): (i64, i64)) -> Decisions {
    let mut policy = (family.make)();
    let mut decisions = Decisions {
        headroom: vec![Vec::new(); family.parameters.len()],
        fit_until_ms: Vec::new(),
    };
    let mut nodes = vec![0; family.parameters.len()];
    let (mut submitted, mut ended) = (0, 0);
    let mut now_ms = begin_ms;
    while now_ms < end_ms {
        submitted += seen.submitted[submitted..].partition_point(|gang| gang.at_ms <= now_ms);
        ended += seen.ended[ended..].partition_point(|end| end.at_ms <= now_ms);
        let past = Past {
            shape,
            submitted: &seen.submitted[..submitted],
            ended: &seen.ended[..ended],
        };
        policy.headroom(now_ms, &past, &mut nodes);
        for (all, &nodes) in decisions.headroom.iter_mut().zip(&nodes) {
            all.push(nodes);
        }
        decisions.fit_until_ms.push(policy.fit_until_ms());
        now_ms += timing.tick_ms;
    }
    decisions
}

/// What the future would decide: for each α, ⌈α × node-size that is submitted after a tick and before a node that is asked
/// for at the next one could be ready⌉. No policy: it shows what could be had at most by knowing what comes.
pub fn oracle(times: &[f64], shape: Shape, seen: &Seen, timing: Timing, (begin_ms, end_ms): (i64, i64)) -> Decisions {
    let times_milli: Vec<u32> = times.iter().map(|times| milli(*times)).collect();
    let mut headroom = vec![Vec::new(); times.len()];
    let mut now_ms = begin_ms;
    while now_ms < end_ms {
        let from = seen.submitted.partition_point(|gang| gang.at_ms <= now_ms);
        let until_ms = now_ms + timing.tick_ms + timing.ready_ms;
        let coming = seen.submitted[from..].iter().take_while(|gang| gang.at_ms <= until_ms);
        let size = coming.map(|gang| u128::from(gang.size)).sum();
        for (all, &times_milli) in headroom.iter_mut().zip(&times_milli) {
            all.push(shape.nodes(size, times_milli));
        }
        now_ms += timing.tick_ms;
    }
    let ticks = headroom.first().map_or(0, Vec::len);
    Decisions {
        headroom,
        fit_until_ms: vec![None; ticks],
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates"
)]
fn milli(times: f64) -> u32 {
    (times * 1_000.0).round() as u32
}
