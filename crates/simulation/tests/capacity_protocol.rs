//! The protocol as a whole on a small trace.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

mod generated;

use kompass_capacity::budget::Limits;
use kompass_capacity::newsvendor::Prices;
use kompass_capacity::{Family, Holding, Past, Policy, Shape};
use kompass_simulation::Gang;
use kompass_simulation::capacity::measure::Point;
use kompass_simulation::capacity::money::{Cheapest, Cost};
use kompass_simulation::capacity::protocol::{Error, Verdict};
use kompass_simulation::capacity::{Backtest, Settings, Timing};

fn settings() -> Settings {
    Settings {
        shape: Shape::new(8_000, 32_768).unwrap(),
        timing: Timing::new(150_000),
        seed: 1,
        holding: Holding::default(),
        prices: None,
    }
}

/// Fixed headroom as if it were a policy: what comes out for it is known.
struct Constant;

impl Policy for Constant {
    fn headroom(&mut self, _now_ms: i64, _past: &Past<'_>, nodes: &mut [u32]) {
        for (number, nodes) in (0..).zip(nodes) {
            *nodes = number;
        }
    }
}

/// Twice the nodes that are decided for.
struct Wasteful;

impl Policy for Wasteful {
    fn headroom(&mut self, now_ms: i64, _past: &Past<'_>, nodes: &mut [u32]) {
        // All of them every other half day, and none between.
        let on = now_ms / 43_200_000 % 2 == 0;
        for (number, nodes) in (0..).zip(nodes) {
            *nodes = if on { 2 * number } else { 0 };
        }
    }
}

fn families() -> Vec<Family> {
    let family = |name: &'static str, make: fn() -> Box<dyn Policy>| Family {
        name,
        meaning: "",
        parameters: (0..40).map(f64::from).collect(),
        make: Box::new(make),
    };
    vec![
        family("constant", || Box::new(Constant)),
        family("wasteful", || Box::new(Wasteful)),
    ]
}

fn backtest(gangs: &[Gang]) -> Result<Backtest, Error> {
    Backtest::run(gangs, settings(), &families(), vec![], &mut |_, _| {})
}

#[test]
fn a_policy_that_is_fixed_headroom_is_as_good_as_that() {
    let backtest = backtest(&generated::trace(19, 100)).unwrap();
    let (fixed, constant, wasteful) = (&backtest.tried[0], &backtest.tried[1], &backtest.tried[2]);
    assert_eq!(fixed.validation, constant.validation[..fixed.validation.len()]);
    assert_eq!(fixed.on_test, constant.on_test);
    assert_eq!(Verdict::of(&fixed.on_test), Verdict::Even);
    assert_eq!(Verdict::of(&wasteful.on_test), Verdict::Loss);
    assert_eq!(backtest.recommended, 0, "nothing surely better than fixed headroom");
    // More headroom costs more and lets gangs wait less.
    let points = fixed.test.windows(2);
    for pair in points {
        assert!(pair[0].bill_node_hours < pair[1].bill_node_hours && pair[0].wait_mean_s > pair[1].wait_mean_s);
    }
    assert!(fixed.test.last().unwrap().wait_mean_s < 0.5);
    assert!(backtest.oracle.on_test.ratio.unwrap() < 0.5);
}

#[test]
fn the_choice_does_not_depend_on_the_test() {
    let gangs = generated::trace(19, 100);
    let whole = backtest(&gangs).unwrap();
    // Another test: all of its gangs are small and short. Its last submission stays where it is.
    let start_s = whole.split.test.start_ms as f64 / 1_000.0;
    let mut changed = gangs.clone();
    for gang in changed.iter_mut().filter(|gang| gang.submit_time_s >= start_s) {
        gang.executors = 0;
        gang.run_time_s = 10.0;
    }
    let other = backtest(&changed).unwrap();
    assert_eq!(
        (whole.split, &whole.operating_points),
        (other.split, &other.operating_points)
    );
    for (one, other) in whole.tried.iter().zip(&other.tried) {
        assert_eq!(one.on_validation, other.on_validation);
        assert_eq!(one.on_test.chosen, other.on_test.chosen);
        assert_ne!(one.test[0], other.test[0]);
    }
}

#[test]
fn decisions_on_tape_give_the_same_again() {
    let gangs = generated::trace(19, 100);
    let whole = backtest(&gangs).unwrap();
    let tapes = whole.decisions();
    let again = Backtest::run(&gangs, settings(), &families(), tapes.clone(), &mut |_, _| {}).unwrap();
    assert_eq!((&again.tried, &again.oracle), (&whole.tried, &whole.oracle));
    assert_eq!(again.decisions(), tapes);
    // They are really taken: with others something else comes out.
    let mut others = tapes.clone();
    for tape in &mut others {
        tape.headroom.iter_mut().flatten().for_each(|nodes| *nodes += 1);
    }
    let changed = Backtest::run(&gangs, settings(), &families(), others, &mut |_, _| {}).unwrap();
    assert_ne!(changed.tried[0].test, whole.tried[0].test);
    // Of another trace they are refused.
    let mut late = tapes;
    late[0].first_ms += 300_000;
    let error = Backtest::run(&gangs, settings(), &families(), late, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("their times are not those"), "{error}");
}

