use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::calendar::tests::berlin;

const HOUR_MS: u64 = 3_600_000;
/// 2026-03-02 00:00 in Berlin, a Monday, 27 days before clocks go forward.
const START_MS: u64 = 1_772_406_000_000;
static NO_HOLIDAYS: BTreeSet<i64> = BTreeSet::new();

pub(crate) fn calendar() -> Calendar<'static> {
    Calendar {
        offset_s: &berlin,
        holidays: &NO_HOLIDAYS,
    }
}

pub(crate) fn setup() -> Setup {
    Setup {
        features: FeatureSpec::hourly(),
        horizon: Horizon {
            leads: 1,
            span: 1,
            at_midnight: false,
        },
        penalty: 0.1,
        history: 28 * 24,
        errors: 28 * 24,
        gamma: 0.01,
        quantiles: vec![500, 900, 950],
    }
}

/// Numbers without a pattern, 0 to 1.
fn noise(index: u32) -> f64 {
    f64::from(index.wrapping_add(7).wrapping_mul(2_654_435_761) >> 12) / f64::from(u32::MAX >> 12)
}

/// Busy from 9 to 17 by the clock, with noise.
fn busy(weeks: u32) -> Vec<f64> {
    let hour = |index: u32| calendar().local(START_MS + u64::from(index) * HOUR_MS).second / 3_600;
    let value = |index: u32| if (9..17).contains(&hour(index)) { 100.0 } else { 10.0 } * (0.5 + noise(index));
    (0..weeks * 168).map(value).collect()
}

fn series(values: Vec<f64>) -> Series {
    Series::new(START_MS, HOUR_MS, values).unwrap()
}

pub(crate) fn weeks(weeks: u32) -> Series {
    series(busy(weeks))
}

fn history(series: &Series) -> History<'_> {
    History {
        series,
        certain: &[],
        calendar: calendar(),
    }
}

pub(crate) fn fitted() -> Model {
    Model::fit(&setup(), &history(&weeks(4)), None).unwrap()
}

pub(crate) fn naive() -> Model {
    Model::naive(&setup(), &history(&weeks(4)), 7).unwrap()
}

#[test]
fn quantiles_hold_their_promise_on_hours_that_the_model_has_not_seen() {
    let all = weeks(8);
    let mut model = fitted();
    let mut covered = [0_u32; 3];
    for origin in 4 * 168..all.len() {
        let forecast = model.forecast(&history(&all.before(origin))).unwrap().remove(0);
        for (count, (_, bound)) in covered.iter_mut().zip(&forecast.quantiles) {
            *count += u32::from(all.value(origin).unwrap() <= *bound);
        }
        model.observe(&history(&all), origin).unwrap();
    }
    let share = covered.map(|count| f64::from(count) / f64::from(4 * 168));
    for (share, promised) in share.into_iter().zip([0.5, 0.9, 0.95]) {
        assert!((share - promised).abs() < 0.03, "{share} of {promised}");
    }
}

#[test]
fn the_day_after_clocks_change_is_forecast_by_the_clock_on_the_wall() {
    let setup = Setup {
        horizon: Horizon {
            leads: 24,
            span: 1,
            at_midnight: true,
        },
        ..setup()
    };
    // Until 2026-03-30 00:00 by the clock: a day of 23 hours is the last.
    let known = weeks(5).before(28 * 24 - 1);
    let model = Model::fit(&setup, &history(&known), None).unwrap();
    let forecasts = model.forecast(&history(&known)).unwrap();
    let busy: Vec<usize> = (0..24).filter(|&hour| forecasts[hour].point > 40.0).collect();
    assert_eq!(busy, (9..17).collect::<Vec<_>>());
}

#[test]
fn the_same_history_in_another_unit_gives_the_same_forecast_in_that_unit() {
    let scaled = series(busy(4).into_iter().map(|value| value * 64.0).collect());
    let other = Model::fit(&setup(), &history(&scaled), None).unwrap();
    let (one, other) = (
        fitted().forecast(&history(&weeks(4))).unwrap().remove(0),
        other.forecast(&history(&scaled)).unwrap().remove(0),
    );
    for ((_, one), (_, other)) in one.quantiles.iter().zip(&other.quantiles) {
        assert!((one * 64.0 - other).abs() < 1e-6 * other, "{one} {other}");
    }
}

