//! How good the forecasts are: mean pinball loss and coverage on series of buckets, next bucket and day ahead, beside the
//! seasonal naive model; and how long a fit and a forecast take.
//!
//! `cargo bench -p kompass-forecast --bench pinball -- [--out=FOLDER] FILE[:TEST_DAYS]…`; a file is CSV with the header
//! `start_s,value`: seconds since 1970 UTC and what arrived in the bucket that begins then, without gaps. With `--out`,
//! FOLDER gets per series and horizon what each model forecast, and the features of every window of the series
//! (`peers/README.md`).

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use kompass_forecast::calendar::{Calendar, DAY_MS};
use kompass_forecast::features::FeatureSpec;
use kompass_forecast::model::{Forecast, History, Horizon, Model, Setup, examples};
use kompass_forecast::series::Series;

const QUANTILES: [u16; 3] = [500, 900, 950];
const TEST_DAYS: usize = 21;

fn main() {
    let (options, files): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    let out = options
        .iter()
        .find_map(|option| option.strip_prefix("--out="))
        .map(Path::new);
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
                let told = walk(&series, calendar, &setup, test, model);
                let model = if model { "ridge" } else { "naive" };
                Score::of(&told).print(&stem(file), name, model);
                if let Some(out) = out {
                    write_told(&out.join(format!("{}-{name}-{model}.csv", stem(file))), &told);
                }
            }
            if let Some(out) = out {
                let path = out.join(format!("{}-{name}-features.csv", stem(file)));
                write_features(&path, &series, calendar, &setup);
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

/// A forecast, when it was made, and what came.
struct Told {
    origin_ms: u64,
    forecast: Forecast,
    actual: f64,
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
    fn of(told: &[Told]) -> Self {
        let mut score = Self::default();
        for told in told {
            score.add(&told.forecast, told.actual);
        }
        score
    }

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

    fn print(&self, name: &str, horizon: &str, model: &str) {
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

fn stem(file: &str) -> String {
    let stem = Path::new(file).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn write_told(path: &Path, told: &[Told]) {
    let mut rows = csv::Writer::from_path(path).unwrap();
    rows.write_record(["origin_s", "start_s", "q500", "q900", "q950"])
        .unwrap();
    for told in told {
        let mut row = vec![
            (told.origin_ms / 1_000).to_string(),
            (told.forecast.start_ms / 1_000).to_string(),
        ];
        row.extend(told.forecast.quantiles.iter().map(|(_, value)| format!("{value:.4}")));
        rows.write_record(row).unwrap();
    }
    rows.flush().unwrap();
}

/// Windows of the whole series, roots throughout as the model sees them; the last columns are the features.
fn write_features(path: &Path, series: &Series, calendar: Calendar<'_>, setup: &Setup) {
    let setup = Setup {
        history: u32::try_from(series.len()).unwrap(),
        ..setup.clone()
    };
    let history = History {
        series,
        certain: &[],
        calendar,
    };
    let mut rows = csv::Writer::from_path(path).unwrap();
    let mut header = vec!["origin_s".to_owned(), "start_s".to_owned(), "root".to_owned()];
    header.extend((0..setup.features.columns()).map(|column| format!("f{column}")));
    rows.write_record(header).unwrap();
    for example in examples(&setup, &history).unwrap() {
        let mut row = vec![
            (example.origin_ms / 1_000).to_string(),
            (example.start_ms / 1_000).to_string(),
            example.target.to_string(),
        ];
        row.extend(example.features.iter().map(f64::to_string));
        rows.write_record(row).unwrap();
    }
    rows.flush().unwrap();
}

/// Forecasts from `test` on, fitted anew each midnight on what was known then.
fn walk(series: &Series, calendar: Calendar<'_>, setup: &Setup, test: usize, ridge: bool) -> Vec<Told> {
    let day = usize::try_from(DAY_MS / series.bucket_ms()).unwrap();
    let mut told = Vec::new();
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
            let forecasts = fitted.forecast(&history(&known)).unwrap();
            for (lead, forecast) in forecasts.into_iter().enumerate() {
                if let Some(actual) = series.value(origin + lead) {
                    told.push(Told {
                        origin_ms: series.time_ms(origin),
                        forecast,
                        actual,
                    });
                }
            }
            let known = series.before(origin + leads);
            fitted.observe(&history(&known), origin).unwrap();
        }
        model = Some(fitted);
    }
    told
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
