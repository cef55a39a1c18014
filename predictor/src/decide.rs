//! What to hold at a tick, and why. Pure: what is known comes in, a decision goes out.
//!
//! Whatever is wrong (no model, an old one, a past that is not known) the answer is *reactive*: nothing is held, nodes are
//! bought when gangs wait, as if there were no predictor. Never a guess.

use kompass_capacity::budget::{Budget, Limit};
use kompass_capacity::hysteresis::Hysteresis;
use serde::Serialize;

use crate::choice::HOLD_MS;
use crate::settings::Settings;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// What was submitted so long ago must be known.
const BLIND_MS: i64 = 15 * MINUTE_MS;
/// Of the last hour so much may be unknown.
const UNKNOWN_MS: i64 = 30 * MINUTE_MS;
/// Once it was not, it must be known for so long in a row before nodes are held again: a server that comes and goes must not
/// make them come and go.
const SOUND_MS: i64 = 15 * MINUTE_MS;
/// A model is not used longer.
pub const OLD_MS: i64 = 7 * DAY_MS;

/// What is known at a tick.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// What the model says; else why there is none.
    pub rule: Result<Told<'a>, &'a str>,
    /// Until when the past is known, milliseconds; none if nothing of it is.
    pub until_ms: Option<i64>,
    /// How much of the last hour of what is known is not, milliseconds.
    pub unknown_ms: i64,
    /// Why no more is known.
    pub trouble: Option<&'a str>,
}

/// What a model says.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// How many nodes its rule wants.
    pub nodes: u32,
    /// Up to when the past went into it, milliseconds.
    pub until_ms: i64,
    /// Its rule, in words and money.
    pub words: &'a str,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Empty nodes to hold beside the busy ones, ready or launching, until the next one.
    pub nodes: u32,
    /// What the rule alone would have held.
    pub wanted: u32,
    /// Whether it is reactive because no rule can be followed.
    pub reactive: bool,
    /// Why, in words.
    pub reason: String,
    /// What these nodes cost until the next decision, in the operator's money.
    pub cost: f64,
}

/// Decides, and remembers what it must.
#[derive(Debug)]
pub struct Decider {
    settings: Settings,
    hysteresis: Hysteresis,
    budget: Option<Budget>,
    /// Since when all was known again, after it was not.
    recovering_ms: Option<i64>,
    blind: bool,
    last_ms: Option<i64>,
}

impl Decider {
    /// Has held nothing yet.
    pub fn new(settings: Settings) -> Self {
        let tick_ms = settings.timing.tick_ms;
        Self {
            hysteresis: Hysteresis::new(HOLD_MS),
            budget: settings.limits.map(|limits| Budget::new(limits, tick_ms)),
            settings,
            recovering_ms: None,
            blind: false,
            last_ms: None,
        }
    }

    /// Decides for the time until the next tick.
    pub fn decide(&mut self, now_ms: i64, sight: Sight<'_>) -> Decision {
        // A clock that was set back does not make what was held last younger.
        let now_ms = self.last_ms.map_or(now_ms, |last_ms| last_ms.max(now_ms));
        self.last_ms = Some(now_ms);
        let unseen = self.unseen(now_ms, sight);
        let told = sight.rule.map_err(str::to_owned);
        let told = match (told, unseen) {
            (Err(why), _) | (Ok(_), Some(why)) => Err(why),
            (Ok(told), None) if now_ms - told.until_ms > OLD_MS => Err(format!(
                "what was learned is {} days old, more than {}",
                (now_ms - told.until_ms) / DAY_MS,
                OLD_MS / DAY_MS
            )),
            (Ok(told), None) => Ok(told),
        };
        match told {
            Ok(told) => self.follow(now_ms, told),
            Err(why) => {
                self.hysteresis = Hysteresis::new(HOLD_MS);
                if let Some(budget) = &mut self.budget {
                    budget.allow(now_ms, 0);
                }
                Decision {
                    at_ms: now_ms,
                    nodes: 0,
                    wanted: 0,
                    reactive: true,
                    reason: format!("reactive: {why}"),
                    cost: 0.0,
                }
            }
        }
    }

