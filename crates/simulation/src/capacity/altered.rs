//! Pasts that are like a recorded one. What a backtest says should not hang on details of the one past that there is: it is
//! run again on each of these, by the same protocol, and told beside.

use super::input::{Timing, mix};
use crate::trace::Gang;

/// A day, seconds.
const DAY_S: f64 = 86_400.0;
/// Of a hundred gangs so many are left when a past is thinned.
const LEFT: u64 = 80;
/// Boots that are tried, seconds.
const BOOTS_S: [i64; 3] = [60, 150, 300];

/// What is altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Altered {
    /// All is submitted so many days later. Days of the week change places; validation and test are the same gangs, as they
    /// are counted back from the last one, and so are all times of day.
    Later {
        /// Whole days.
        days: u32,
    },
    /// The past ends so many days earlier: validation and test are other days.
    Earlier {
        /// Whole days.
        days: u32,
    },
    /// Each gang is left with probability 0.8, each by its own draw.
    Thinned,
    /// Each pod requests half as much of everything.
    Halved,
    /// Nodes boot otherwise long.
    Boot {
        /// Seconds.
        boot_s: i64,
    },
}

impl Altered {
    /// All that are tried beside a past as recorded, on nodes that boot so long.
    pub fn all(boot_s: i64) -> Vec<Self> {
        let others = BOOTS_S.into_iter().filter(|other_s| *other_s != boot_s);
        // Three days: of each week two workdays become the weekend, and the weekend becomes workdays.
        let before = [
            Self::Later { days: 3 },
            Self::Earlier { days: 7 },
            Self::Thinned,
            Self::Halved,
        ];
        let slower_or_faster = others.map(|boot_s| Self::Boot { boot_s });
        before.into_iter().chain(slower_or_faster).collect()
    }

    /// What is altered, in words.
    pub fn words(self) -> String {
        match self {
            Self::Later { days } => format!("all {days} days later"),
            Self::Earlier { days } => format!("without the last {days} days"),
            Self::Thinned => format!("thinned to {LEFT} %"),
            Self::Halved => "pods half as large".to_owned(),
            Self::Boot { boot_s } => format!("boot {boot_s} s"),
        }
    }

    /// The gangs of the altered past, in order of submission.
    pub fn gangs(self, gangs: &[Gang], seed: u64) -> Vec<Gang> {
        match self {
            Self::Later { days } => {
                let later = |gang: &Gang| Gang {
                    submit_time_s: gang.submit_time_s + f64::from(days) * DAY_S,
                    ..gang.clone()
                };
                gangs.iter().map(later).collect()
            }
            Self::Earlier { days } => {
                let last_s = gangs.last().map_or(0.0, |gang| gang.submit_time_s);
                let end_s = last_s - f64::from(days) * DAY_S;
                gangs
                    .iter()
                    .filter(|gang| gang.submit_time_s <= end_s)
                    .cloned()
                    .collect()
            }
            Self::Thinned => {
                // Another stream than those of the replays, which are few.
                let stream = mix(seed ^ mix(u64::MAX));
                let left = (0_u64..).zip(gangs);
                left.filter(|(place, _)| mix(stream ^ mix(*place)) % 100 < LEFT)
                    .map(|(_, gang)| gang.clone())
                    .collect()
            }
            Self::Halved => gangs.iter().map(halved).collect(),
            Self::Boot { .. } => gangs.to_vec(),
        }
    }

    /// Times of the altered world.
    pub const fn timing(self, timing: Timing) -> Timing {
        match self {
            Self::Boot { boot_s } => Timing::new(boot_s * 1_000),
            _ => timing,
        }
    }
}

/// Rounded up, so that nothing that was requested becomes nothing.
fn halved(gang: &Gang) -> Gang {
    Gang {
        driver_cpu_milli: gang.driver_cpu_milli.div_ceil(2),
        driver_memory_mib: gang.driver_memory_mib.div_ceil(2),
        executor_cpu_milli: gang.executor_cpu_milli.div_ceil(2),
        executor_memory_mib: gang.executor_memory_mib.div_ceil(2),
        ..gang.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gangs(count: u32) -> Vec<Gang> {
        let gang = |number: u32| Gang {
            submit_time_s: f64::from(number) * 3_600.0,
            run_time_s: 60.0,
            profile: number.to_string(),
            queue: "q".to_owned(),
            namespace: None,
            driver_cpu_milli: 1_000,
            driver_memory_mib: 1,
            executors: 3,
            executor_cpu_milli: 501,
            executor_memory_mib: 0,
        };
        (0..count).map(gang).collect()
    }

    #[test]
    fn only_what_is_named_changes() {
        let gangs = gangs(24 * 10);
        let later = Altered::Later { days: 3 }.gangs(&gangs, 1);
        for (gang, later) in gangs.iter().zip(&later) {
            assert_eq!(later.submit_ms() - gang.submit_ms(), 3 * 86_400_000);
            let back = Gang {
                submit_time_s: gang.submit_time_s,
                ..later.clone()
            };
            assert_eq!(&back, gang);
        }
        let half = Altered::Halved.gangs(&gangs, 1);
        let requests = [
            half[5].driver_cpu_milli,
            half[5].driver_memory_mib,
            half[5].executor_cpu_milli,
        ];
        assert_eq!(
            (requests, half[5].executor_memory_mib, half[5].executors),
            ([500, 1, 251], 0, 3)
        );
        assert_eq!(Altered::Earlier { days: 7 }.gangs(&gangs, 1), gangs[..3 * 24]);
        let boot = Altered::Boot { boot_s: 60 };
        assert_eq!(boot.gangs(&gangs, 1), gangs);
        assert_eq!(boot.timing(Timing::new(1)), Timing::new(60_000));
        assert_eq!(Altered::Halved.timing(Timing::new(1)), Timing::new(1));
    }

    #[test]
    fn thinning_leaves_four_fifths_by_the_seed_alone() {
        let gangs = gangs(10_000);
        let left = Altered::Thinned.gangs(&gangs, 1);
        // 8,000 and five times the standard deviation of a binomial, 40.
        assert!((7_800..=8_200).contains(&left.len()), "{}", left.len());
        assert_eq!(left, Altered::Thinned.gangs(&gangs, 1));
        assert_ne!(left, Altered::Thinned.gangs(&gangs, 2));
        // What comes later does not change what is left of the beginning.
        assert!(left.starts_with(&Altered::Thinned.gangs(&gangs[..5_000], 1)));
    }

    #[test]
    fn the_boot_that_is_asked_for_is_not_tried_twice() {
        let boots = |boot_s| {
            Altered::all(boot_s)
                .into_iter()
                .filter(|past| matches!(past, Altered::Boot { .. }))
                .count()
        };
        assert_eq!((boots(150), boots(60), boots(90)), (2, 2, 3));
    }
}
