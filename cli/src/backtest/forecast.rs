//! What was expected of each hour of the test, one hour ahead, beside what came: in words, as JSON, and drawn.

use kompass_headroom::expected::{By, Hour, Score};
use kompass_simulation::capacity::split::Part;
use serde::Serialize;

use crate::draw::axis::{Scale, Unit};
use crate::draw::markup::Markup;
use crate::draw::plot::{self, Axis, Frame, Line};

const HOUR_MS: f64 = 3_600_000.0;
/// Drawn closely: the last days of the test.
const CLOSE_DAYS: f64 = 3.0;

/// All that is told of it.
#[derive(Debug, Serialize)]
pub(super) struct Forecast {
    #[serde(flatten)]
    score: Option<Told>,
    /// Hours by who said what to expect.
    hours_by_model: usize,
    hours_by_naive: usize,
    hours_by_nobody: usize,
    /// In words.
    text: String,
    hours: Vec<HourTold>,
    #[serde(skip)]
    part: Part,
    #[serde(skip)]
    all: Vec<Hour>,
}

#[derive(Debug, Serialize)]
struct Told {
    hours_judged: u32,
    coverage_900: f64,
    naive_coverage_900: f64,
    pinball_by_mean: f64,
    naive_pinball_by_mean: f64,
}

/// An hour; sizes in nodes.
#[derive(Debug, Serialize)]
struct HourTold {
    start_s: i64,
    by: &'static str,
    median: Option<f64>,
    quantile_900: Option<f64>,
    arrived: Option<f64>,
}

impl Forecast {
    /// None where the test has no whole hour.
    pub(super) fn new(all: Vec<Hour>, part: Part) -> Option<Self> {
        if all.is_empty() {
            return None;
        }
        let score = Score::new(&all);
        let by = |who: By| all.iter().filter(|hour| hour.by == who).count();
        Some(Self {
            score: score.map(|score| Told {
                hours_judged: score.hours,
                coverage_900: score.covered,
                naive_coverage_900: score.naive_covered,
                pinball_by_mean: score.loss,
                naive_pinball_by_mean: score.naive_loss,
            }),
            hours_by_model: by(By::Model),
            hours_by_naive: by(By::Naive),
            hours_by_nobody: by(By::Nobody),
            text: words(score, by(By::Model), all.len()),
            hours: all.iter().map(line).collect(),
            part,
            all,
        })
    }

    /// For a terminal.
    pub(super) fn told(&self) -> String {
        format!("\n{}\n", self.text)
    }

    /// A section of the page.
    pub(super) fn draw(&self, body: &mut Markup) {
        body.text_element("h2", &[], "What was expected, and what came");
        body.text_element("p", &[], &self.text);
        let days = self.part.days() as f64;
        let close = (days - CLOSE_DAYS).max(0.0);
        body.element("div", &[("class", &"charts")], |body| {
            for (id, title, from) in [
                ("expected", "Each hour of the test", 0.0),
                ("expected-close", "Its last three days", close),
            ] {
                body.raw("\n");
                body.element("figure", &[], |figure| {
                    figure.element("figcaption", &[], |caption| {
                        caption.text_element("h3", &[], title);
                        let text = "Nodes' worth of gangs submitted in an hour (up, by its root, so that quiet hours can be \
                                    seen too) by day of the test (across). The area goes up to what nine hours of ten \
                                    should not pass.";
                        caption.text_element("p", &[], text);
                    });
                    self.chart((id, title), (from, days), figure);
                });
            }
        });
        body.raw("\n");
    }

    fn chart(&self, (id, title): (&str, &str), (from, to): (f64, f64), figure: &mut Markup) {
        let day = |hour: &Hour| (hour.start_ms - self.part.start_ms) as f64 / HOUR_MS / 24.0;
        let hours: Vec<&Hour> = self.all.iter().filter(|hour| day(hour) >= from).collect();
        let high = |hour: &&Hour| {
            let expected = hour.expected.map_or(0.0, |band| band.high);
            expected.max(hour.arrived.unwrap_or(0.0))
        };
        let up = Scale::root(hours.iter().map(high).fold(0.0, f64::max));
        let across = |hour: &Hour| ((day(hour) + 0.5 / 24.0) - from) / (to - from);
        let days = Scale::even(to - from).ticks(Unit::Count).into_iter();
        let frame = Frame {
            id,
            title,
            description: self.text.clone(),
            across: Axis {
                title: "day of the test",
                ticks: days
                    .map(|tick| (tick.value / (to - from), (from + tick.value).to_string()))
                    .collect(),
            },
            up: Axis::new("nodes in an hour", up, Unit::Count),
            legend: &["expected (median)", "came"],
        };
        frame.draw(figure, |svg| {
            let area: Line = hours
                .iter()
                .map(|hour| Some((across(hour), up.place(hour.expected?.high))))
                .collect();
            plot::area(svg, 0, &area);
            let came: Line = hours
                .iter()
                .map(|hour| Some((across(hour), up.place(hour.arrived?))))
                .collect();
            let median: Line = hours
                .iter()
                .map(|hour| Some((across(hour), up.place(hour.expected?.median))))
                .collect();
            plot::line(svg, 1, &came);
            plot::line(svg, 0, &median);
        });
    }
}

