//! What was expected to be submitted in each hour of some days, one hour ahead, beside what was: as the predictor does it,
//! fitted anew each day on what was known then, and on nothing later.
//!
//! Sizes are in nodes: of each pod of a gang the larger of its shares of a node's CPU and memory.

use kompass_capacity::Shape;
use kompass_forecast::fallback::{self, Answer};
use kompass_forecast::hourly::Hourly;
use kompass_forecast::model::Forecast;
use kompass_forecast::series::Series;
use kompass_forecast::wall::Wall;
use kompass_simulation::capacity::input::Job;
use kompass_simulation::capacity::split::Part;

const HOUR_MS: i64 = 3_600_000;
const DAY_H: usize = 24;
/// Of an hour so much may be unknown; then the hour is.
const UNKNOWN_MS: i64 = 300_000;
/// What stands for *expected*, and for *at most nearly always*, thousandths.
const MEDIAN: u16 = 500;
const HIGH: u16 = 900;

/// Who says what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The model.
    Model,
    /// The same hour of the week before, or of the day before, since there is no model.
    Naive,
    /// Nobody: too little is known.
    Nobody,
}

/// Quantiles of the node-size of an hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Half of all hours should have less.
    pub median: f64,
    /// Nine of ten should.
    pub high: f64,
}

/// An hour: what was expected at its begin, and what came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hour {
    /// Its begin, milliseconds.
    pub start_ms: i64,
    /// Who says what is expected.
    pub by: By,
    /// What is expected.
    pub expected: Option<Band>,
    /// What was expected by the same hour before alone.
    pub naive: Option<Band>,
    /// What came; none where that is not known.
    pub arrived: Option<f64>,
}

/// How good it was, over the hours that all of it is known of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// How many.
    pub hours: u32,
    /// The share of hours in which no more than the 0.9 quantile came.
    pub covered: f64,
    /// The same of the naive one.
    pub naive_covered: f64,
    /// Pinball loss, the mean of both quantiles, by the mean of what came.
    pub loss: f64,
    /// The same of the naive one.
    pub naive_loss: f64,
}

/// Each whole hour of a part. `jobs` are in order of submission, as recorded; nothing is known of the times `unknown_ms`, each from the
/// first to before the second, nor of what was before the first job. `note` is told how much is done, from 0 to 1.
pub fn expected(
    jobs: &[Job],
    shape: Shape,
    unknown_ms: &[(i64, i64)],
    part: Part,
    note: &mut dyn FnMut(f64),
) -> Vec<Hour> {
    let Some((first, series)) = series(jobs, shape, unknown_ms, part.end_ms) else {
        return Vec::new();
    };
    let begin = usize::try_from(hours_up(part.start_ms) - first).unwrap_or(0);
    let mut hours = Vec::new();
    let mut models = Hourly::default();
    // Times are those of the trace, which begins whenever it does.
    let wall = Wall::default();
    for origin in begin..series.len() {
        let known = series.before(origin);
        if (origin - begin).is_multiple_of(DAY_H) {
            note((origin - begin) as f64 / (series.len() - begin) as f64);
            models = wall.history(&known, &[], |history| Hourly::fit(history, Some(models)));
        }
        let (answer, alone) = wall.history(&known, &[], |history| {
            let Hourly { model, naive } = &models;
            let alone = naive.as_ref().and_then(|naive| naive.forecast(history).ok());
            (fallback::forecast(model.as_ref(), None, naive.as_ref(), history), alone)
        });
        let (by, forecasts) = match answer {
            Answer::Model(forecasts) => (By::Model, forecasts),
            Answer::Naive(forecasts, _) => (By::Naive, forecasts),
            Answer::Reactive(_) => (By::Nobody, Vec::new()),
        };
        hours.push(Hour {
            start_ms: (first + i64::try_from(origin).unwrap_or(i64::MAX)) * HOUR_MS,
            by,
            expected: forecasts.first().and_then(Band::new),
            naive: alone.as_deref().and_then(<[Forecast]>::first).and_then(Band::new),
            arrived: series.value(origin),
        });
    }
    hours
}

