//! The simulation's own account of queues: what each had and waited for, beside what its rules promise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kompass_core::Resources;
use kompass_planner::{Limits, Packing, QueueRules, QueueTable};

use crate::series::{Levels, Series};
use crate::trace::Gang;

/// Of so many queues the course is kept: those with most work in the trace.
pub const COURSES_MAX: usize = 6;

/// The account of all queues.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) queues: Vec<Account>,
    /// Its queue's index, by gang.
    of: Vec<usize>,
    until_ms: Option<i64>,
    /// Times at which a queue was given more than its limit.
    pub(crate) over_limit: u64,
}

/// The account of one queue.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    pub(crate) rules: QueueRules,
    used: Pods,
    /// By order of submission.
    waiting: BTreeSet<usize>,
    pub(crate) sums: Sums,
    /// What it used and who waited, over time; `None` where its course is not kept.
    pub(crate) series: Option<Series>,
}

/// Integrals over time: thousandths of a CPU × milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    /// What it used.
    pub(crate) cpu: u128,
    /// The same, while it and another queue had gangs waiting.
    pub(crate) contended: u128,
    /// What all used meanwhile.
    pub(crate) contended_all: u128,
    /// Its part of that by weight, among the queues that waited or used any.
    pub(crate) contended_fair: u128,
    /// How long that was, milliseconds.
    pub(crate) contended_ms: u64,
    /// How long its first gang waited although it was within the guarantee, milliseconds.
    pub(crate) claim_ms: u64,
}

/// Requests of some pods and their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Pods {
    requests: Resources,
    count: u64,
}

impl Pods {
    fn of(gang: &Gang) -> Self {
        let mut requests = gang.driver();
        requests.add_times(&gang.executor(), gang.executors);
        Self {
            requests,
            count: gang.executors + 1,
        }
    }

    fn add(&mut self, more: &Self) {
        self.requests.add(&more.requests);
        self.count += more.count;
    }

    fn subtract(&mut self, less: &Self) {
        self.requests.subtract(&less.requests);
        self.count -= less.count;
    }

    /// Whether it is no more than this of anything that is named; traces know nothing of other resources.
    fn is_within(&self, most: &Limits) -> bool {
        let within = |used: u64, most: Option<u64>| most.is_none_or(|most| used <= most);
        within(self.requests.cpu_milli, most.cpu_milli)
            && within(self.requests.memory_bytes, most.memory_bytes)
            && within(self.count, most.pods)
    }
}

