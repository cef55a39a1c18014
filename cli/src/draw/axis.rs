//! Axes: where a value is drawn, and which values are written beside it.

use crate::table;

/// How values lie on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// Evenly, from 0 to this.
    Even(f64),
    /// By their square roots, from 0 to this: what is rare and large leaves room for what is small.
    Root(f64),
    /// Seconds by magnitude, from the first to the second; what is shorter lies at the beginning.
    Magnitude(f64, f64),
}

/// What an axis measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things that are counted.
    Count,
    /// Parts of a whole, 1 for all of it.
    Share,
    /// Seconds.
    Time,
}

/// A value that is written beside an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// Closer than this on an axis that is not even, ticks are left out.
const APART: f64 = 0.14;
/// With more ticks than this the labels run into each other on a telephone.
const TICKS_MAX: f64 = 6.0;

const MINUTE_S: f64 = 60.0;
const HOUR_S: f64 = 3_600.0;
const DAY_S: f64 = 86_400.0;

/// Steps of an axis of time, seconds; from a day on the ordinary ones, in days.
const STEPS_S: [f64; 17] = [
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    MINUTE_S,
    2.0 * MINUTE_S,
    5.0 * MINUTE_S,
    10.0 * MINUTE_S,
    30.0 * MINUTE_S,
    HOUR_S,
    2.0 * HOUR_S,
    3.0 * HOUR_S,
    6.0 * HOUR_S,
    12.0 * HOUR_S,
    DAY_S,
    2.0 * DAY_S,
];

/// Times that people know, seconds, about as far from each other by magnitude.
const KNOWN_S: [f64; 7] = [1.0, 10.0, MINUTE_S, 10.0 * MINUTE_S, HOUR_S, 6.0 * HOUR_S, DAY_S];

impl Scale {
    /// Evenly, from 0 to `max`; there is room for something where all is 0.
    pub(crate) fn even(max: f64) -> Self {
        Self::Even(if max.is_finite() && max > 0.0 { max } else { 1.0 })
    }

    /// By roots, from 0 to `max`; there is room for something where all is 0.
    pub(crate) fn root(max: f64) -> Self {
        Self::Root(if max.is_finite() && max > 0.0 { max } else { 1.0 })
    }

    /// Seconds by magnitude, from a known time that is not above `min_s`, from 1 s on, to ten times as much at least.
    pub(crate) fn magnitude(min_s: f64, max_s: f64) -> Self {
        let from_s = known().take_while(|value| *value <= min_s).last().unwrap_or(1.0);
        let to_s = if max_s.is_finite() { max_s } else { 0.0 };
        Self::Magnitude(from_s, to_s.max(10.0 * from_s))
    }

    /// Where a value lies, from 0 to 1.
    pub(crate) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Even(max) => value / max,
            Self::Root(max) => (value.max(0.0) / max).sqrt(),
            Self::Magnitude(min, max) => (value.max(min) / min).ln() / (max / min).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The value at a place from 0 to 1.
    pub(crate) fn value(self, place: f64) -> f64 {
        match self {
            Self::Even(max) => max * place,
            Self::Root(max) => max * place * place,
            Self::Magnitude(min, max) => min * ((max / min).ln() * place).exp(),
        }
    }

    /// Round values to write beside the axis, in rising order.
    pub(crate) fn ticks(self, unit: Unit) -> Vec<Tick> {
        match self {
            Self::Magnitude(min, max) => magnitudes(min, max),
            Self::Root(max) => self.roots(max, unit),
            Self::Even(max) => {
                let step = match unit {
                    Unit::Time => time_step(max),
                    // Half a gang is nothing to write down.
                    Unit::Count => round_step(max).max(1.0),
                    Unit::Share => round_step(max),
                };
                let values = (0_u8..=u8::MAX).map(|number| f64::from(number) * step);
                // A little more than the end, since sums of fractions are seldom exact.
                values
                    .take_while(|value| *value <= max * 1.000_001)
                    .map(|value| Tick {
                        value,
                        label: label(value, step, unit),
                    })
                    .collect()
            }
        }
    }
}

impl Scale {
    /// 0, and of 1, 2, 5, 10, 20, 50… (or 0.1, 0.2…) those that are far enough from each other.
    fn roots(self, max: f64, unit: Unit) -> Vec<Tick> {
        let first = 10_f64.powf((max * APART * APART).log10().floor());
        let tick = |value: f64| Tick {
            value,
            label: label(value, value, unit),
        };
        let mut ticks = vec![tick(0.0)];
        let (mut last, mut size) = (0.0, first);
        while size <= max {
            for value in [1.0, 2.0, 5.0].map(|factor| factor * size) {
                // Half a gang is nothing to write down.
                let whole = unit != Unit::Count || value >= 1.0;
                if whole && value <= max && self.place(value) >= last + APART {
                    last = self.place(value);
                    ticks.push(tick(value));
                }
            }
            size *= 10.0;
        }
        ticks
    }
}

/// The smallest of 1, 2, 5, 10, 20, 50… (or 0.5, 0.2…) that needs few enough steps.
fn round_step(max: f64) -> f64 {
    let least = max / TICKS_MAX;
    let magnitude = 10_f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = factors.into_iter().find(|factor| factor * magnitude >= least);
    fits.unwrap_or(10.0) * magnitude
}

