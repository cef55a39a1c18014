//! What else is expected in this hour and the next: how many gangs, and gangs and node-size of the largest jobs. Pure.
//!
//! The node-size of all is told by [`crate::follow`], which watches how its forecasts turn out; these are told by their
//! models as they are, and by the same hour before where there is none.

use kompass_capacity::{Shape, Submitted};
use kompass_forecast::fallback::{self, Answer};
use kompass_forecast::hourly::Hourly;
use kompass_forecast::model::Forecast;
use kompass_forecast::series::Series;
use kompass_history::{Gap, History};
use serde::Serialize;

use crate::outlook::{Hour, Outlook, series};
use crate::past::Known;
use crate::settings::Settings;

/// Jobs of which it is told at most: those that asked for most, all submissions of the past together.
const JOBS_MAX: usize = 16;

/// The models.
#[derive(Debug, Clone, Default)]
pub struct Fitted {
    gangs: Hourly,
    jobs: Vec<(String, Pair)>,
}

/// Of one job.
#[derive(Debug, Clone, Default)]
struct Pair {
    gangs: Hourly,
    nodes: Hourly,
}

/// What is expected.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Arrivals {
    /// Gangs of all jobs.
    pub gangs: Count,
    /// The jobs that asked for most, these first.
    pub profiles: Vec<Profile>,
}

/// How many gangs.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Count {
    /// What tells it: `model`, `naive` or `nothing`.
    pub by: &'static str,
    /// The hour that has begun, and the next.
    pub hours: Vec<CountedHour>,
}

/// An hour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CountedHour {
    /// Its begin, milliseconds since 1970 UTC.
    pub start_ms: u64,
    /// Its end.
    pub end_ms: u64,
    /// Gangs that are submitted in it.
    pub gangs: f64,
    /// Quantiles of it: thousandths and gangs.
    pub quantiles: Vec<(u16, f64)>,
}

/// What one job is expected to ask for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Its profile key, or what comes closest to one.
    pub profile: String,
    /// How many gangs.
    pub gangs: Count,
    /// Their node-size.
    pub nodes: Outlook,
}

/// A time that is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// From when to when, milliseconds.
    pub window: (i64, i64),
    /// Times of it of which nothing is known.
    pub gaps: &'a [Gap],
    /// The past.
    pub known: &'a Known,
}

impl Sight<'_> {
    fn series(&self, what: impl Fn(&Submitted) -> f64) -> Option<Series> {
        series(self.window, self.gaps, self.known, what)
    }

    fn of_job(&self, name: &str, what: impl Fn(&Submitted) -> f64) -> Option<Series> {
        let number = self.known.profiles.iter().position(|known| known == name);
        let number = number.and_then(|number| u32::try_from(number).ok());
        self.series(|gang| if Some(gang.profile) == number { what(gang) } else { 0.0 })
    }
}

/// Fits what can be fitted. `go_on` is asked before each job.
pub fn fit(
    history: &History,
    known: &Known,
    settings: &Settings,
    before: Option<&Fitted>,
    go_on: &dyn Fn() -> bool,
) -> Fitted {
    let sight = Sight {
        window: (history.window.from_ms, history.window.to_ms),
        gaps: &history.gaps,
        known,
    };
    let fit = |series: Option<Series>, before: Option<&Hourly>| {
        let series = series?;
        Some(
            settings
                .wall
                .history(&series, &[], |history| Hourly::fit(history, before.cloned())),
        )
    };
    let gangs = fit(sight.series(one), before.map(|before| &before.gangs)).unwrap_or_default();
    let mut jobs = Vec::new();
    for name in largest(known) {
        if !go_on() {
            break;
        }
        let before = before.and_then(|before| before.jobs.iter().find(|(known, _)| *known == name));
        let before = before.map(|(_, pair)| pair);
        let gangs = fit(sight.of_job(&name, one), before.map(|pair| &pair.gangs));
        let nodes = fit(
            sight.of_job(&name, in_nodes(settings.shape)),
            before.map(|pair| &pair.nodes),
        );
        let pair = Pair {
            gangs: gangs.unwrap_or_default(),
            nodes: nodes.unwrap_or_default(),
        };
        jobs.push((name, pair));
    }
    Fitted { gangs, jobs }
}

/// What is expected at the end of what is known.
pub fn told(fitted: &Fitted, sight: Sight<'_>, settings: &Settings) -> Arrivals {
    let forecast = |fitted: &Hourly, series: Option<Series>| {
        let Some(series) = series else {
            return ("nothing", Vec::new(), Some("less than an hour is known".to_owned()));
        };
        let answer = settings.wall.history(&series, &[], |history| {
            fallback::forecast(fitted.model.as_ref(), None, fitted.naive.as_ref(), history)
        });
        match answer {
            Answer::Model(forecasts) => ("model", forecasts, None),
            Answer::Naive(forecasts, reason) => ("naive", forecasts, Some(reason.to_string())),
            Answer::Reactive(reason) => ("nothing", Vec::new(), Some(reason.to_string())),
        }
    };
    let count = |fitted: &Hourly, series| {
        let (by, forecasts, _) = forecast(fitted, series);
        let hours = forecasts.into_iter().map(CountedHour::from).collect();
        Count { by, hours }
    };
    let profile = |(name, pair): &(String, Pair)| {
        let (by, hours, reason) = forecast(&pair.nodes, sight.of_job(name, in_nodes(settings.shape)));
        let hours = hours.into_iter().map(Hour::from).collect();
        Profile {
            profile: name.clone(),
            gangs: count(&pair.gangs, sight.of_job(name, one)),
            nodes: Outlook { by, reason, hours },
        }
    };
    Arrivals {
        gangs: count(&fitted.gangs, sight.series(one)),
        profiles: fitted.jobs.iter().map(profile).collect(),
    }
}