#[test]
fn what_is_certain_is_added_and_never_learned() {
    let all = weeks(5);
    let known = all.before(4 * 168);
    let nightly: Vec<f64> = (0..all.len())
        .map(|index| if index % 24 == 0 { 500.0 } else { 0.0 })
        .collect();
    let with = series(
        (0..known.len())
            .map(|index| known.value(index).unwrap() + nightly[index])
            .collect(),
    );
    let with = History {
        certain: &nightly,
        ..history(&with)
    };
    let model = Model::fit(&setup(), &with, None).unwrap();
    let (with, without) = (
        model.forecast(&with).unwrap().remove(0),
        fitted().forecast(&history(&known)).unwrap().remove(0),
    );
    assert!((with.certain - 500.0).abs() < 1e-9);
    assert!((with.quantiles[1].1 - without.quantiles[1].1 - 500.0).abs() < 1e-6);
}

#[test]
fn a_spike_of_a_hundred_times_is_no_reason_to_expect_more_than_ever_came() {
    let mut known = weeks(4);
    let model = fitted();
    let most = (0..known.len())
        .filter_map(|index| known.value(index))
        .fold(0.0, f64::max);
    known.push(Some(most * 100.0)).unwrap();
    let forecast = model.forecast(&history(&known)).unwrap().remove(0);
    assert!(forecast.point <= most + 1e-9, "{} of {most}", forecast.point);
    assert!(forecast.quantiles.iter().all(|(_, value)| *value <= 3.0 * most));
    // A model that has seen it keeps its head, too.
    for _ in 0..48 {
        known.push(Some(20.0)).unwrap();
    }
    let after = Model::fit(&setup(), &history(&known), None).unwrap();
    let forecast = after.forecast(&history(&known)).unwrap().remove(0);
    assert!(forecast.quantiles[1].1 <= 3.0 * most, "{forecast:?}");
}

#[test]
fn hours_that_nobody_has_seen_are_left_out() {
    let mut values = busy(4);
    values[300..320].fill(f64::NAN);
    let model = Model::fit(&setup(), &history(&series(values.clone())), None).unwrap();
    // Of the first of five parts no errors are known.
    let errors = |hours: usize| hours - hours / 5;
    assert_eq!((fitted().errors(), model.errors()), (errors(671), errors(671 - 20)));
    let gap = series(values);
    let mut unmoved = model.clone();
    assert!(unmoved.observe(&history(&gap), 310).unwrap().is_empty());
    assert_eq!(unmoved, model);
}

#[test]
fn what_teaches_nothing_is_refused() {
    let fit = |values: Vec<f64>| match Model::fit(&setup(), &history(&series(values)), None) {
        Err(Error::Fit { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    assert!(matches!(fit(vec![]), ridge::Error::FewRows { .. }));
    assert!(matches!(fit(vec![1.0, 2.0, 3.0]), ridge::Error::FewRows { .. }));
    assert!(matches!(fit(vec![f64::NAN; 500]), ridge::Error::FewRows { .. }));
    assert_eq!(fit(vec![0.0; 500]), ridge::Error::ConstantTarget);
    assert_eq!(fit(vec![4.2; 500]), ridge::Error::ConstantTarget);
    let wrong = Setup { gamma: 0.03, ..setup() };
    assert_eq!(
        Model::fit(&wrong, &history(&weeks(4)), None),
        Err(Error::Setup("gamma"))
    );
}

#[test]
fn a_series_that_died_is_forecast_to_stay_dead() {
    let mut values = busy(4);
    values.extend([0.0; 14 * 24]);
    let dead = series(values);
    let model = Model::fit(&setup(), &history(&dead), None).unwrap();
    let forecast = model.forecast(&history(&dead)).unwrap().remove(0);
    assert!(forecast.quantiles[1].1 < 10.0, "{forecast:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_gives_ascending_finite_quantiles_or_an_error(
        values in prop::collection::vec(
            prop_oneof![6 => 0.0..50.0, 2 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(1e300)],
            0..400,
        ),
        (leads, span, at_midnight) in (1_u32..5, 1_u32..5, any::<bool>()),
    ) {
        let setup = Setup { horizon: Horizon { leads, span, at_midnight }, ..setup() };
        let series = series(values);
        for model in [Model::fit(&setup, &history(&series), None), Model::naive(&setup, &history(&series), 1)] {
            let Ok(model) = model else { continue };
            prop_assert!(model.is_sound());
            for forecast in model.forecast(&history(&series)).unwrap() {
                let values: Vec<f64> = forecast.quantiles.iter().map(|quantile| quantile.1).collect();
                prop_assert!(values.is_sorted());
                prop_assert!(values.iter().all(|value| *value >= 0.0 && !value.is_nan()));
            }
        }
    }

    #[test]
    fn nothing_after_now_changes_a_model_or_its_forecast(tail in prop::collection::vec(0.0..1e5, 168)) {
        let mut values = busy(4);
        values.extend(&tail);
        let known = series(values).before(4 * 168);
        let model = Model::fit(&setup(), &history(&known), None).unwrap();
        prop_assert_eq!(&model, &fitted());
    }
}