fn time_step(max_s: f64) -> f64 {
    let few = STEPS_S.into_iter().find(|step| max_s / step <= TICKS_MAX);
    few.unwrap_or_else(|| round_step(max_s / DAY_S) * DAY_S)
}

/// Times that people know, seconds, in rising order.
fn known() -> impl Iterator<Item = f64> {
    let days = (1..9).map(|power| 10_f64.powi(power) * DAY_S);
    KNOWN_S.into_iter().chain(days)
}

fn magnitudes(min_s: f64, max_s: f64) -> Vec<Tick> {
    let values: Vec<f64> = known().filter(|value| (min_s..=max_s).contains(value)).collect();
    // Of many every second one is enough.
    let every = if values.len() > 8 { 2 } else { 1 };
    let ticks = values.into_iter().step_by(every);
    ticks
        .map(|value| Tick {
            value,
            label: label(value, value, Unit::Time),
        })
        .collect()
}

/// A value in the unit that its axis's steps have.
fn label(value: f64, step: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => {
            let places = decimals(step * 100.0);
            format!("{:.places$} %", value * 100.0)
        }
        Unit::Count => table::grouped(value),
        Unit::Time if value <= 0.0 => "0".to_owned(),
        Unit::Time => {
            let (size, name) = match step {
                step if step < MINUTE_S => (1.0, "s"),
                step if step < HOUR_S => (MINUTE_S, "min"),
                step if step < DAY_S => (HOUR_S, "h"),
                _ => (DAY_S, "d"),
            };
            let places = decimals(step / size);
            if places == 0 {
                format!("{} {name}", table::grouped(value / size))
            } else {
                format!("{:.places$} {name}", value / size)
            }
        }
    }
}

/// How many decimals tell values apart that lie a round step from each other.
fn decimals(step: f64) -> usize {
    (0_u8..9)
        .find(|&places| step * 10_f64.powi(i32::from(places)) > 0.999)
        .map_or(9, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, unit: Unit) -> Vec<String> {
        scale.ticks(unit).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round_and_carry_their_unit() {
        for (max, unit, expected) in [
            (1.0, Unit::Share, "0 %|20 %|40 %|60 %|80 %|100 %"),
            (0.05, Unit::Share, "0 %|1 %|2 %|3 %|4 %|5 %"),
            (0.004, Unit::Share, "0.0 %|0.1 %|0.2 %|0.3 %|0.4 %"),
            (80.0, Unit::Count, "0|20|40|60|80"),
            (4_321.0, Unit::Count, "0|1,000|2,000|3,000|4,000"),
            (1.0, Unit::Count, "0|1"),
            (45.0, Unit::Time, "0|10 s|20 s|30 s|40 s"),
            (7_200.0, Unit::Time, "0|30 min|60 min|90 min|120 min"),
            (9_408_690.0, Unit::Time, "0|20 d|40 d|60 d|80 d|100 d"),
        ] {
            assert_eq!(labels(Scale::even(max), unit).join("|"), expected, "{max} {unit:?}");
        }
    }

    #[test]
    fn ticks_by_roots_leave_room_for_small_values() {
        assert_eq!(labels(Scale::root(130.0), Unit::Count).join("|"), "0|5|20|50|100");
        assert_eq!(
            labels(Scale::root(2_000.0), Unit::Count).join("|"),
            "0|50|200|500|1,000|2,000"
        );
        assert_eq!(labels(Scale::root(1.0), Unit::Count).join("|"), "0|1");
    }

    #[test]
    fn magnitudes_are_times_that_people_know() {
        let ticks = labels(Scale::magnitude(0.0, 200_000.0), Unit::Time).join("|");
        assert_eq!(ticks, "1 s|10 s|1 min|10 min|1 h|6 h|1 d");
        assert_eq!(labels(Scale::magnitude(0.0, 0.0), Unit::Time).join("|"), "1 s|10 s");
        let ticks = labels(Scale::magnitude(700.0, 200_000.0), Unit::Time).join("|");
        assert_eq!(ticks, "10 min|1 h|6 h|1 d");
        assert!(labels(Scale::magnitude(0.0, 1e11), Unit::Time).len() <= 8);
    }

    #[test]
    fn a_place_is_always_on_the_axis() {
        for scale in [
            Scale::even(0.0),
            Scale::even(f64::NAN),
            Scale::even(7.0),
            Scale::root(0.0),
            Scale::root(f64::INFINITY),
            Scale::root(0.3),
            Scale::root(5e7),
            Scale::magnitude(0.0, f64::INFINITY),
            Scale::magnitude(0.0, 1e5),
            Scale::magnitude(1e12, 1.0),
            Scale::magnitude(f64::NAN, f64::NAN),
        ] {
            for value in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0, 3.0, 1e300, f64::INFINITY] {
                assert!((0.0..=1.0).contains(&scale.place(value)), "{scale:?} {value}");
            }
            assert!((scale.place(scale.value(0.5)) - 0.5).abs() < 1e-9);
            for unit in [Unit::Count, Unit::Share, Unit::Time] {
                assert!((1..=9).contains(&scale.ticks(unit).len()), "{scale:?} {unit:?}");
            }
        }
    }
}
