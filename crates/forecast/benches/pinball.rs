//! How good the forecasts are: mean pinball loss and coverage on series of buckets, next bucket and day ahead, beside the
//! seasonal naive model; and how long a fit and a forecast take.
//!
//! `cargo bench -p kompass-forecast --bench pinball -- FILE[:TEST_DAYS]…`; a file is CSV with the header `start_s,value`: seconds
//! since 1970 UTC and what arrived in the bucket that begins then, without gaps.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kompass_forecast::calendar::{Calendar, DAY_MS};
use kompass_forecast::features::FeatureSpec;
use kompass_forecast::model::{Forecast, History, Horizon, Model, Setup};
use kompass_forecast::series::Series;

const QUANTILES: [u16; 3] = [500, 900, 950];
const TEST_DAYS: usize = 21;

fn main() {
    let files: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let holidays = BTreeSet::new();
    let calendar = Calendar {
        offset_s: &|_| 0,
        holidays: &holidays,
    };
    println!("series\thorizon\tmodel\tloss/mean\tτ=.5\tτ=.9\tτ=.95\tcover .5\tcover .9\tcover .95\tWAPE\tforecasts");
    for argument in &files {
        let (file, days) = argument.rsplit_once(':').unwrap_or((argument, ""));
        let series = read(file);
        let day = usize::try_from(DAY_MS / series.bucket_ms()).unwrap();
        let test = series.len() - days.parse().unwrap_or(TEST_DAYS) * day;
        for (name, at_midnight) in [("next", false), ("day", true)] {
            let setup = setup(&series, at_midnight);
            for model in [true, false] {
                let score = walk(&series, calendar, &setup, test, model);
                score.print(file, name, if model { "ridge" } else { "naive" });
            }
        }
    }
    time(calendar);
}

fn setup(series: &Series, at_midnight: bool) -> Setup {
    let day = u32::try_from(DAY_MS / series.bucket_ms()).unwrap();
    Setup {
        features: FeatureSpec::hourly(),
        horizon: Horizon {
            leads: if at_midnight { day } else { 1 },
            span: 1,
            at_midnight,
        },
        penalty: 0.1,
        history: 120 * day,
        errors: 56 * day,
        gamma: 0.01,
        quantiles: QUANTILES.to_vec(),
    }
}

/// Sums over the test.
#[derive(Default)]
struct Score {
    loss: [f64; 3],
    covered: [u32; 3],
    off: f64,
    demand: f64,
    forecasts: u32,
}

impl Score {
    fn add(&mut self, forecast: &Forecast, actual: f64) {
        for (index, &(quantile, value)) in forecast.quantiles.iter().enumerate() {
            let share = f64::from(quantile) / 1_000.0;
            self.loss[index] += if actual > value {
                share * (actual - value)
            } else {
                (1.0 - share) * (value - actual)
            };
            self.covered[index] += u32::from(actual <= value);
        }
        self.off += (forecast.quantiles[0].1 - actual).abs();
        self.demand += actual;
        self.forecasts += 1;
    }

    fn print(&self, file: &str, horizon: &str, model: &str) {
        let name = std::path::Path::new(file)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let loss = self.loss.map(|loss| loss / self.demand);
        let covered = self
            .covered
            .map(|covered| format!("{:.3}", f64::from(covered) / f64::from(self.forecasts)));
        println!(
            "{name}\t{horizon}\t{model}\t{:.4}\t{:.4}\t{:.4}\t{:.4}\t{}\t{:.3}\t{}",
            loss.iter().sum::<f64>() / 3.0,
            loss[0],
            loss[1],
            loss[2],
            covered.join("\t"),
            self.off / self.demand,
            self.forecasts
        );
    }
}

/// Forecasts from `test` on, fitted anew each midnight on what was known then.
fn walk(series: &Series, calendar: Calendar<'_>, setup: &Setup, test: usize, ridge: bool) -> Score {
    let day = usize::try_from(DAY_MS / series.bucket_ms()).unwrap();
    let mut score = Score::default();
    let mut model: Option<Model> = None;
    for midnight in (test..series.len()).step_by(day) {
        let known = series.before(midnight);
        let history = History {
            series: &known,
            certain: &[],
            calendar,
        };
        let mut fitted = if ridge {
            Model::fit(setup, &history, model.as_ref()).unwrap()
        } else {
            Model::naive(setup, &history, 7).unwrap()
        };
        let leads = usize::try_from(setup.horizon.leads).unwrap();
        for origin in (midnight..(midnight + day).min(series.len())).step_by(leads) {
            let known = series.before(origin);
            let history = |series| History {
                series,
                certain: &[],
                calendar,
            };
            for (lead, forecast) in fitted.forecast(&history(&known)).unwrap().iter().enumerate() {
                if let Some(actual) = series.value(origin + lead) {
                    score.add(forecast, actual);
                }
            }
            let known = series.before(origin + leads);
            fitted.observe(&history(&known), origin).unwrap();
        }
        model = Some(fitted);
    }
    score
}

fn read(file: &str) -> Series {
    let mut rows = csv::Reader::from_path(file).unwrap();
    let rows: Vec<(u64, f64)> = rows.deserialize().map(Result::unwrap).collect();
    let values = rows.iter().map(|row| row.1).collect();
    Series::new(rows[0].0 * 1_000, (rows[1].0 - rows[0].0) * 1_000, values).unwrap()
}

/// Fits and forecasts 28 days of 5 minutes with 60 features; the slowest of five fits and of a hundred forecasts.
fn time(calendar: Calendar<'_>) {
    const BUCKETS: u32 = 28 * 288;
    let noise = |index: u32| f64::from(index.wrapping_mul(2_654_435_761) >> 24);
    let values = (0..BUCKETS)
        .map(|index| noise(index) * f64::from(1 + index % 288))
        .collect();
    let series = Series::new(0, 300_000, values).unwrap();
    let history = History {
        series: &series,
        certain: &[],
        calendar,
    };
    let setup = Setup {
        features: FeatureSpec {
            recent: vec![1, 2, 3, 6, 12, 24, 36, 72, 144, 288, 2_016],
            half_lives: vec![2, 6, 24],
            weekdays: true,
            ..FeatureSpec::hourly()
        },
        horizon: Horizon {
            leads: 1,
            span: 3,
            at_midnight: false,
        },
        history: BUCKETS,
        errors: BUCKETS,
        ..setup(&series, false)
    };
    let mut model = None;
    let slowest =
        |times: &mut dyn FnMut() -> Duration, count: usize| (0..count).map(|_| times()).max().unwrap_or_default();
    let fit = slowest(
        &mut || {
            let start = Instant::now();
            model = Some(Model::fit(&setup, &history, None).unwrap());
            start.elapsed()
        },
        5,
    );
    let model = model.unwrap();
    let forecast = slowest(
        &mut || {
            let start = Instant::now();
            std::hint::black_box(model.forecast(&history).unwrap());
            start.elapsed()
        },
        100,
    );
    println!(
        "fit of {BUCKETS} buckets x {} features {fit:.1?}, a forecast {forecast:.1?}",
        setup.features.columns()
    );
}
