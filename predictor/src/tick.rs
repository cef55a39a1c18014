//! One tick: from a newly read last day to a decision and all else that is told until the next one. Pure.

use kompass_forecast::runtimes::Runtimes;
use kompass_forecast::shapes::Shapes;
use kompass_history::{History, Kin};

use crate::arrivals::{self, Arrivals};
use crate::certain::{self, Certain};
use crate::decide::{Decider, Decision, Sight, Told};
use crate::follow::{self, Followed, Follower};
use crate::judge::{Judge, Verdict};
use crate::model::Model;
use crate::past::{self, Known};
use crate::schedule::Schedule;
use crate::settings::Settings;

const HOUR_MS: i64 = 3_600_000;

/// What is kept from tick to tick.
#[derive(Debug)]
pub struct Ticker {
    settings: Settings,
    decider: Decider,
    judge: Judge,
    follower: Follower,
    /// The last day as it was last read.
    lately: Option<History>,
}

/// What happens before a tick.
#[derive(Debug)]
pub struct Event<'a> {
    /// The last day, or why it could not be read.
    pub lately: Result<History, String>,
    /// The model, or why there is none.
    pub model: Result<&'a Model, &'a str>,
    /// What starts jobs at times that are known.
    pub schedules: &'a [Schedule],
    /// What is decided is held in truth.
    pub acts: bool,
}

/// What a tick gives.
#[derive(Debug)]
pub struct Ticked {
    /// What to hold.
    pub decision: Decision,
    /// What came of earlier ones.
    pub verdict: Verdict,
    /// What schedules are certain to start before a node that is not held now could be there.
    pub certain: Vec<Certain>,
    /// How long gangs ran.
    pub runtimes: Runtimes,
    /// How many executors they had.
    pub shapes: Shapes,
    /// What is expected to be submitted, and how what was expected turned out.
    pub followed: Followed,
    /// What else is expected.
    pub arrivals: Arrivals,
    /// Time of the last day of which nothing is known, milliseconds.
    pub unknown_ms: i64,
    /// Into so many parts.
    pub gaps: usize,
}

impl Ticker {
    /// Before the first tick.
    pub fn new(settings: Settings) -> Self {
        Self {
            decider: Decider::new(settings.clone()),
            judge: Judge::new(settings.timing.tick_ms, settings.timing.ready_ms),
            settings,
            follower: Follower::default(),
            lately: None,
        }
    }

    /// A tick.
    pub fn tick(&mut self, now_ms: i64, event: Event<'_>) -> Ticked {
        let trouble = match event.lately {
            Ok(lately) => {
                self.lately = Some(lately);
                None
            }
            Err(trouble) => Some(trouble),
        };
        let settings = &self.settings;
        let before = event.model.map_or(&[][..], |model| &model.gangs);
        let gangs = match &self.lately {
            Some(lately) => past::joined(before, lately),
            None => before.to_vec(),
        };
        let none = Kin::new();
        let kin = [
            self.lately.as_ref().map_or(&none, |lately| &lately.kin),
            event.model.map_or(&none, |model| &model.kin),
        ];
        let known = Known::new(&gangs, settings.shape);
        let until_ms = self.lately.as_ref().map(past::known_until_ms);
        let certain = self.certain(event.schedules, &known, until_ms, now_ms);
        let more: u32 = certain.iter().map(|certain| certain.nodes).fold(0, u32::saturating_add);
        let mut words = event.model.map(|model| model.choice.to_string()).unwrap_or_default();
        words.extend(certain.iter().map(|certain| format!("; and {certain}")));
        let told = |model: &Model| Told {
            nodes: model
                .wanted(settings, now_ms, &known.at(now_ms, settings.shape))
                .saturating_add(more),
            until_ms: model.until_ms,
            words: &words,
        };
        let sight = Sight {
            rule: event.model.map(told),
            until_ms,
            unknown_ms: self.lately.as_ref().map_or(0, |lately| {
                past::unknown_since_ms(lately, lately.window.to_ms - HOUR_MS)
            }),
            trouble: trouble.as_deref(),
        };
        let decision = self.decider.decide(now_ms, sight);
        self.judge
            .held(decision.at_ms, decision.nodes, event.acts && !decision.reactive);
        let verdict = self
            .judge
            .judge(&known.submitted, until_ms.unwrap_or(i64::MIN), settings.shape);
        let (runtimes, shapes) = (past::runtimes(&gangs, kin), past::shapes(&gangs, kin));
        let (followed, arrivals) = self.follow(event.model.ok(), &known, event.schedules, now_ms);
        Ticked {
            decision,
            verdict,
            certain,
            runtimes,
            shapes,
            followed,
            arrivals,
            unknown_ms: self.lately.as_ref().map_or(0, History::unknown_ms),
            gaps: self.lately.as_ref().map_or(0, |lately| lately.gaps.len()),
        }
    }