    /// Why the rule can't be followed, if too little of the past is known.
    fn unseen(&mut self, now_ms: i64, sight: Sight<'_>) -> Option<String> {
        let why = match sight.until_ms {
            None => Some("the last day is not known".to_owned()),
            Some(until_ms) if now_ms - until_ms > BLIND_MS => {
                let minutes = (now_ms - until_ms) / MINUTE_MS;
                Some(format!("what was submitted in the last {minutes} minutes is not known"))
            }
            Some(_) if sight.unknown_ms > UNKNOWN_MS => {
                let minutes = sight.unknown_ms / MINUTE_MS;
                Some(format!("{minutes} minutes of the last hour are not known"))
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            self.blind = true;
            self.recovering_ms = None;
            return Some(match sight.trouble {
                Some(trouble) => format!("{why}: {trouble}"),
                None => why,
            });
        }
        if self.blind {
            let since_ms = *self.recovering_ms.get_or_insert(now_ms);
            if now_ms - since_ms < SOUND_MS {
                let minutes = SOUND_MS / MINUTE_MS;
                return Some(format!(
                    "the past is known again, but not yet for {minutes} minutes in a row"
                ));
            }
            self.blind = false;
        }
        None
    }

    fn follow(&mut self, now_ms: i64, told: Told<'_>) -> Decision {
        let most = self.settings.nodes_max;
        let held = self.hysteresis.hold(now_ms, told.nodes.min(most));
        let allowed = self.budget.as_mut().map(|budget| budget.allow(now_ms, held));
        let nodes = allowed.map_or(held, |allowed| allowed.nodes);
        let hours = self.settings.timing.tick_ms as f64 / 3_600_000.0;
        let cost = f64::from(nodes) * hours * self.settings.prices.node_hour as f64 / 1e6;
        let mut reason = told.words.to_owned();
        if told.nodes > most {
            reason.extend([format!("; it wants {} nodes, --max-nodes is {most}", told.nodes)]);
        } else if held > told.nodes {
            let minutes = HOLD_MS / MINUTE_MS;
            reason.extend([format!(
                "; it wants {} nodes now, and more were wanted within {minutes} minutes",
                told.nodes
            )]);
        }
        match allowed.and_then(|allowed| allowed.by) {
            Some(Limit::Hour) => reason += "; no more may be held in an hour",
            Some(Limit::Day) => reason += "; no more may be held in a day (--node-hours-per-day)",
            None => {}
        }
        Decision {
            at_ms: now_ms,
            nodes,
            wanted: told.nodes,
            reactive: false,
            reason,
            cost,
        }
    }
}

#[cfg(test)]
mod tests {
    use kompass_capacity::budget::Limits;
    use proptest::prelude::*;

    use super::*;
    use crate::settings::tests::settings;

    const TICK_MS: i64 = 300_000;

    fn decider() -> Decider {
        Decider::new(settings(12_000_000, 1))
    }

    const fn told(nodes: u32) -> Told<'static> {
        Told {
            nodes,
            until_ms: 0,
            words: "echo",
        }
    }

