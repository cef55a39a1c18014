//! The page that shows a comparison: one file of HTML that needs no network and no script.

use super::charts::{CHARTS, Compared};
use super::figures::{Better, FIGURES};
use super::queues;
use crate::draw::markup::Markup;
use crate::draw::{self, plot};
use crate::table;

/// What a page is made of.
#[derive(Debug)]
pub(super) struct Page<'a> {
    /// The trace's file.
    pub(super) trace: &'a str,
    /// What was asked for, as names and values.
    pub(super) settings: &'a [(&'static str, String)],
    pub(super) compared: Compared<'a>,
}

impl Page<'_> {
    /// The page's text; the same for the same results.
    pub(super) fn render(&self) -> String {
        draw::page(&format!("Simulation of {}", self.trace), |body| {
            self.heading(body);
            self.figures(body);
            if queues::are_told(self.compared.reports) {
                queues::draw(self.compared, body);
            }
            self.charts(body);
            draw::settings(body, self.settings);
        })
    }

    fn heading(&self, body: &mut Markup) {
        body.text_element("h1", &[], format_args!("Simulation of {}", self.trace));
        let waits = self.compared.names.iter().zip(self.compared.reports);
        let waits = waits.map(|(name, report)| format!("{} with {name}", table::seconds(report.wait_mean_s)));
        let gangs = self.compared.reports.first().map_or(0, |report| report.gangs);
        let text = format!(
            "{} gangs on {} nodes: they waited on average {}.",
            table::grouped(gangs as f64),
            table::grouped(self.compared.nodes as f64),
            waits.collect::<Vec<_>>().join(", ")
        );
        body.text_element("p", &[("class", &"lead")], text);
        let broken: u64 = self.compared.reports.iter().map(|report| report.violations).sum();
        if broken > 0 {
            let text =
                format!("{broken} violations of what must always hold: don't trust these results, and report them.");
            body.text_element("p", &[("class", &"alarm"), ("role", &"alert")], text);
        }
        body.raw("\n");
    }

    fn figures(&self, body: &mut Markup) {
        body.text_element("h2", &[], "Figures");
        body.element("div", &[("class", &"wide")], |body| {
            let policies = format!("--policies: {}", self.compared.names.len());
            body.element("table", &[("style", &policies)], |table| {
                table.element("thead", &[], |head| head.element("tr", &[], |row| self.names(row)));
                table.element("tbody", &[], |rows| {
                    for figure in &FIGURES {
                        let best = figure.best(self.compared.reports);
                        rows.raw("\n");
                        rows.element("tr", &[], |row| {
                            row.element("th", &[("scope", &"row")], |cell| {
                                cell.text(figure.name);
                                cell.text_element("small", &[], figure.meaning);
                            });
                            for (report, best) in self.compared.reports.iter().zip(best) {
                                let bad = figure.better == Better::Zero && figure.number(report) > 0.0;
                                cell(row, &figure.text(report), best, bad);
                            }
                        });
                    }
                });
            });
        });
        if self.compared.names.len() > 1 {
            let text = "The best of each row is marked, where they differ.";
            body.text_element("p", &[("class", &"quiet")], text);
        }
        body.raw("\n");
    }

    fn names(&self, row: &mut Markup) {
        row.text_element("th", &[("scope", &"col")], "policy");
        for (policy, name) in self.compared.names.iter().enumerate() {
            row.element("th", &[("scope", &"col")], |cell| {
                let class = format!("swatch {}", plot::colour(policy));
                cell.text_element("span", &[("class", &class)], "");
                cell.text(name);
            });
        }
    }

    fn charts(&self, body: &mut Markup) {
        body.text_element("h2", &[], "Charts");
        body.element("div", &[("class", &"charts")], |body| {
            for chart in &CHARTS {
                body.raw("\n");
                body.element("figure", &[], |figure| {
                    figure.element("figcaption", &[], |caption| {
                        caption.text_element("h3", &[], chart.title);
                        caption.text_element("p", &[], chart.caption);
                    });
                    (chart.draw)(chart, self.compared, figure);
                });
            }
        });
        body.raw("\n");
    }
}

fn cell(row: &mut Markup, text: &str, best: bool, bad: bool) {
    match (best, bad) {
        (_, true) => row.element("td", &[("class", &"bad")], |cell| cell.text_element("b", &[], text)),
        (true, _) => row.element("td", &[("class", &"best"), ("title", &"the best")], |cell| {
            cell.text_element("b", &[], text);
        }),
        _ => row.text_element("td", &[], text),
    }
}

