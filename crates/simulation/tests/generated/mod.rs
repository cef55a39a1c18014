//! Traces that are made up: bursts, busy hours and quiet ones, gangs of several sizes.

#![allow(dead_code, reason = "no test uses all of it")]

use kompass_simulation::Gang;

/// A day, seconds.
pub(crate) const DAY_S: i64 = 86_400;

/// Numbers that look random and are the same each time (a linear congruential generator, Knuth's MMIX).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below this one.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let high = u32::try_from(self.0 >> 33).unwrap_or(0);
        high % end.max(1)
    }
}

/// About so many gangs each day, half of them in bursts within some minutes.
pub(crate) fn trace(days: i64, each_day: u32) -> Vec<Gang> {
    let mut random = Random(1);
    let mut times_s: Vec<u32> = Vec::new();
    for day in 0..u32::try_from(days).unwrap_or(0) {
        let midnight_s = day * 86_400;
        while times_s.len() < (day * each_day + each_day / 2) as usize {
            // Twice as much in the working hours.
            let hour = [random.below(24), 8 + random.below(10)][random.below(2) as usize];
            times_s.push(midnight_s + hour * 3_600 + random.below(3_600));
        }
        while times_s.len() < ((day + 1) * each_day) as usize {
            let at_s = midnight_s + random.below(85_000);
            let gangs = 1 + random.below(20);
            times_s.extend((0..gangs).map(|_| at_s + random.below(1_200)));
        }
    }
    times_s.sort_unstable();
    let gang = |at_s: u32| Gang {
        submit_time_s: f64::from(at_s),
        run_time_s: f64::from(30 + random.below(3_000)),
        profile: format!("job-{}", random.below(5)),
        queue: "q".to_owned(),
        namespace: None,
        driver_cpu_milli: 1_000,
        driver_memory_mib: 2_048,
        executors: u64::from(random.below(4) * random.below(4)),
        executor_cpu_milli: 2_000,
        executor_memory_mib: 8_192,
    };
    times_s.into_iter().map(gang).collect()
}
