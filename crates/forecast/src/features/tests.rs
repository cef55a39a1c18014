use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::calendar::tests::berlin;
use crate::series::Series;

const HOUR_MS: u64 = 3_600_000;
/// 2026-03-16 00:00 in Berlin, a Monday, 13 days before clocks go forward.
const MONDAY_MS: u64 = 1_773_615_600_000;

fn row(spec: &FeatureSpec, values: Vec<f64>, window: Window) -> Vec<f64> {
    let holidays = BTreeSet::from([20_531]);
    let calendar = Calendar {
        offset_s: &berlin,
        holidays: &holidays,
    };
    let series = Series::new(MONDAY_MS, HOUR_MS, values).unwrap();
    let mut row = Vec::new();
    spec.write(&Past::new(&series, spec), &calendar, window, &mut row);
    row
}

fn all() -> FeatureSpec {
    FeatureSpec {
        peaks: vec![6, 24],
        fading: vec![2, 6],
        weekdays: true,
        ..FeatureSpec::hourly()
    }
}

proptest! {
    #[test]
    fn no_feature_sees_the_future(
        values in prop::collection::vec(prop_oneof![4 => 0.0..100.0, 1 => Just(f64::NAN)], 30..500),
        other in prop::collection::vec(0.0..1e6, 500),
        origin in 0_usize..500,
        (lead, span) in (0_usize..30, 1_usize..30),
    ) {
        let origin = origin.min(values.len());
        let window = Window { origin, lead, span };
        let mut changed = values.clone();
        changed[origin..].copy_from_slice(&other[..values.len() - origin]);
        let cut = values[..origin].to_vec();
        let known = row(&all(), values, window);
        prop_assert_eq!(known.len(), all().columns());
        prop_assert!(known.iter().all(|feature| feature.is_finite()));
        prop_assert_eq!(&known, &row(&all(), changed, window));
        prop_assert_eq!(&known, &row(&all(), cut, window));
    }
}

#[test]
fn bursts_are_means_and_peaks_of_the_last_buckets() {
    let spec = FeatureSpec {
        recent: vec![1, 2, 4],
        peaks: vec![3],
        half_lives: vec![1],
        fading: vec![1],
        ..FeatureSpec::default()
    };
    let window = Window {
        origin: 4,
        lead: 2,
        span: 1,
    };
    let features = row(&spec, vec![49.0, 25.0, f64::NAN, 9.0, 1e9], window);
    let aged = (3.0 * 4.0 + 5.0 * 2.0 + 7.0) / 7.0;
    assert_eq!(features[..4], [3.0, 3.0, 5.0, 5.0]);
    assert!((features[4] - aged).abs() < 1e-12);
    assert!((features[5] - (3.0 - 5.0) / 4.0).abs() < 1e-12);
}

#[test]
fn yesterday_is_by_the_clock_on_the_wall() {
    let spec = FeatureSpec {
        days_before: vec![1, 7, 40],
        usual_days: vec![2, 1],
        hours: true,
        ..FeatureSpec::default()
    };
    // Every bucket holds the square of its hour by the clock; clocks go forward on the 14th day.
    let clock = |index: u64| (index + u64::from(index >= 13 * 24 + 2)) % 24;
    let values = (0..600).map(|index| (clock(index) * clock(index)) as f64).collect();
    let window = Window {
        origin: 13 * 24 + 3,
        lead: 8,
        span: 1,
    };
    let features = row(&spec, values, window);
    let level = features[2];
    assert_eq!(features[..5], [12.0, 12.0, level, 12.0, 12.0]);
    assert_eq!(features[5..].iter().position(|&flag| flag > 0.5), Some(12));
}

#[test]
fn holidays_and_the_day_after_have_columns() {
    let spec = FeatureSpec {
        weekdays: true,
        holidays: true,
        ..FeatureSpec::default()
    };
    let flags = |lead| {
        row(
            &spec,
            vec![],
            Window {
                origin: 0,
                lead,
                span: 1,
            },
        )
    };
    // 20,531 is the Thursday after.
    let thursday = 3 * 24;
    assert_eq!(flags(thursday), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    assert_eq!(flags(thursday + 24), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(flags(thursday + 48), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn bounds_what_a_model_file_may_ask_for() {
    assert!(all().is_sound());
    let unsound = [
        FeatureSpec::default(),
        FeatureSpec {
            recent: vec![0],
            ..FeatureSpec::default()
        },
        FeatureSpec {
            day_waves: u32::MAX,
            week_waves: u32::MAX,
            ..FeatureSpec::default()
        },
    ];
    assert!(unsound.iter().all(|spec| !spec.is_sound()));
}
