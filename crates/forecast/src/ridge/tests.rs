use super::*;

/// Rows of two features with spreads far apart, and a target that is a line of them.
fn line(rows: u32) -> (Vec<f64>, Vec<f64>) {
    let row = |index: u32| [f64::from(index % 7) * 1e-3, f64::from(index % 11) * 1e4 + 5e6];
    let features: Vec<f64> = (0..rows).flat_map(row).collect();
    let targets = features
        .chunks(2)
        .map(|row| 4.0 + 3_000.0 * row[0] - 2e-4 * row[1])
        .collect();
    (features, targets)
}

#[test]
fn finds_a_line_whatever_the_scale_of_its_features() {
    let (features, targets) = line(200);
    let fitted = Ridge::fit(&features, 2, &targets, 1e-9, 10).unwrap();
    for (row, target) in features.chunks(2).zip(&targets) {
        assert!(
            (fitted.predict(row) - target).abs() < 1e-3,
            "{} is not {target}",
            fitted.predict(row)
        );
    }
}

#[test]
fn a_shift_and_scale_of_a_feature_changes_no_prediction() {
    let (features, targets) = line(200);
    let moved: Vec<f64> = features
        .chunks(2)
        .flat_map(|row| [row[0] * 50.0 - 7.0, row[1]])
        .collect();
    let (one, other) = (
        Ridge::fit(&features, 2, &targets, 0.1, 10).unwrap(),
        Ridge::fit(&moved, 2, &targets, 0.1, 10).unwrap(),
    );
    for (row, moved) in features.chunks(2).zip(moved.chunks(2)) {
        assert!((one.predict(row) - other.predict(moved)).abs() < 1e-6);
    }
}

#[test]
fn a_penalty_draws_coefficients_to_zero() {
    let (features, targets) = line(200);
    let spread = |penalty: f64| {
        let fitted = Ridge::fit(&features, 2, &targets, penalty, 10).unwrap();
        (fitted.predict(&features[..2]) - fitted.predict(&features[12..14])).abs()
    };
    assert!(spread(1.0) < 0.6 * spread(1e-6));
    assert!(spread(100.0) < 0.02 * spread(1e-6));
}

#[test]
fn doubled_and_constant_columns_do_no_harm() {
    let (features, targets) = line(200);
    let wide: Vec<f64> = features
        .chunks(2)
        .flat_map(|row| [row[0], row[0], 0.3, row[1], row[0]])
        .collect();
    let fitted = Ridge::fit(&wide, 5, &targets, 1e-6, 10).unwrap();
    assert!(fitted.coefficients[2].abs() < f64::MIN_POSITIVE);
    for twin in [0, 1, 4] {
        assert!(
            (fitted.coefficients[twin] - 1_000.0).abs() < 1.0,
            "{:?}",
            fitted.coefficients
        );
    }
}

#[test]
fn refuses_what_least_squares_would_take() {
    let (features, targets) = line(20);
    let fit = |features: &[f64], targets: &[f64]| Ridge::fit(features, 2, targets, 0.1, 10).unwrap_err();
    assert_eq!(
        fit(&features[..8], &targets[..4]),
        Error::FewRows { rows: 4, needed: 10 }
    );
    assert_eq!(fit(&[], &[]), Error::FewRows { rows: 0, needed: 10 });
    assert!(matches!(fit(&features[1..], &targets), Error::Shape { .. }));
    assert_eq!(fit(&features, &[7.0; 20]), Error::ConstantTarget);
    assert_eq!(fit(&features, &[0.0; 20]), Error::ConstantTarget);
    assert_eq!(fit(&[0.1; 40], &targets), Error::ConstantFeatures);
    for bad in [f64::NAN, f64::INFINITY] {
        let mut spoilt = features.clone();
        spoilt[11] = bad;
        assert_eq!(fit(&spoilt, &targets), Error::NotFinite { row: 5 });
        let mut spoilt = targets.clone();
        spoilt[3] = bad;
        assert_eq!(fit(&features, &spoilt), Error::NotFinite { row: 3 });
        assert!(matches!(
            Ridge::fit(&features, 2, &targets, bad, 10),
            Err(Error::Penalty(_))
        ));
    }
    let many = vec![0.0; MAX_CELLS + 2];
    assert_eq!(fit(&many, &many[..=MAX_CELLS / 2]), Error::Large(MAX_CELLS + 2));
    // Their sum is beyond what a number can hold.
    let huge: Vec<f64> = targets.iter().map(|target| target * 1e304).collect();
    assert_eq!(fit(&features, &huge), Error::Unsolved);
}

#[test]
fn says_nothing_beyond_what_it_has_seen() {
    let (features, targets) = line(200);
    let fitted = Ridge::fit(&features, 2, &targets, 1e-9, 10).unwrap();
    let at = |first: f64, second: f64| fitted.predict(&[first, second]);
    assert!((at(1.0, 5e6) - at(6e-3, 5e6)).abs() < 1e-9);
    assert!((at(6e-3, -9e9) - at(6e-3, 5e6)).abs() < 1e-9);
}

#[test]
fn answers_no_more_than_it_was_ever_answered() {
    let features: Vec<f64> = (0..90)
        .flat_map(|index| [f64::from(u8::from(index % 3 == 0)), f64::from(u8::from(index % 3 == 1))])
        .collect();
    let targets: Vec<f64> = features.chunks(2).map(|row| row[0] + row[1]).collect();
    let fitted = Ridge::fit(&features, 2, &targets, 1e-6, 10).unwrap();
    // Each has been 1, but never both.
    assert!((fitted.predict(&[1.0, 1.0]) - 1.0).abs() < 1e-9);
}

#[test]
fn a_row_of_weight_two_is_a_row_given_twice() {
    let (mut features, mut targets) = line(50);
    targets[7] += 3.0;
    let mut weights = vec![0.25; 50];
    weights[7] = 0.5;
    let weighed = Ridge::fit_weighed(&features, 2, &targets, &weights, 0.1, 10).unwrap();
    features.extend_from_within(14..16);
    targets.push(targets[7]);
    let twice = Ridge::fit(&features, 2, &targets, 0.1, 10).unwrap();
    for row in features.chunks(2) {
        assert!((weighed.predict(row) - twice.predict(row)).abs() < 1e-9);
    }
}
