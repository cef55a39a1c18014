//! The page that shows a backtest: the frontier of cost and wait on both parts, and what came of each policy.

use kompass_simulation::capacity::Backtest;
use kompass_simulation::capacity::measure::Point;
use kompass_simulation::capacity::protocol::{Tried, Verdict};

use super::forecast::Forecast;
use super::money::{self, Money};
use super::{robust, words};
use crate::draw;
use crate::draw::axis::{Scale, Unit};
use crate::draw::markup::Markup;
use crate::draw::plot::{self, Axis, Frame, Line};
use crate::table;

/// What the page shows beside the backtest.
#[derive(Debug)]
pub(super) struct More<'a> {
    /// What to know of the past.
    pub(super) notes: &'a [String],
    /// What was asked for.
    pub(super) settings: &'a [(&'static str, String)],
    /// What came out in money, where there are prices.
    pub(super) money: Option<&'a Money>,
    /// What was expected of each hour of the test.
    pub(super) forecast: Option<&'a Forecast>,
    /// What came out on altered pasts, if that was asked for.
    pub(super) robustness: Option<&'a [robust::Past]>,
}

/// The page's text; the same for the same results.
pub(super) fn render(backtest: &Backtest, more: &More<'_>) -> String {
    draw::page("Backtest of headroom", |body| {
        body.text_element("h1", &[], "Backtest of headroom");
        body.text_element("p", &[("class", &"lead")], words::recommendation(backtest));
        body.raw("\n");
        if let Some(money) = more.money {
            body.text_element("p", &[("class", &"lead")], &money.text);
            body.raw("\n");
        }
        standings(backtest, body);
        body.text_element("h2", &[], "Charts");
        body.element("div", &[("class", &"charts")], |body| {
            let parts = [
                ("test", "Wait and cost, test", false),
                ("validation", "Wait and cost, where policies are chosen", true),
            ];
            for (id, title, validation) in parts {
                body.raw("\n");
                body.element("figure", &[], |figure| {
                    figure.element("figcaption", &[], |caption| {
                        caption.text_element("h3", &[], title);
                        let text = "Mean wait (up) when so many node-hours more are paid for than without headroom \
                                    (across). The line further down and left is better. Colours are those of the table.";
                        caption.text_element("p", &[], text);
                    });
                    frontier(backtest, (id, title), validation, figure);
                });
            }
        });
        body.raw("\n");
        if let Some(money) = more.money {
            in_money(money, body);
        }
        if let Some(forecast) = more.forecast {
            forecast.draw(body);
        }
        if let Some(pasts) = more.robustness {
            robustness(pasts, body);
        }
        if !more.notes.is_empty() {
            body.text_element("h2", &[], "What is known of this past");
            body.element("ul", &[], |list| {
                for note in more.notes {
                    list.text_element("li", &[], note);
                }
            });
            body.raw("\n");
        }
        draw::settings(body, more.settings);
    })
}

fn standings(backtest: &Backtest, body: &mut Markup) {
    body.text_element("h2", &[], "Policies");
    let all: Vec<&Tried> = backtest.tried.iter().chain([&backtest.oracle]).collect();
    body.element("div", &[("class", &"wide")], |body| {
        let columns = ["policy", "where chosen", "test", "that is", "best in hindsight"];
        body.element("table", &[("class", &"labelled")], |table| {
            names(&columns, table);
            table.element("tbody", &[], |rows| {
                for (number, tried) in all.iter().enumerate() {
                    rows.raw("\n");
                    rows.element("tr", &[], |row| {
                        row.element("th", &[("scope", &"row")], |cell| {
                            let class = format!("swatch {}", plot::colour(number));
                            cell.text_element("span", &[("class", &class)], "");
                            cell.text(&tried.policy);
                            cell.text_element("small", &[], &tried.meaning);
                        });
                        let values = [
                            words::ratio(&tried.on_validation),
                            words::ratio(&tried.on_test),
                            words::verdict(Verdict::of(&tried.on_test)).to_owned(),
                            words::ratio(&tried.in_hindsight),
                        ];
                        self::values(&columns, &values, row);
                    });
                }
            });
        });
    });
    let text = "Waits beside those of a fixed number of nodes at the same cost, the mean over three operating points, in \
                brackets the 90 % interval over days; 1 is the same, less is better. The oracle knows the future: no policy \
                can be like it.";
    body.text_element("p", &[("class", &"quiet")], text);
    body.raw("\n");
}