impl Accounts {
    /// `queue_of`: the queue of each gang, by its number.
    pub(crate) fn new(gangs: &[Gang], table: &QueueTable, queue_of: impl Fn(usize) -> Arc<str>) -> Self {
        let mut names: BTreeMap<Arc<str>, u128> = table.queues.keys().map(|name| (name.as_str().into(), 0)).collect();
        let queues: Vec<Arc<str>> = (0..gangs.len()).map(queue_of).collect();
        for (gang, queue) in gangs.iter().zip(&queues) {
            let work = u128::from(gang.cpu_milli()) * u128::from(gang.run_ms().unsigned_abs());
            *names.entry(queue.clone()).or_default() += work;
        }
        let mut by_work: Vec<(u128, &Arc<str>)> = names.iter().map(|(name, &work)| (work, name)).collect();
        by_work.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.1.cmp(right.1)));
        let followed: BTreeSet<&Arc<str>> = by_work.iter().take(COURSES_MAX).map(|(_, name)| *name).collect();
        let account = |name: &Arc<str>| Account {
            name: name.clone(),
            rules: table.queues.get(&**name).cloned().unwrap_or_default(),
            series: followed.contains(name).then(Series::default),
            ..Account::default()
        };
        let index: BTreeMap<&Arc<str>, usize> = names.keys().zip(0..).collect();
        Self {
            of: queues.iter().filter_map(|queue| index.get(queue).copied()).collect(),
            queues: names.keys().map(account).collect(),
            until_ms: None,
            over_limit: 0,
        }
    }

    /// The number of a gang's queue.
    pub(crate) fn of(&self, gang: usize) -> usize {
        self.of[gang]
    }

    /// Whether the gang alone stays within its queue's limit.
    pub(crate) fn may_ever(&self, number: usize, gang: &Gang) -> bool {
        Pods::of(gang).is_within(&self.queues[self.of[number]].rules.limit)
    }

    /// Which nodes the queue of a gang takes, if its rules say so.
    pub(crate) fn packing(&self, number: usize) -> Option<Packing> {
        self.queues[self.of[number]].rules.packing
    }

    /// Time goes on; the first call is the beginning.
    pub(crate) fn until(&mut self, now_ms: i64, gangs: &[Gang]) {
        let passed_ms = now_ms
            .saturating_sub(self.until_ms.unwrap_or(now_ms))
            .max(0)
            .unsigned_abs();
        self.until_ms = Some(now_ms);
        let waiting = self.queues.iter().filter(|queue| !queue.waiting.is_empty()).count();
        let all: u64 = self.queues.iter().map(|queue| queue.used.requests.cpu_milli).sum();
        let active = |queue: &&Account| !queue.waiting.is_empty() || queue.used.count > 0;
        let weights: u128 = self
            .queues
            .iter()
            .filter(active)
            .map(|queue| u128::from(queue.rules.weight))
            .sum();
        for queue in &mut self.queues {
            let used = queue.used.requests.cpu_milli;
            if let Some(series) = &mut queue.series {
                series.until(
                    now_ms,
                    Levels {
                        cpu_milli: used,
                        waiting: queue.waiting.len() as u64,
                        ..Levels::default()
                    },
                );
            }
            let times = |cpu: u64| u128::from(passed_ms) * u128::from(cpu);
            queue.sums.cpu += times(used);
            let Some(&first) = queue.waiting.first() else { continue };
            if waiting > 1 {
                queue.sums.contended += times(used);
                queue.sums.contended_all += times(all);
                queue.sums.contended_fair += times(all) * u128::from(queue.rules.weight) / weights.max(1);
                queue.sums.contended_ms += passed_ms;
            }
            let mut claim = queue.used.clone();
            claim.add(&Pods::of(&gangs[first]));
            let guaranteed = &queue.rules.guaranteed;
            if *guaranteed != Limits::default() && claim.is_within(guaranteed) {
                queue.sums.claim_ms += passed_ms;
            }
        }
    }

    pub(crate) fn submitted(&mut self, gang: usize) {
        self.queues[self.of[gang]].waiting.insert(gang);
    }

    pub(crate) fn started(&mut self, number: usize, gang: &Gang) {
        let queue = &mut self.queues[self.of[number]];
        queue.waiting.remove(&number);
        queue.used.add(&Pods::of(gang));
        if !queue.used.is_within(&queue.rules.limit) {
            self.over_limit += 1;
        }
    }

    pub(crate) fn ended(&mut self, number: usize, gang: &Gang) {
        self.queues[self.of[number]].used.subtract(&Pods::of(gang));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods of one CPU.
    fn gang(pods: u64) -> Gang {
        Gang {
            submit_time_s: 0.0,
            run_time_s: 1.0,
            profile: String::new(),
            queue: String::new(),
            namespace: None,
            driver_cpu_milli: 1_000,
            driver_memory_mib: 1,
            executors: pods - 1,
            executor_cpu_milli: 1_000,
            executor_memory_mib: 1,
        }
    }

    fn rules(weight: u32, guaranteed_milli: Option<u64>, limit_milli: Option<u64>) -> QueueRules {
        let cpu = |cpu_milli| Limits {
            cpu_milli,
            ..Limits::default()
        };
        QueueRules {
            weight,
            guaranteed: cpu(guaranteed_milli),
            limit: cpu(limit_milli),
            ..QueueRules::default()
        }
    }

    #[test]
    fn sums_are_integrals_and_a_limit_that_is_broken_is_seen() {
        let gangs = [gang(2), gang(2), gang(1), gang(3)];
        let table = QueueTable {
            queues: [
                ("a".to_owned(), rules(3, Some(2_000), Some(2_000))),
                ("b".to_owned(), rules(1, None, None)),
            ]
            .into(),
        };
        let queue_of = |gang: usize| if gang == 1 { "b".into() } else { "a".into() };
        let mut accounts = Accounts::new(&gangs, &table, queue_of);
        assert!(accounts.may_ever(0, &gangs[0]) && !accounts.may_ever(3, &gangs[3]));
        accounts.until(5_000, &gangs);
        accounts.submitted(0);
        accounts.submitted(1);
        // Both wait for a second, a's gang within its guarantee; nothing is in use.
        accounts.until(6_000, &gangs);
        accounts.started(1, &gangs[1]);
        accounts.until(8_000, &gangs);
        let (a, b) = (accounts.queues[0].sums, accounts.queues[1].sums);
        assert_eq!((a.cpu, b.cpu), (0, 2_000 * 2_000));
        assert_eq!((a.claim_ms, b.claim_ms), (3_000, 0));
        assert_eq!(
            (a.contended_ms, a.contended_all),
            (1_000, 0),
            "b does not wait any more"
        );
        accounts.started(0, &gangs[0]);
        accounts.submitted(2);
        accounts.submitted(1);
        accounts.until(9_000, &gangs);
        let a = accounts.queues[0].sums;
        assert_eq!((a.contended, a.contended_all), (2_000 * 1_000, 4_000 * 1_000));
        assert_eq!(a.contended_fair, 3_000 * 1_000, "three of four CPUs");
        assert_eq!(a.claim_ms, 3_000, "it has all that is guaranteed");
        assert_eq!(accounts.over_limit, 0);
        accounts.started(2, &gangs[2]);
        assert_eq!(accounts.over_limit, 1);
        accounts.ended(2, &gangs[2]);
        accounts.ended(0, &gangs[0]);
        assert_eq!(accounts.queues[0].used, Pods::default());
    }

    #[test]
    fn the_course_is_kept_of_those_with_most_work() {
        let gangs: Vec<Gang> = (1..10).map(gang).collect();
        let accounts = Accounts::new(&gangs, &QueueTable::default(), |gang| format!("q{gang}").into());
        let followed = accounts.queues.iter().filter(|queue| queue.series.is_some());
        let names: Vec<&str> = followed.map(|queue| &*queue.name).collect();
        assert_eq!(names, ["q3", "q4", "q5", "q6", "q7", "q8"]);
    }
}
