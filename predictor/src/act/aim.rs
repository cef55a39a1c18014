//! How many nodes are to be held now, and why. Pure.

use crate::decide::Decision;

const MINUTE_MS: i64 = 60_000;
/// A decision counts so long: two may fail.
const OLD_MS: i64 = 16 * MINUTE_MS;

/// Whether somebody has paused it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Pause {
    /// Nobody knows: it could not be asked yet.
    #[default]
    Unknown,
    /// It goes on.
    Off,
    /// It holds nothing, for this reason.
    On(String),
}

/// What is known.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// The last decision.
    pub decision: Option<&'a Decision>,
    /// Whether the newest backtest says that the rule pays; else why not.
    pub pays: Result<(), &'a str>,
    /// This replica acts.
    pub leads: bool,
    /// Whether it is paused.
    pub pause: &'a Pause,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// Leave everything as it is.
    Wait(&'static str),
    /// Hold so many empty nodes.
    Hold {
        /// How many.
        nodes: u32,
        /// Why.
        why: String,
    },
}

impl Aim {
    /// How many nodes are to be held; none where everything is to be left as it is.
    pub const fn nodes(&self) -> Option<u32> {
        match self {
            Self::Wait(_) => None,
            Self::Hold { nodes, .. } => Some(*nodes),
        }
    }

    /// Why.
    pub fn why(&self) -> &str {
        match self {
            Self::Wait(why) => why,
            Self::Hold { why, .. } => why,
        }
    }
}

/// What to do now.
pub fn aim(now_ms: i64, sight: Sight<'_>) -> Aim {
    let nothing = |why: String| Aim::Hold { nodes: 0, why };
    if !sight.leads {
        return Aim::Wait("another replica acts");
    }
    match sight.pause {
        Pause::Unknown => return Aim::Wait("it is not known yet whether it is paused"),
        Pause::On(why) => return nothing(format!("paused: {why}")),
        Pause::Off => {}
    }
    let Some(decision) = sight.decision else {
        return Aim::Wait("nothing has been decided yet");
    };
    if now_ms - decision.at_ms > OLD_MS {
        let minutes = (now_ms - decision.at_ms) / MINUTE_MS;
        return nothing(format!("the last decision is {minutes} minutes old"));
    }
    match sight.pays {
        // A reactive decision says itself why it is.
        Err(why) if !decision.reactive => nothing(format!("holding nodes does not pay here: {why}")),
        _ => Aim::Hold {
            nodes: decision.nodes,
            why: decision.reason.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision() -> Decision {
        Decision {
            at_ms: 0,
            nodes: 3,
            wanted: 3,
            reactive: false,
            reason: "echo".to_owned(),
            cost: 0.0,
        }
    }

    #[test]
    fn it_acts_only_where_everything_is_in_order() {
        let decision = decision();
        let good = Sight {
            decision: Some(&decision),
            pays: Ok(()),
            leads: true,
            pause: &Pause::Off,
        };
        let paused = Pause::On("maintenance".to_owned());
        for (sight, now_ms, nodes, why) in [
            (good, 0, Some(3), "echo"),
            (good, OLD_MS + 1, Some(0), "16 minutes old"),
            (
                Sight {
                    pays: Err("reactive is cheaper"),
                    ..good
                },
                0,
                Some(0),
                "reactive is cheaper",
            ),
            (Sight { pause: &paused, ..good }, 0, Some(0), "paused: maintenance"),
            (
                Sight {
                    pause: &paused,
                    decision: None,
                    ..good
                },
                0,
                Some(0),
                "paused: maintenance",
            ),
            (
                Sight {
                    pause: &Pause::Unknown,
                    ..good
                },
                0,
                None,
                "not known yet",
            ),
            (Sight { decision: None, ..good }, 0, None, "nothing has been decided"),
            (
                Sight {
                    leads: false,
                    pause: &paused,
                    ..good
                },
                0,
                None,
                "another replica",
            ),
        ] {
            let aim = aim(now_ms, sight);
            assert_eq!(aim.nodes(), nodes, "{aim:?}");
            assert!(aim.why().contains(why), "{aim:?}");
        }
    }
}