fn line(hour: &Hour) -> HourTold {
    HourTold {
        start_s: hour.start_ms / 1_000,
        by: match hour.by {
            By::Model => "model",
            By::Naive => "naive",
            By::Nobody => "nobody",
        },
        median: hour.expected.map(|band| band.median),
        quantile_900: hour.expected.map(|band| band.high),
        arrived: hour.arrived,
    }
}

fn words(score: Option<Score>, by_model: usize, all: usize) -> String {
    let Some(score) = score else {
        return format!(
            "Nothing can be said of how well arrivals were expected: of {all} hours of the test none can be judged."
        );
    };
    let better = if score.loss < score.naive_loss {
        "less, so the model knows more than the calendar"
    } else {
        "no less: the model knows no more than the calendar"
    };
    let others = match all - by_model {
        0 => String::new(),
        others => format!(" In {others} hours there was no model to say so."),
    };
    format!(
        "What would be submitted was said one hour ahead, by what was known then. In {:.1} % of {} hours no more came than the \
         0.9 quantile said, which should be 90 %; with the same hour of the week before {:.1} %. The pinball loss (how far the \
         median and the 0.9 quantile were off, by what came) is {:.3}, that of the same hour before {:.3}: {better}.{others} No \
         policy that is compared above goes by these forecasts.",
        score.covered * 100.0,
        score.hours,
        score.naive_covered * 100.0,
        score.loss,
        score.naive_loss,
    )
}

#[cfg(test)]
mod tests {
    use kompass_headroom::expected::Band;
    use kompass_simulation::capacity::split::DAY_MS;

    use super::*;
    use crate::draw::markup::tests::elements;

    fn hours(arrived: impl Fn(i64) -> Option<f64>) -> Vec<Hour> {
        let hour = |number: i64| Hour {
            start_ms: number * 3_600_000,
            by: if number == 5 { By::Nobody } else { By::Model },
            expected: (number != 5).then_some(Band { median: 2.0, high: 9.0 }),
            naive: Some(Band { median: 0.0, high: 5.0 }),
            arrived: arrived(number),
        };
        (0..8 * 24).map(hour).collect()
    }

    const PART: Part = Part {
        start_ms: 0,
        end_ms: 8 * DAY_MS,
    };

    #[test]
    fn it_is_told_in_words_and_drawn_with_gaps() {
        let forecast = Forecast::new(hours(|hour| (hour != 7).then_some(3.0)), PART).unwrap();
        assert!(forecast.told().contains("In 100.0 % of 190 hours") && forecast.told().contains("knows more than"));
        assert!(
            forecast.told().contains("In 1 hours there was no model"),
            "{}",
            forecast.told()
        );
        let mut page = Markup::default();
        forecast.draw(&mut page);
        let text = page.finish();
        assert!(!text.contains("NaN"), "{text}");
        let drawn = elements(&text);
        assert_eq!(drawn.iter().filter(|name| *name == "svg").count(), 2);
        // Area, median and what came have a gap each in the whole chart, and none in the close one.
        let moves = |class: &'static str| {
            text.split(class)
                .skip(1)
                .map(|rest| rest.split('"').nth(2).unwrap_or("").matches('M').count())
        };
        assert_eq!(moves("area p0").collect::<Vec<_>>(), [2, 1], "{text}");
        assert_eq!(
            moves("class=\"line p1").collect::<Vec<_>>().len(),
            4,
            "two legends, two lines"
        );
    }

    #[test]
    fn where_nothing_came_nothing_is_said_of_it() {
        let forecast = Forecast::new(hours(|_| Some(0.0)), PART).unwrap();
        assert!(forecast.told().contains("none can be judged"), "{}", forecast.told());
        assert!(Forecast::new(Vec::new(), PART).is_none());
    }
}