fn robustness(pasts: &[robust::Past], body: &mut Markup) {
    body.text_element("h2", &[], "Other pasts");
    body.text_element("p", &[("class", &"quiet")], robust::MEANING);
    let rows: Vec<(Vec<String>, Option<&str>)> = pasts.iter().map(|past| (past.cells(), past.failure())).collect();
    figures(&robust::COLUMNS, &rows, body);
}

fn in_money(money: &Money, body: &mut Markup) {
    let [sums, single] = money.meaning();
    body.text_element("h2", &[], "In money");
    body.text_element("p", &[("class", &"quiet")], sums);
    let rows: Vec<(Vec<String>, Option<&str>)> = money.rows().into_iter().map(|cells| (cells, None)).collect();
    figures(&money::COLUMNS, &rows, body);
    body.text_element("p", &[("class", &"quiet")], single);
    body.raw("\n");
}

/// A table with a name and a remark before the values of each row.
fn figures(columns: &[&str], rows: &[(Vec<String>, Option<&str>)], body: &mut Markup) {
    body.element("div", &[("class", &"wide")], |body| {
        body.element("table", &[("class", &"labelled")], |table| {
            names(columns, table);
            table.element("tbody", &[], |body| {
                for (cells, remark) in rows {
                    body.raw("\n");
                    body.element("tr", &[], |row| {
                        let (name, values) = cells
                            .split_first()
                            .map_or(("", &[][..]), |(name, values)| (name, values));
                        row.element("th", &[("scope", &"row")], |cell| {
                            cell.text(name);
                            if let Some(remark) = remark {
                                cell.text_element("small", &[], remark);
                            }
                        });
                        self::values(columns, values, row);
                    });
                }
            });
        });
    });
    body.raw("\n");
}

/// The head of a table.
fn names(columns: &[&str], table: &mut Markup) {
    table.element("thead", &[], |head| {
        head.element("tr", &[], |row| {
            for name in columns {
                row.text_element("th", &[("scope", &"col")], name);
            }
        });
    });
}

/// What stands in a row after its name, each with the name of its column for where that is not seen above it.
fn values(columns: &[&str], values: &[String], row: &mut Markup) {
    for (name, value) in columns.iter().skip(1).zip(values) {
        row.text_element("td", &[("data-name", name)], value);
    }
}

fn frontier(backtest: &Backtest, (id, title): (&str, &str), validation: bool, figure: &mut Markup) {
    let all: Vec<&Tried> = backtest.tried.iter().chain([&backtest.oracle]).collect();
    let points = |tried: &Tried| -> Vec<Point> {
        if validation {
            tried.validation.clone()
        } else {
            tried.test.clone()
        }
    };
    let fixed = points(all[0]);
    let least = fixed.first().map_or(0.0, |point| point.bill_node_hours);
    let most = fixed.last().map_or(0.0, |point| point.bill_node_hours - least);
    let longest = fixed.first().map_or(0.0, |point| point.wait_mean_s);
    let (cost, wait) = (Scale::even(most), Scale::even(longest));
    let described = all.iter().map(|tried| {
        let judged = if validation {
            &tried.on_validation
        } else {
            &tried.on_test
        };
        format!("{}: {}.", tried.policy, words::ratio(judged))
    });
    let frame = Frame {
        id,
        title,
        description: described.collect::<Vec<_>>().join(" "),
        across: Axis::new("node-hours beyond reactive", cost, Unit::Count),
        up: Axis::new("mean wait", wait, Unit::Time),
        // More names than have room.
        legend: &[],
    };
    frame.draw(figure, |svg| {
        for (number, tried) in all.iter().enumerate() {
            let points = points(tried);
            let inside = points.iter().filter(|point| point.bill_node_hours - least <= most);
            let line: Line = inside
                .map(|point| {
                    let place = cost.place(point.bill_node_hours - least);
                    Some((place, wait.place(point.wait_mean_s)))
                })
                .collect();
            plot::line(svg, number, &line);
        }
    });
    let reactive = format!(
        "Without headroom: {} node-hours, mean wait {}.",
        table::grouped(least),
        table::seconds(longest)
    );
    figure.text_element("p", &[("class", &"quiet")], reactive);
}
