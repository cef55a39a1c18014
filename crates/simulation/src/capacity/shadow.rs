//! The cluster as a reactive one would be now: what is free on busy nodes, and how often new ones were needed lately.
//!
//! A plain follower of the past, so that a policy can know it at each tick: nodes come at once, nobody waits, and what was
//! submitted, ended or became empty too long ago is all that counts. It does not depend on what a policy holds: a policy
//! that learns from its own nodes would teach itself.

use std::collections::VecDeque;
use std::ops::Range;

use kompass_capacity::{Past, Shape};

use super::input::Timing;
use super::nodes::{Nodes, Room};
use super::queue::Queue;

/// See the module.
#[derive(Debug)]
pub struct Shadow {
    shape: Shape,
    timing: Timing,
    nodes: Nodes,
    /// By gang, where it is or was.
    places: Vec<Range<usize>>,
    ended: usize,
    /// The tick until which it has come.
    next_tick_ms: Option<i64>,
    /// When nodes were needed, and how many.
    needed: VecDeque<(i64, u64)>,
    rooms: Vec<Room>,
}

/// What it looks like, in nodes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct View {
    /// With pods.
    pub busy: f64,
    /// Free on busy nodes by what is left beside the dominant share, in all, on the one with the most, and on the next.
    pub free: f64,
    /// On the busy node that has the most.
    pub free_most: f64,
    /// On the next one.
    pub free_next: f64,
    /// Without pods and not given back yet.
    pub empty: f64,
    /// New nodes that were needed within the last two ticks.
    pub needed: f64,
}

impl Shadow {
    /// Before anything was submitted.
    pub fn new(shape: Shape, timing: Timing) -> Self {
        Self {
            shape,
            timing,
            nodes: Nodes::new(shape, true),
            places: Vec::new(),
            ended: 0,
            next_tick_ms: None,
            needed: VecDeque::new(),
            rooms: Vec::new(),
        }
    }

    /// Goes on to a moment. The past must hold all until then, begin with what earlier ones held, and times must rise.
    pub fn advance(&mut self, past: &Past<'_>, now_ms: i64) {
        let Some(first) = past.submitted.first() else {
            return;
        };
        let tick_ms = self.timing.tick_ms;
        let mut next_tick_ms = self
            .next_tick_ms
            .unwrap_or_else(|| first.at_ms - first.at_ms.rem_euclid(tick_ms));
        loop {
            let submitted_ms = past.submitted.get(self.places.len()).map(|gang| gang.at_ms);
            let ended_ms = past.ended.get(self.ended).map(|end| end.at_ms);
            let event_ms = submitted_ms.into_iter().chain(ended_ms).min().unwrap_or(i64::MAX);
            if event_ms.min(next_tick_ms) > now_ms {
                break;
            }
            if next_tick_ms < event_ms {
                self.give_back(next_tick_ms);
                next_tick_ms += tick_ms;
            } else if ended_ms == Some(event_ms) {
                self.end(past, event_ms);
            } else {
                self.start(past, event_ms);
            }
        }
        self.next_tick_ms = Some(next_tick_ms);
    }

    /// What it looks like at the moment to which it has come.
    pub fn view(&self, now_ms: i64) -> View {
        let node = self.shape.parts() as f64;
        let (busy, free, most, next) = self.nodes.free_on_busy();
        let since_ms = now_ms - 2 * self.timing.tick_ms;
        let lately = self.needed.iter().rev().take_while(|needed| needed.0 > since_ms);
        View {
            busy: busy as f64,
            free: free as f64 / node,
            free_most: most as f64 / node,
            free_next: next as f64 / node,
            empty: self.nodes.empty() as f64,
            needed: lately.map(|needed| needed.1).sum::<u64>() as f64,
        }
    }

    fn start(&mut self, past: &Past<'_>, now_ms: i64) {
        let gang = self.places.len();
        let members = &past.submitted[gang].members;
        let fits = |member: &kompass_capacity::Members| {
            member.count == 0 || self.shape.holds(member.cpu_milli, member.memory_mib)
        };
        if !members.iter().all(fits) {
            self.places.push(0..0);
            return;
        }
        let places = self.nodes.place(members).or_else(|| {
            let mut queue = Queue::new(self.shape);
            queue.push(gang, members);
            self.nodes.rooms(queue.least(), &mut self.rooms);
            let need = queue.need(&mut self.rooms).new;
            self.needed.push_back((now_ms, need));
            for _ in 0..need {
                self.nodes.launch(now_ms, now_ms);
                self.nodes.ready();
            }
            self.nodes.place(members)
        });
        debug_assert!(places.is_some(), "nodes enough were asked for");
        self.places.push(places.unwrap_or(0..0));
    }