#[cfg(test)]
mod tests {
    use kompass_planner::Backfill;
    use kompass_simulation::engine::Queues;
    use kompass_simulation::{Estimates, Gang, Report, Settings, simulate};

    use super::*;
    use crate::draw::markup::tests::elements;

    fn report(gangs: &[Gang], backfill: Backfill) -> Report {
        let settings = Settings {
            nodes: 2,
            node_cpu_milli: 4_000,
            node_memory_mib: 8_192,
            zones: 1,
            packing: kompass_planner::Packing::default(),
            backfill,
            backfill_delay_ms: 1_000_000_000,
            estimates: Estimates::Perfect,
            queues: Queues::One,
        };
        simulate(gangs, &settings, |_| {})
    }

    fn gang(submit_time_s: f64, run_time_s: f64, pods: u64) -> Gang {
        Gang {
            submit_time_s,
            run_time_s,
            profile: "p".to_owned(),
            queue: "q".to_owned(),
            namespace: None,
            driver_cpu_milli: 1_000,
            driver_memory_mib: 1,
            executors: pods - 1,
            executor_cpu_milli: 1_000,
            executor_memory_mib: 1,
        }
    }

    /// More gangs than there is room for, of several sizes, over days.
    fn busy() -> Vec<Gang> {
        (0_u32..200)
            .map(|number| {
                let run_time_s = f64::from(number * 37 % 11) * 700.0 + 1.0;
                gang(f64::from(number) * 900.0, run_time_s, u64::from(number) % 8 + 1)
            })
            .collect()
    }

    fn page(names: &[&str], reports: &[&Report]) -> String {
        let compared = Compared {
            names,
            reports,
            nodes: 2,
            node_cpu_milli: 4_000,
        };
        let settings = [("Trace", "<script>alert(1)</script>".to_owned())];
        let page = Page {
            trace: "a<b>&\".csv",
            settings: &settings,
            compared,
        };
        page.render()
    }

    #[test]
    fn two_policies_stand_side_by_side() {
        let (fifo, easy) = (report(&busy(), Backfill::Off), report(&busy(), Backfill::Easy));
        let page = page(&["fifo", "easy"], &[&fifo, &easy]);
        let elements = elements(&page);
        let count = |name: &str| elements.iter().filter(|element| *element == name).count();
        assert_eq!((count("svg"), count("figure"), count("desc")), (6, 6, 6));
        // Two lines in each chart but that of sizes, which has a mark for each policy and size.
        assert_eq!((count("path"), count("g")), (10, 8));
        assert!(
            page.contains("class=\"best\"") && !page.contains("class=\"bad\""),
            "{page}"
        );
        assert_eq!(page, super::tests::page(&["fifo", "easy"], &[&fifo, &easy]));
    }

    #[test]
    fn whatever_happened_numbers_are_numbers() {
        let nobody_waits: Vec<Gang> = (0_u32..20).map(|number| gang(f64::from(number), 0.5, 1)).collect();
        let same_moment = vec![gang(0.0, 1.0, 8); 3];
        for gangs in [
            vec![],
            vec![gang(0.0, 0.001, 1)],
            vec![gang(0.0, 1.0, 9)],
            nobody_waits,
            same_moment,
        ] {
            let report = report(&gangs, Backfill::Easy);
            let page = page(&["easy"], &[&report]);
            assert_eq!(elements(&page).iter().filter(|element| *element == "svg").count(), 6);
            for bad in ["NaN", "inf ", "\"inf", "-0 "] {
                assert!(!page.contains(bad), "{bad} for {gangs:?}");
            }
        }
    }

    #[test]
    fn names_are_never_markup() {
        let report = report(&busy(), Backfill::Off);
        let page = page(&["<i>&"], &[&report]);
        assert!(
            page.contains("<h1>Simulation of a&lt;b&gt;&amp;&quot;.csv</h1>"),
            "{page}"
        );
        assert!(
            page.contains("&lt;i&gt;&amp;") && !page.contains("<i>") && !page.contains("<script"),
            "{page}"
        );
    }

    #[test]
    fn nothing_is_fetched_from_anywhere() {
        let report = report(&busy(), Backfill::Off);
        let page = page(&["fifo"], &[&report]).replace("http://www.w3.org/2000/svg", "");
        for word in ["http://", "https://", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn violations_are_seen() {
        let mut report = report(&busy(), Backfill::Off);
        report.violations = 3;
        let page = page(&["fifo"], &[&report]);
        assert!(
            page.contains("class=\"bad\"><b>3</b>") && page.contains("class=\"alarm\""),
            "{page}"
        );
    }
}