impl Band {
    fn new(forecast: &Forecast) -> Option<Self> {
        let quantile = |milli| {
            forecast
                .quantiles
                .iter()
                .find(|quantile| quantile.0 == milli)
                .map(|quantile| quantile.1)
        };
        Some(Self {
            median: quantile(MEDIAN)?,
            high: quantile(HIGH)?,
        })
    }

    /// Pinball loss (Koenker and Bassett: Regression quantiles, Econometrica 1978), the mean of both quantiles.
    fn loss(self, arrived: f64) -> f64 {
        let loss = |quantile: u16, value: f64| {
            let share = f64::from(quantile) / 1_000.0;
            (share * (arrived - value)).max((share - 1.0) * (arrived - value))
        };
        f64::midpoint(loss(MEDIAN, self.median), loss(HIGH, self.high))
    }
}

impl Score {
    /// Of hours of which all is known; none if there are none or nothing came in them.
    pub fn new(hours: &[Hour]) -> Option<Self> {
        let (mut score, mut came) = (Self::default(), 0.0);
        for hour in hours {
            let (Some(band), Some(naive), Some(arrived)) = (hour.expected, hour.naive, hour.arrived) else {
                continue;
            };
            score.hours += 1;
            score.covered += f64::from(u8::from(arrived <= band.high));
            score.naive_covered += f64::from(u8::from(arrived <= naive.high));
            score.loss += band.loss(arrived);
            score.naive_loss += naive.loss(arrived);
            came += arrived;
        }
        let count = f64::from(score.hours);
        (came > 0.0).then(|| Self {
            covered: score.covered / count,
            naive_covered: score.naive_covered / count,
            loss: score.loss / came,
            naive_loss: score.naive_loss / came,
            ..score
        })
    }
}

/// Node-size by hour from the first hour after the first submission to the last whole one before `end_ms`, and the number of
/// the first hour since time 0.
fn series(jobs: &[Job], shape: Shape, unknown_ms: &[(i64, i64)], end_ms: i64) -> Option<(i64, Series)> {
    let first = hours_up(jobs.first()?.recorded_ms);
    let hours = usize::try_from(end_ms.div_euclid(HOUR_MS) - first).ok()?;
    let mut sizes = vec![0.0; hours];
    for job in jobs {
        let hour = usize::try_from(job.recorded_ms.div_euclid(HOUR_MS) - first).ok();
        if let Some(size) = hour.and_then(|hour| sizes.get_mut(hour)) {
            *size += job.size as f64 / shape.parts() as f64;
        }
    }
    for (hour, size) in (first..).zip(&mut sizes) {
        let (from_ms, to_ms) = (hour * HOUR_MS, (hour + 1) * HOUR_MS);
        let unknown = unknown_ms
            .iter()
            .map(|gap| (gap.1.min(to_ms) - gap.0.max(from_ms)).max(0));
        if unknown.sum::<i64>() > UNKNOWN_MS {
            *size = f64::NAN;
        }
    }
    let start_ms = u64::try_from(first * HOUR_MS).ok()?;
    Some((first, Series::new(start_ms, HOUR_MS.unsigned_abs(), sizes).ok()?))
}

const fn hours_up(at_ms: i64) -> i64 {
    (at_ms + HOUR_MS - 1).div_euclid(HOUR_MS)
}

#[cfg(test)]
mod tests {
    use kompass_capacity::Members;
    use kompass_simulation::capacity::split::DAY_MS;

    use super::*;

    fn shape() -> Shape {
        Shape::new(1_000, 1_000).unwrap()
    }

    /// Of so many nodes.
    fn job(at_ms: i64, nodes: u64) -> Job {
        Job {
            recorded_ms: at_ms,
            submit_ms: at_ms,
            run_ms: 1,
            profile: 0,
            members: [Members::default(); 2],
            size: nodes * shape().parts(),
        }
    }

    /// Each working hour of so many days, from 8:00 to 12:00, some nodes, not quite the same each time.
    fn mornings(days: i64) -> Vec<Job> {
        let hours = (0..days * 24).filter(|hour| (8..12).contains(&(hour % 24)));
        let jobs = hours.map(|hour| job(hour * HOUR_MS + 600_000, 20 + (hour.unsigned_abs() * 7) % 5));
        std::iter::once(job(0, 1)).chain(jobs).collect()
    }