    fn end(&mut self, past: &Past<'_>, now_ms: i64) {
        let gang = past.ended[self.ended].gang;
        self.ended += 1;
        if let Some(places) = self.places.get_mut(gang) {
            let places = std::mem::replace(places, 0..0);
            self.nodes.release(now_ms, places);
        }
    }

    fn give_back(&mut self, tick_ms: i64) {
        while self.nodes.give_back(tick_ms - self.timing.idle_ms).is_some() {}
        while self
            .needed
            .front()
            .is_some_and(|needed| needed.0 <= tick_ms - 4 * self.timing.tick_ms)
        {
            self.needed.pop_front();
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers and what was rounded")]
mod tests {
    use kompass_capacity::{Ended, Members, Submitted};

    use super::*;

    const TIMING: Timing = Timing::new(150_000);
    const MINUTE_MS: i64 = 60_000;

    fn shape() -> Shape {
        Shape::new(1_000, 1_000).unwrap()
    }

    fn gang(at_ms: i64, count: u64, cpu_milli: u64) -> Submitted {
        let members = [
            Members {
                count,
                cpu_milli,
                memory_mib: 1,
            },
            Members::default(),
        ];
        Submitted {
            at_ms,
            profile: 0,
            members,
            size: shape().size(&members),
        }
    }

    fn view(submitted: &[Submitted], ended: &[(i64, usize)], now_ms: i64) -> View {
        let ended: Vec<Ended> = ended
            .iter()
            .map(|&(at_ms, gang)| Ended { at_ms, gang, run_ms: 1 })
            .collect();
        let past = Past {
            shape: shape(),
            submitted,
            ended: &ended,
        };
        let mut shadow = Shadow::new(shape(), TIMING);
        shadow.advance(&past, now_ms);
        shadow.view(now_ms)
    }

    #[test]
    fn gangs_share_nodes_and_new_ones_are_counted() {
        // 600 and 3 × 300 of 1,000: 300 beside the 600, two on a second node.
        let gangs = [gang(0, 1, 600), gang(MINUTE_MS, 3, 300)];
        let seen = view(&gangs, &[], 2 * MINUTE_MS);
        assert_eq!((seen.busy, seen.needed, seen.empty), (2.0, 2.0, 0.0));
        assert!(
            (seen.free - 0.5).abs() < 1e-9 && (seen.free_most - 0.4).abs() < 1e-9,
            "{seen:?}"
        );
        assert!((seen.free_next - 0.1).abs() < 1e-9, "{seen:?}");
        assert_eq!(
            view(&gangs, &[], 10 * MINUTE_MS + 1).needed,
            1.0,
            "the first one is longer ago than two ticks"
        );
    }

    #[test]
    fn an_empty_node_stays_for_ten_minutes_and_is_used_again() {
        let gangs = [gang(0, 1, 600), gang(8 * MINUTE_MS, 1, 600)];
        let ended = [(3 * MINUTE_MS, 0)];
        let now = |minutes: i64| view(&gangs[..1], &ended, minutes * MINUTE_MS);
        assert_eq!((now(4).busy, now(4).empty), (0.0, 1.0));
        assert_eq!([now(14).empty, now(15).empty], [1.0, 0.0], "given back at a tick");
        let again = view(&gangs, &ended, 9 * MINUTE_MS);
        assert_eq!((again.busy, again.empty, again.needed), (1.0, 0.0, 1.0));
    }

    #[test]
    fn it_comes_to_the_same_in_small_steps() {
        let gangs: Vec<Submitted> = (0..300_i64)
            .map(|number| {
                gang(
                    number * 97_000,
                    1 + (number.cast_unsigned() * 7) % 5,
                    100 + (number.cast_unsigned() * 131) % 800,
                )
            })
            .collect();
        let mut ended: Vec<Ended> = (0..300_i64)
            .map(|number| Ended {
                at_ms: number * 97_000 + 500_000 + (number * 7_919_000) % 9_000_000,
                gang: usize::try_from(number).unwrap(),
                run_ms: 1,
            })
            .collect();
        ended.sort_by_key(|end| end.at_ms);
        let at = |now_ms: i64| Past {
            shape: shape(),
            submitted: &gangs[..gangs.partition_point(|gang| gang.at_ms <= now_ms)],
            ended: &ended[..ended.partition_point(|end| end.at_ms <= now_ms)],
        };
        let mut small = Shadow::new(shape(), TIMING);
        for tick in 0..130 {
            let now_ms = tick * TIMING.tick_ms;
            small.advance(&at(now_ms), now_ms);
            let mut at_once = Shadow::new(shape(), TIMING);
            at_once.advance(&at(now_ms), now_ms);
            assert_eq!(small.view(now_ms), at_once.view(now_ms), "tick {tick}");
        }
    }
}