/// The jobs that asked for most, these first.
fn largest(known: &Known) -> Vec<String> {
    let mut sizes = vec![0_u64; known.profiles.len()];
    for gang in &known.submitted {
        let size = usize::try_from(gang.profile)
            .ok()
            .and_then(|number| sizes.get_mut(number));
        if let Some(size) = size {
            *size = size.saturating_add(gang.size);
        }
    }
    let mut jobs: Vec<(u64, &String)> = sizes
        .into_iter()
        .zip(&known.profiles)
        .filter(|(size, _)| *size > 0)
        .collect();
    jobs.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(other.1)));
    jobs.into_iter().take(JOBS_MAX).map(|(_, name)| name.clone()).collect()
}

const fn one(_: &Submitted) -> f64 {
    1.0
}

fn in_nodes(shape: Shape) -> impl Fn(&Submitted) -> f64 {
    move |gang| gang.size as f64 / shape.parts() as f64
}

impl From<Forecast> for CountedHour {
    fn from(forecast: Forecast) -> Self {
        Self {
            start_ms: forecast.start_ms,
            end_ms: forecast.end_ms,
            gangs: forecast.point,
            quantiles: forecast.quantiles,
        }
    }
}

#[cfg(test)]
mod tests {
    use kompass_history::{End, Gang};

    use super::*;
    use crate::outlook::HOUR_MS;
    use crate::past::tests::{gang, history};
    use crate::settings::tests::settings;

    /// For three weeks: each morning hour four gangs of one job, and each evening hour one large gang of another.
    fn days() -> History {
        let named = |at_ms, executors, profile: &str| Gang {
            profile: profile.to_owned(),
            ..gang(at_ms, Some(60_000), End::Succeeded, executors)
        };
        let hours = 0..20 * 24 + 8_i64;
        let gangs = hours.flat_map(|hour| {
            let at = move |minute: i64| hour * HOUR_MS + minute * 60_000;
            match hour % 24 {
                8..12 => (0..4).map(|number| named(at(number * 10), 5, "report-1")).collect(),
                18..22 => vec![named(at(5), 50, "train-2")],
                _ => Vec::new(),
            }
        });
        history(0, (20 * 24 + 8) * HOUR_MS, gangs.collect())
    }

    #[test]
    fn each_job_is_expected_at_its_own_time() {
        let (past, settings) = (days(), settings(1, 1));
        let known = Known::new(&past.gangs, settings.shape);
        let fitted = fit(&past, &known, &settings, None, &|| true);
        let sight = Sight {
            window: (past.window.from_ms, past.window.to_ms),
            gaps: &[],
            known: &known,
        };
        // It is 8:00: four reports this hour, and no training.
        let told = told(&fitted, sight, &settings);
        assert_eq!(told.gangs.by, "model");
        assert!((2.5..5.5).contains(&told.gangs.hours[0].gangs), "{told:?}");
        let names: Vec<&str> = told.profiles.iter().map(|job| job.profile.as_str()).collect();
        assert_eq!(names, ["train-2", "report-1"], "what asked for most is first");
        let [train, report] = &told.profiles[..] else {
            unreachable!()
        };
        assert!((2.5..5.5).contains(&report.gangs.hours[0].gangs), "{report:?}");
        assert!(
            (13.0..31.0).contains(&report.nodes.hours[0].nodes),
            "four times five and a half: {report:?}"
        );
        assert!(
            train.gangs.hours[0].gangs < 0.5 && train.nodes.hours[0].nodes < 10.0,
            "{train:?}"
        );
    }

    #[test]
    fn few_jobs_are_told_of_and_none_where_nothing_is_known() {
        let mut past = days();
        past.gangs
            .iter_mut()
            .zip(0..)
            .for_each(|(gang, number)| gang.profile = format!("job-{}", number % 40));
        let settings = settings(1, 1);
        let known = Known::new(&past.gangs, settings.shape);
        assert_eq!(largest(&known).len(), JOBS_MAX);
        let none = Known::default();
        let nothing = fit(&history(10, 20, Vec::new()), &none, &settings, None, &|| true);
        let sight = Sight {
            window: (10, 20),
            gaps: &[],
            known: &none,
        };
        let told = told(&nothing, sight, &settings);
        assert_eq!(
            (told.gangs.by, told.gangs.hours.len(), told.profiles.len()),
            ("nothing", 0, 0)
        );
    }
}