    /// What will be started before a node that is asked for at the next tick could be ready.
    fn certain(&self, schedules: &[Schedule], known: &Known, until_ms: Option<i64>, now_ms: i64) -> Vec<Certain> {
        let timing = self.settings.timing;
        let before_ms = now_ms + timing.tick_ms + timing.ready_ms;
        let until_ms = until_ms.map_or(i64::MIN, |until_ms| until_ms.min(now_ms));
        certain::certain(schedules, (now_ms, before_ms), known, until_ms, self.settings.shape)
    }

    /// What is expected at the end of what was read last.
    fn follow(
        &mut self,
        model: Option<&Model>,
        known: &Known,
        schedules: &[Schedule],
        now_ms: i64,
    ) -> (Followed, Arrivals) {
        let mut gaps = model.map_or_else(Vec::new, |model| model.gaps.clone());
        let mut window = (now_ms, now_ms);
        let mut until_ms = i64::MIN;
        if let Some(lately) = &self.lately {
            gaps.retain(|gap| gap.to_ms <= lately.window.from_ms);
            gaps.extend(&lately.gaps);
            window = (
                model.map_or(lately.window.from_ms, |model| model.from_ms),
                lately.window.to_ms,
            );
            until_ms = past::known_until_ms(lately);
        }
        let sight = follow::Sight {
            window,
            gaps: &gaps,
            known,
            until_ms,
            shape: self.settings.shape,
            wall: &self.settings.wall,
            schedules,
        };
        let arrivals = model.map_or_else(Arrivals::default, |model| {
            let (window, gaps) = (sight.window, sight.gaps);
            let sight = arrivals::Sight { window, gaps, known };
            arrivals::told(&model.arrivals, sight, &self.settings)
        });
        (self.follower.follow(model, sight), arrivals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Rule;
    use crate::model::{learn, tests::two_days};
    use crate::past::tests::{gap, history};
    use crate::schedule::tests::scheduled;
    use crate::settings::tests::settings;

    const MINUTE_MS: i64 = 60_000;
    const DAY_MS: i64 = 24 * HOUR_MS;

    fn model() -> Model {
        let mut model = learn(two_days(), &settings(1_000_000, 20_000_000), &[], None, &|| true).unwrap();
        model.choice.rule = Rule::Fixed(2);
        model
    }

    /// The last day before a moment, of which `unknown` is not known.
    fn lately(now_ms: i64, unknown_ms: Option<(i64, i64)>) -> History {
        let mut lately = history(now_ms - DAY_MS, now_ms, two_days().gangs);
        lately.gangs.retain(|gang| lately.window.contains(gang.submit_ms));
        lately
            .gaps
            .extend(unknown_ms.map(|(from_ms, to_ms)| gap(from_ms, to_ms)));
        lately
    }

    fn tick(ticker: &mut Ticker, now_ms: i64, model: &Model, lately: Result<History, String>) -> Ticked {
        ticker.tick(
            now_ms,
            Event {
                lately,
                model: Ok(model),
                schedules: &[],
                acts: false,
            },
        )
    }

    #[test]
    fn a_model_and_a_known_day_make_a_decision() {
        let model = model();
        let mut ticker = Ticker::new(settings(1_000_000, 20_000_000));
        let now_ms = 2 * DAY_MS;
        let given = tick(&mut ticker, now_ms, &model, Ok(lately(now_ms, None)));
        assert_eq!((given.decision.nodes, given.decision.reactive), (2, false), "{given:?}");
        assert!(
            given.decision.reason.contains("reactive"),
            "its words compare it with reactive"
        );
        assert!(given.runtimes.estimate(&["etl-1"], 0, &[]).is_some());
        assert_eq!(given.verdict, Verdict::default());
        // A little later than an hour after it, it is judged: nobody came in these five minutes.
        let now_ms = now_ms + HOUR_MS + 5 * MINUTE_MS;
        let later = tick(&mut ticker, now_ms, &model, Ok(lately(now_ms, None)));
        assert_eq!(later.verdict.all.idle_node_ms, 600_000);
    }

    #[test]
    fn without_a_model_run_times_are_known_all_the_same() {
        let mut ticker = Ticker::new(settings(1, 1));
        let event = Event {
            lately: Ok(lately(DAY_MS, None)),
            model: Err("23 hours are known"),
            schedules: &[],
            acts: false,
        };
        let given = ticker.tick(DAY_MS, event);
        assert!(given.decision.reactive && given.decision.reason.contains("23 hours"));
        assert!(given.runtimes.estimate(&["etl-1"], 0, &[]).is_some());
        assert_eq!(given.followed.outlook.by, "nothing");
    }

    #[test]
    fn a_server_that_is_gone_makes_it_reactive_after_a_while() {
        let model = model();
        let mut ticker = Ticker::new(settings(1, 1));
        let mut nodes = Vec::new();
        for step in 0..5 {
            let now_ms = 2 * DAY_MS + step * 5 * MINUTE_MS;
            let lately = if step == 0 {
                Ok(lately(now_ms, None))
            } else {
                Err("failed to reach it".into())
            };
            nodes.push(tick(&mut ticker, now_ms, &model, lately).decision);
        }
        let held: Vec<u32> = nodes.iter().map(|decision| decision.nodes).collect();
        assert_eq!(held, [2, 2, 2, 2, 0]);
        assert!(
            nodes[4].reason.ends_with("is not known: failed to reach it"),
            "{:?}",
            nodes[4]
        );
        let mut never = Ticker::new(settings(1, 1));
        let given = tick(&mut never, 2 * DAY_MS, &model, Err("gone".into()));
        assert!(given.decision.reason.contains("the last day is not known: gone"));
    }

    #[test]
    fn what_a_schedule_starts_is_held_from_boot_time_before_it() {
        let mut model = model();
        model.choice.rule = Rule::Fixed(1);
        // Three gangs of two and a half nodes within two minutes of each hour.
        let schedule = Schedule::new(&scheduled("0 * * * *", None)).unwrap();
        let mut ticker = Ticker::new(settings(1_000_000, 20_000_000));
        let mut held = |minutes: i64| {
            let now_ms = 2 * DAY_MS - minutes * MINUTE_MS;
            let event = Event {
                lately: Ok(lately(now_ms, None)),
                model: Ok(&model),
                schedules: std::slice::from_ref(&schedule),
                acts: false,
            };
            let given = ticker.tick(now_ms, event);
            (given.decision.nodes, given.certain.len(), given.decision.reason)
        };
        // A tick and a boot are 7 minutes and 40 seconds.
        assert_eq!((held(13).0, held(8).0), (1, 1));
        let (nodes, certain, reason) = held(3);
        assert_eq!((nodes, certain), (6, 1), "{reason}");
        assert!(
            reason.contains("; and 5 nodes for jobs/etl at 1970-01-03T00:00:00Z"),
            "{reason}"
        );
    }

    #[test]
    fn gaps_are_told() {
        let mut ticker = Ticker::new(settings(1, 1));
        let now_ms = 2 * DAY_MS;
        let unknown = (now_ms - 50 * MINUTE_MS, now_ms - 10 * MINUTE_MS);
        let given = tick(&mut ticker, now_ms, &model(), Ok(lately(now_ms, Some(unknown))));
        assert_eq!((given.unknown_ms, given.gaps), (40 * MINUTE_MS, 1));
        assert!(
            given.decision.reason.contains("40 minutes of the last hour"),
            "{:?}",
            given.decision
        );
    }
}