    fn sight(told: Told<'static>, until_ms: i64) -> Sight<'static> {
        Sight {
            rule: Ok(told),
            until_ms: Some(until_ms),
            unknown_ms: 0,
            trouble: None,
        }
    }

    #[test]
    fn the_rule_is_followed_and_its_price_told() {
        let decision = decider().decide(0, sight(told(3), 0));
        assert_eq!((decision.nodes, decision.reactive), (3, false));
        assert_eq!(
            (decision.cost, decision.reason.as_str()),
            (3.0, "echo"),
            "3 nodes at 12 an hour for 5 minutes"
        );
    }

    #[test]
    fn nodes_are_kept_for_ten_minutes_and_bounded() {
        let mut decider = decider();
        let nodes: Vec<u32> = [2, 4_000, 1, 0, 0]
            .into_iter()
            .zip(0..)
            .map(|(nodes, tick)| decider.decide(tick * TICK_MS, sight(told(nodes), tick * TICK_MS)).nodes)
            .collect();
        assert_eq!(nodes, [2, 40, 40, 1, 0]);
        let spike = decider.decide(6 * TICK_MS, sight(told(4_000), 6 * TICK_MS));
        assert!(
            spike.reason.contains("wants 4000 nodes, --max-nodes is 40"),
            "{}",
            spike.reason
        );
    }

    #[test]
    fn what_may_be_held_in_a_day_is_kept() {
        let limits = Limits {
            hour_node_ms: 3_600_000_000,
            day_node_ms: 3_600_000,
        };
        let mut decider = Decider::new(Settings {
            limits: Some(limits),
            ..settings(1, 1)
        });
        let decisions: Vec<Decision> = (0..4)
            .map(|tick| decider.decide(tick * TICK_MS, sight(told(6), tick * TICK_MS)))
            .collect();
        let nodes: Vec<u32> = decisions.iter().map(|decision| decision.nodes).collect();
        assert_eq!(nodes, [6, 6, 0, 0], "a node-hour is 12 ticks of one node");
        assert!(decisions[2].reason.contains("--node-hours-per-day"));
    }

    #[test]
    fn without_a_model_or_with_an_old_one_it_is_reactive() {
        let mut decider = decider();
        let decision = decider.decide(
            0,
            Sight {
                rule: Err("23 hours are known"),
                ..sight(told(0), 0)
            },
        );
        assert_eq!((decision.nodes, decision.reactive), (0, true));
        assert_eq!(decision.reason, "reactive: 23 hours are known");
        let last_ms = OLD_MS;
        assert_eq!(decider.decide(last_ms, sight(told(2), last_ms)).nodes, 2);
        let old = decider.decide(last_ms + 1, sight(told(2), last_ms + 1));
        assert!(old.reactive && old.reason.contains("7 days old"), "{old:?}");
    }

    /// Prometheus is gone for two hours, as at each tick the tail of the past grows.
    #[test]
    fn a_past_that_is_unknown_for_two_hours_makes_it_reactive_once() {
        let mut decider = decider();
        let decisions: Vec<Decision> = (0..40)
            .map(|tick| {
                let now_ms = tick * TICK_MS;
                let until_ms = if (4..28).contains(&tick) { 4 * TICK_MS } else { now_ms };
                let trouble = (until_ms < now_ms).then_some("failed to reach Prometheus");
                decider.decide(
                    now_ms,
                    Sight {
                        trouble,
                        ..sight(told(2), until_ms)
                    },
                )
            })
            .collect();
        let reactive: Vec<bool> = decisions.iter().map(|decision| decision.reactive).collect();
        // From a quarter of an hour without a view on, to a quarter of an hour with one.
        let expected: Vec<bool> = (0..40).map(|tick| (8..31).contains(&tick)).collect();
        assert_eq!(reactive, expected);
        assert_eq!(
            decisions[20].reason,
            "reactive: what was submitted in the last 80 minutes is not known: failed to reach Prometheus"
        );
        assert!(
            decisions
                .iter()
                .all(|decision| decision.reactive == (decision.nodes == 0))
        );
    }

    #[test]
    fn a_past_that_comes_and_goes_does_not_make_nodes_come_and_go() {
        let mut decider = decider();
        let mut changes = 0;
        let mut before = 2;
        for tick in 0..100 {
            // Every other tick more than half of the last hour is unknown.
            let unknown_ms = if tick % 2 == 0 { 31 * MINUTE_MS } else { 0 };
            let seen = Sight {
                unknown_ms,
                ..sight(told(2), tick * TICK_MS)
            };
            let nodes = decider.decide(tick * TICK_MS, seen).nodes;
            changes += u32::from(nodes != before);
            before = nodes;
        }
        assert_eq!((changes, before), (1, 0));
        let nothing = Sight {
            until_ms: None,
            ..sight(told(2), 0)
        };
        assert!(
            decider
                .decide(100 * TICK_MS, nothing)
                .reason
                .contains("the last day is not known")
        );
    }

    proptest! {
        #[test]
        fn never_more_than_the_bound_and_never_anything_when_reactive(
            ticks in prop::collection::vec((-2_i64..5, 0_u32..100, 0_i64..40, any::<bool>()), 1..200),
        ) {
            let mut decider = decider();
            let (mut now_ms, mut last_ms) = (OLD_MS, i64::MIN);
            for (step, nodes, behind, has_model) in ticks {
                now_ms += step * TICK_MS;
                let told = Told { until_ms: now_ms - 1, ..told(nodes) };
                let rule = if has_model { Ok(told) } else { Err("none") };
                let seen = Sight { rule, ..sight(told, now_ms - behind * MINUTE_MS) };
                let decision = decider.decide(now_ms, seen);
                prop_assert!(decision.nodes <= 40 && decision.at_ms >= last_ms);
                prop_assert!(!decision.reactive || (decision.nodes == 0 && decision.reason.starts_with("reactive: ")));
                prop_assert!(decision.reactive || decision.nodes >= decision.wanted.min(40));
                prop_assert!(has_model || decision.reactive);
                last_ms = decision.at_ms;
            }
        }
    }
}