    fn part(from_day: i64, to_day: i64) -> Part {
        Part {
            start_ms: from_day * DAY_MS + 5 * 60_000,
            end_ms: to_day * DAY_MS + 5 * 60_000,
        }
    }

    fn told(jobs: &[Job], unknown_ms: &[(i64, i64)]) -> Vec<Hour> {
        expected(jobs, shape(), unknown_ms, part(20, 24), &mut |_| {})
    }

    #[test]
    fn what_comes_every_morning_is_expected_and_the_rest_is_not() {
        let hours = told(&mornings(24), &[]);
        // The first hour that is whole begins at 1:00, and the last one ends with the part or before.
        assert_eq!((hours.len(), hours[0].start_ms), (4 * 24 - 1, 20 * DAY_MS + HOUR_MS));
        for hour in &hours {
            let (band, busy) = (
                hour.expected.unwrap(),
                (8..12).contains(&(hour.start_ms / HOUR_MS % 24)),
            );
            assert_eq!(hour.by, By::Model);
            assert_eq!(hour.arrived.unwrap() >= 20.0, busy, "{hour:?}");
            assert_eq!(band.median > 12.0, busy, "{hour:?}");
            assert!(band.median <= band.high, "{hour:?}");
        }
        let score = Score::new(&hours).unwrap();
        assert!(
            score.hours == 95 && score.covered > 0.8 && score.loss < 0.2,
            "{score:?}"
        );
    }

    #[test]
    fn nothing_that_comes_later_is_known() {
        let jobs = mornings(24);
        let hours = told(&jobs, &[]);
        for known_ms in [21 * DAY_MS, 22 * DAY_MS + 9 * HOUR_MS, 23 * DAY_MS + 11 * HOUR_MS] {
            let mut changed = jobs.clone();
            for job in changed.iter_mut().filter(|job| job.recorded_ms >= known_ms) {
                job.size = job.size * 3 + 7;
            }
            let others = told(&changed, &[]);
            let before = hours.iter().take_while(|hour| hour.start_ms <= known_ms).count();
            for (hour, other) in hours[..before].iter().zip(&others) {
                assert_eq!(
                    (hour.by, hour.expected, hour.naive),
                    (other.by, other.expected, other.naive)
                );
            }
            assert_ne!(hours[before..], others[before..]);
        }
    }

    #[test]
    fn hours_that_are_not_known_are_not_judged() {
        let gap_ms = (21 * DAY_MS + 8 * HOUR_MS, 21 * DAY_MS + 12 * HOUR_MS);
        let hours = told(&mornings(24), &[gap_ms]);
        let unknown: Vec<&Hour> = hours.iter().filter(|hour| hour.arrived.is_none()).collect();
        assert_eq!(unknown.len(), 4);
        // After three unknown hours nobody says anything.
        assert_eq!((unknown[3].by, unknown[3].expected), (By::Nobody, None));
        // Nor is the hour after them, of which nobody said anything.
        assert_eq!(Score::new(&hours).unwrap().hours, 90);
        let short = told(&mornings(24)[84..], &[]);
        assert!(short[..20].iter().all(|hour| hour.by == By::Nobody), "{short:?}");
        assert_eq!(told(&[], &[]), []);
    }

    #[test]
    fn the_score_is_the_pinball_loss_by_what_came() {
        let hour = |arrived| Hour {
            start_ms: 0,
            by: By::Model,
            expected: Some(Band { median: 4.0, high: 8.0 }),
            naive: Some(Band { median: 0.0, high: 0.0 }),
            arrived: Some(arrived),
        };
        let score = Score::new(&[hour(10.0), hour(2.0)]).unwrap();
        // (0.5·6 + 0.9·2)/2 and (0.5·2 + 0.1·6)/2, by 12; naive (0.5·10 + 0.9·10)/2 and (0.5·2 + 0.9·2)/2.
        assert!(
            (score.loss - 3.2 / 12.0).abs() < 1e-9 && (score.naive_loss - 8.4 / 12.0).abs() < 1e-9,
            "{score:?}"
        );
        assert!((score.covered - 0.5).abs() < 1e-9 && score.naive_covered.abs() < 1e-9);
        assert_eq!(Score::new(&[hour(0.0)]), None);
    }
}
