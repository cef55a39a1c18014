use proptest::prelude::*;

use super::*;

const KEYS: [&str; 3] = ["own", "name", "all"];

fn ended(seconds: u64) -> Run {
    Run { seconds, ended: true }
}

fn known(runs: &[(&[&str], Run)]) -> Runtimes {
    let mut runtimes = Runtimes::default();
    for (keys, run) in runs {
        runtimes.observe(keys.iter().copied(), *run);
    }
    runtimes
}

fn estimate(runtimes: &Runtimes, age_s: u64) -> (u64, u64) {
    let told = runtimes.estimate(&KEYS, age_s, &[]).unwrap();
    (told.estimate.p50_s, told.estimate.p90_s)
}

/// Whether it is right within the width of a bucket.
fn near(seconds: u64, expected: u64) -> bool {
    (0.8..1.25).contains(&(seconds as f64 / expected as f64))
}

#[test]
fn tells_the_quantiles_of_the_jobs_own_runs() {
    let runs: Vec<(&[&str], Run)> = (1..=60).map(|minute| (&KEYS[..1], ended(minute * 60))).collect();
    let runtimes = known(&runs);
    let told = runtimes.estimate(&KEYS, 0, &[]).unwrap();
    assert_eq!((told.key, told.estimate.samples), ("own", 60));
    // The newest runs, which are the longest, count most.
    let (p50, p90) = estimate(&runtimes, 0);
    assert!(near(p50, 35 * 60) && near(p90, 56 * 60), "{p50} {p90}");
}

#[test]
fn a_job_that_never_ran_is_expected_to_run_as_its_closest_kin_did() {
    let runtimes = known(&[
        (&["other", "name", "all"], ended(100)),
        (&["third", "all"], ended(9_000)),
    ]);
    let told = runtimes.estimate(&KEYS, 0, &[]).unwrap();
    assert_eq!((told.key, told.estimate.samples), ("name", 1));
    assert!(runtimes.estimate(&["new"], 0, &[]).is_none());
    assert!(Runtimes::default().estimate(&KEYS, 0, &[]).is_none());
}

#[test]
fn few_runs_lean_on_kin_and_many_stand_alone() {
    let kin = (0..50).map(|_| (&["other", "all"][..], ended(10_000)));
    let p90 = |own: usize| {
        let own = (0..own).map(|_| (&["own", "all"][..], ended(100)));
        estimate(&known(&kin.clone().chain(own).collect::<Vec<_>>()), 0).1
    };
    assert!(near(p90(1), 10_000), "{}", p90(1));
    assert!(near(p90(50), 100), "{}", p90(50));
}

#[test]
fn a_run_that_has_outlived_the_short_ones_is_expected_to_be_a_long_one() {
    let runs: Vec<(&[&str], Run)> = (0..100)
        .map(|index| (&KEYS[..1], ended(if index % 10 == 0 { 7_200 } else { 60 })))
        .collect();
    let runtimes = known(&runs);
    assert!(near(estimate(&runtimes, 0).0, 60));
    let (p50, p90) = estimate(&runtimes, 300);
    assert!(near(p50, 7_200) && near(p90, 7_200), "{p50} {p90}");
    // None is known that ran so long.
    assert_eq!(estimate(&runtimes, 100_000), (200_000, 200_000));
}

#[test]
fn runs_that_are_not_over_make_it_longer() {
    let runs: Vec<(&[&str], Run)> = (0..20).map(|index| (&KEYS[..1], ended(60 + index * 60))).collect();
    let mut runtimes = known(&runs);
    let without = runtimes.estimate(&KEYS, 0, &[]).unwrap().estimate;
    let with = runtimes.estimate(&KEYS, 0, &[1_100; 15]).unwrap().estimate;
    assert!(
        with.p50_s > without.p50_s && with.samples == without.samples,
        "{with:?} {without:?}"
    );
    // One that has only begun says nothing yet.
    assert_eq!(runtimes.estimate(&KEYS, 0, &[1; 15]).unwrap().estimate, without);
    for _ in 0..15 {
        let run = Run {
            seconds: 1_100,
            ended: false,
        };
        runtimes.observe(["own"], run);
    }
    let lost = runtimes.estimate(&KEYS, 0, &[]).unwrap().estimate;
    assert!(lost.p50_s > without.p50_s && lost.samples == 20, "{lost:?}");
}

#[test]
fn keys_are_bounded() {
    let mut runtimes = Runtimes::default();
    for index in 0..MAX_KEYS + 10 {
        runtimes.observe([index.to_string().as_str(), "all"], ended(60));
    }
    assert!(runtimes.len() <= MAX_KEYS);
    let newest = (MAX_KEYS + 9).to_string();
    assert_eq!(runtimes.estimate(&[&newest], 0, &[]).unwrap().key, newest);
    assert!(runtimes.estimate(&["0"], 0, &[]).is_none());
    assert!(runtimes.estimate(&["all"], 0, &[]).is_some());
}

proptest! {
    #[test]
    fn estimates_are_in_order_and_never_before_now(
        runs in prop::collection::vec((0_usize..3, any::<bool>(), prop_oneof![0_u64..100_000, any::<u64>()]), 1..60),
        age_s in prop_oneof![0_u64..200_000, Just(u64::MAX)],
        running in prop::collection::vec(any::<u64>(), 0..5),
    ) {
        let mut runtimes = Runtimes::default();
        for (first, ended, seconds) in runs {
            runtimes.observe(KEYS[first..].iter().copied(), Run { seconds, ended });
        }
        if let Some(told) = runtimes.estimate(&KEYS, age_s, &running) {
            let estimate = told.estimate;
            prop_assert!(age_s <= estimate.p50_s && estimate.p50_s <= estimate.p90_s, "{estimate:?}");
            prop_assert!(estimate.samples > 0);
        }
    }
}
