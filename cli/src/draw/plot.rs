//! The frame of a chart: axes, grid, legend, and the lines in it.

use std::fmt::Write as _;

use super::axis::{Scale, Unit};
use super::markup::{At, Markup};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 286.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = HEIGHT - 44.0;
/// Colours that the style sheet has for policies; with more they repeat.
const COLOURS: usize = 6;

/// One axis: what it measures, and values beside it by their place from 0 to 1.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) title: &'static str,
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    pub(crate) fn new(title: &'static str, scale: Scale, unit: Unit) -> Self {
        let ticks = scale.ticks(unit).into_iter();
        Self {
            title,
            ticks: ticks.map(|tick| (scale.place(tick.value), tick.label)).collect(),
        }
    }
}

/// A chart without its marks.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// Unique in the page.
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    /// What a person sees who does not see it.
    pub(crate) description: String,
    pub(crate) across: Axis,
    pub(crate) up: Axis,
    /// Names of the policies, by their numbers.
    pub(crate) legend: &'a [&'a str],
}

/// Places from 0 to 1 on both axes, joined by a line; nothing is drawn from and to a gap (`None`).
pub(crate) type Line = Vec<Option<(f64, f64)>>;

impl Frame<'_> {
    /// The chart, with the marks that `marks` draws over the grid.
    pub(crate) fn draw(&self, page: &mut Markup, marks: impl FnOnce(&mut Markup)) {
        let (title, description) = (format!("{}-title", self.id), format!("{}-desc", self.id));
        let attributes: [(&str, &dyn std::fmt::Display); 5] = [
            ("xmlns", &"http://www.w3.org/2000/svg"),
            ("viewBox", &format_args!("0 0 {WIDTH} {HEIGHT}")),
            ("role", &"img"),
            ("aria-labelledby", &title),
            ("aria-describedby", &description),
        ];
        page.element("svg", &attributes, |svg| {
            svg.text_element("title", &[("id", &title)], self.title);
            svg.text_element("desc", &[("id", &description)], &self.description);
            self.grid(svg);
            marks(svg);
            self.legend(svg);
        });
    }

    fn grid(&self, svg: &mut Markup) {
        for (place, label) in &self.up.ticks {
            let y = up(*place);
            segment(svg, "grid", (LEFT, y), (RIGHT, y));
            write(svg, "tick end", (LEFT - 6.0, y + 4.0), label);
        }
        for (place, label) in &self.across.ticks {
            let x = across(*place);
            segment(svg, "grid", (x, TOP), (x, BOTTOM));
            write(svg, "tick middle", (x, BOTTOM + 17.0), label);
        }
        segment(svg, "axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        write(svg, "name", (0.0, TOP - 14.0), self.up.title);
        write(svg, "name end", (RIGHT, HEIGHT - 8.0), self.across.title);
    }

    fn legend(&self, svg: &mut Markup) {
        let mut x = 0.0;
        for (number, name) in self.legend.iter().enumerate() {
            segment(svg, &format!("line {}", colour(number)), (x, 8.0), (x + 24.0, 8.0));
            write(svg, "key", (x + 30.0, 12.0), name);
            // Letters are measured only where they are drawn; this is about as wide as the widest.
            x += 48.0 + 8.0 * name.chars().count() as f64;
        }
    }
}

/// Draws the line of the policy with this number.
pub(crate) fn line(svg: &mut Markup, policy: usize, line: &Line) {
    let mut path = String::new();
    let mut pen: Option<(String, String)> = None;
    for point in line {
        let Some((x, y)) = point else {
            pen = None;
            continue;
        };
        let (x, y) = (At(across(*x)).to_string(), At(up(*y)).to_string());
        // Writing to a string never fails.
        let _ = match &pen {
            None => write!(path, "M{x} {y}"),
            Some((before, _)) if *before == x => write!(path, "V{y}"),
            Some((_, before)) if *before == y => write!(path, "H{x}"),
            Some(_) => write!(path, "L{x} {y}"),
        };
        pen = Some((x, y));
    }
    if !path.is_empty() {
        let class = format!("line {}", colour(policy));
        svg.empty("path", &[("class", &class), ("d", &path)]);
    }
}

/// Fills what is below a line, down to the axis; nothing is filled at a gap.
pub(crate) fn area(svg: &mut Markup, policy: usize, points: &Line) {
    let mut path = String::new();
    for part in points.split(Option::is_none) {
        let inside: Vec<(At, At)> = part
            .iter()
            .flatten()
            .map(|&(x, y)| (At(across(x)), At(up(y))))
            .collect();
        let (Some((first, _)), Some((last, _))) = (inside.first(), inside.last()) else {
            continue;
        };
        // Writing to a string never fails.
        let _ = write!(path, "M{first} {}", At(BOTTOM));
        for (x, y) in &inside {
            let _ = write!(path, "L{x} {y}");
        }
        let _ = write!(path, "L{last} {}Z", At(BOTTOM));
    }
    if !path.is_empty() {
        let class = format!("area {}", colour(policy));
        svg.empty("path", &[("class", &class), ("d", &path)]);
    }
}

/// The style sheet's class for the policy with this number.
pub(crate) fn colour(policy: usize) -> String {
    format!("p{}", policy % COLOURS)
}

/// The coordinate of a place across.
pub(crate) fn across(place: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * place
}

/// The coordinate of a place up.
pub(crate) fn up(place: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * place
}

fn segment(svg: &mut Markup, class: &str, from: (f64, f64), to: (f64, f64)) {
    let (x1, y1, x2, y2) = (At(from.0), At(from.1), At(to.0), At(to.1));
    svg.empty(
        "line",
        &[("class", &class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)],
    );
}

fn write(svg: &mut Markup, class: &str, at: (f64, f64), text: &str) {
    svg.text_element("text", &[("class", &class), ("x", &At(at.0)), ("y", &At(at.1))], text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_closed_on_both_sides_of_a_gap() {
        let mut svg = Markup::default();
        area(
            &mut svg,
            0,
            &vec![None, Some((0.0, 0.5)), Some((0.5, 1.0)), None, Some((1.0, 0.0))],
        );
        assert_eq!(
            svg.finish(),
            "<path class=\"area p0\" d=\"M58 242L58 145L262 48L262 242ZM466 242L466 242L466 242Z\"/>"
        );
    }

    #[test]
    fn a_line_is_broken_at_gaps_and_short_where_it_is_level() {
        let mut svg = Markup::default();
        let points = vec![
            Some((0.0, 0.0)),
            Some((0.5, 0.0)),
            Some((0.5, 1.0)),
            None,
            Some((0.75, 0.5)),
            Some((1.0, f64::NAN)),
        ];
        line(&mut svg, 7, &points);
        assert_eq!(
            svg.finish(),
            "<path class=\"line p1\" d=\"M58 242H262V48M364 145L466 0\"/>"
        );
        let mut nothing = Markup::default();
        line(&mut nothing, 0, &vec![None]);
        assert_eq!(nothing.finish(), "");
    }
}