#[test]
fn bounds_hold_for_all_that_is_held_and_prices_add_sums_only() {
    let gangs = generated::trace(19, 100);
    let plain = backtest(&gangs).unwrap();
    assert_eq!(Cheapest::of_each(&plain), []);
    let prices = Prices {
        node_hour: 400_000,
        wait_hour: 40_000_000,
    };
    let run = |settings: Settings| Backtest::run(&gangs, settings, &families(), vec![], &mut |_, _| {}).unwrap();
    let told = run(Settings {
        prices: Some(prices),
        ..settings()
    });
    for (plain, told) in plain.tried.iter().zip(&told.tried) {
        let as_far = plain.test.len();
        assert!(told.test.len() >= as_far && told.test[..as_far] == plain.test[..]);
        assert_eq!(
            (&told.on_test, &told.in_hindsight),
            (&plain.on_test, &plain.in_hindsight)
        );
    }
    let cheapest = Cheapest::of_each(&told);
    for cheapest in &cheapest {
        let tried = &told.tried[cheapest.policy];
        let total = |point: &Point| Cost::new(point, told.submitted[0], prices).total();
        assert!(
            tried
                .validation
                .iter()
                .all(|point| cheapest.validation.total() <= total(point))
        );
        // Nodes alone cost more at the end, so that no parameter that was not tried is cheaper.
        assert!(Cost::new(tried.validation.last().unwrap(), told.submitted[0], prices).nodes > 0.0);
        assert!(cheapest.in_hindsight.total() <= cheapest.test.total());
    }
    assert!(
        cheapest[0].parameter > 0,
        "waiting is dear enough to hold some: {cheapest:?}"
    );

    let bounded = run(Settings {
        holding: Holding {
            nodes_max: Some(4),
            hold_ms: 600_000,
            limits: Some(Limits {
                hour_node_ms: u64::MAX,
                day_node_ms: 48 * 3_600_000,
            }),
        },
        ..settings()
    });
    assert_eq!(bounded.tried[0].parameters.len(), 5);
    for tape in bounded.decisions() {
        for held in &tape.headroom {
            assert!(held.iter().all(|nodes| *nodes <= 4));
            for day in held.windows(288) {
                assert!(day.iter().map(|nodes| u64::from(*nodes)).sum::<u64>() <= 48 * 12);
            }
        }
    }
    // Two nodes at all times are within it, four are not: the same two are held for all days, the four for half of them.
    let fixed = &bounded.tried[0].test;
    assert_eq!(fixed[2], plain.tried[0].test[2]);
    assert!(fixed[4].bill_node_hours < plain.tried[0].test[4].bill_node_hours - 100.0);
}

#[test]
fn traces_that_are_too_short_or_too_large_are_refused() {
    for (gangs, word) in [
        (generated::trace(17, 50), "spans 16.9 days"),
        (
            generated::trace(19, 50)
                .into_iter()
                .map(|gang| Gang {
                    driver_cpu_milli: 9_000,
                    ..gang
                })
                .collect(),
            "larger than the node",
        ),
        (vec![], "larger than the node"),
    ] {
        let error = backtest(&gangs).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn where_nobody_waits_nothing_is_held() {
    // A small gang always runs, and the others have room beside it.
    let gang = |submit_time_s: u32, run_time_s: u32| Gang {
        submit_time_s: f64::from(submit_time_s),
        run_time_s: f64::from(run_time_s),
        profile: "p".to_owned(),
        queue: "q".to_owned(),
        namespace: None,
        driver_cpu_milli: 100,
        driver_memory_mib: 100,
        executors: 0,
        executor_cpu_milli: 0,
        executor_memory_mib: 0,
    };
    let gangs = (0..19 * 24).flat_map(|hour| [gang(hour * 3_600, 7_200), gang(hour * 3_600 + 60, 10)]);
    let backtest = backtest(&gangs.collect::<Vec<_>>()).unwrap();
    assert_eq!(backtest.recommended, 0);
    let fixed = &backtest.tried[0];
    assert_eq!((fixed.test.len(), Verdict::of(&fixed.on_test)), (1, Verdict::Nothing));
    assert!(
        fixed.test[0].wait_mean_s < 0.5 && fixed.test[0].bill_node_hours > 190.0,
        "{:?}",
        fixed.test[0]
    );
}
