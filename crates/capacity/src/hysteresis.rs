//! Against flapping: headroom rises at once and falls when less has been wanted for a while.

use std::collections::VecDeque;

/// Holds the most that was wanted within a time.
#[derive(Debug)]
pub struct Hysteresis {
    hold_ms: i64,
    /// What was wanted when, falling: what is behind something larger will never be the most again.
    wanted: VecDeque<(i64, u32)>,
}

impl Hysteresis {
    /// For `hold_ms` after it was last wanted, headroom is kept.
    pub const fn new(hold_ms: i64) -> Self {
        Self {
            hold_ms,
            wanted: VecDeque::new(),
        }
    }

    /// What is held when so much is wanted: the most that was wanted in (now − hold, now]. Times come in order.
    pub fn hold(&mut self, now_ms: i64, wanted: u32) -> u32 {
        while self.wanted.back().is_some_and(|&(_, before)| before <= wanted) {
            self.wanted.pop_back();
        }
        self.wanted.push_back((now_ms, wanted));
        while self
            .wanted
            .front()
            .is_some_and(|(at_ms, _)| *at_ms <= now_ms - self.hold_ms)
            && self.wanted.len() > 1
        {
            self.wanted.pop_front();
        }
        self.wanted.front().map_or(wanted, |&(_, most)| most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_late() {
        let mut hysteresis = Hysteresis::new(3);
        let held: Vec<u32> = [0, 5, 0, 0, 0, 2, 1, 0, 0, 0]
            .into_iter()
            .zip(0..)
            .map(|(wanted, now_ms)| hysteresis.hold(now_ms, wanted))
            .collect();
        assert_eq!(held, [0, 5, 5, 5, 0, 2, 2, 2, 1, 0]);
    }

    proptest! {
        #[test]
        fn what_is_held_is_the_most_of_the_time(
            wanted in prop::collection::vec((0_i64..5, 0_u32..9), 1..60), hold_ms in 0_i64..20,
        ) {
            let mut hysteresis = Hysteresis::new(hold_ms);
            let (mut now_ms, mut all) = (0, Vec::new());
            for (step, nodes) in wanted {
                now_ms += step;
                all.push((now_ms, nodes));
                let within = all.iter().filter(|(at_ms, _)| *at_ms > now_ms - hold_ms);
                // What is wanted now is held in any case.
                let most = within.map(|(_, nodes)| *nodes).max().unwrap_or(nodes).max(nodes);
                prop_assert_eq!(hysteresis.hold(now_ms, nodes), most);
            }
        }
    }
}
