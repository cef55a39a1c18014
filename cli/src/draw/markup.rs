//! Writes HTML and SVG: what is written is always balanced, escaped and without a number that is none.

use std::fmt::{self, Display, Write as _};

/// An attribute and its value.
pub(crate) type Attribute<'a> = (&'a str, &'a dyn Display);

/// Text of a page as it grows.
#[derive(Debug, Default)]
pub(crate) struct Markup {
    text: String,
}

impl Markup {
    /// An element with what `inner` writes in it.
    pub(crate) fn element(&mut self, tag: &str, attributes: &[Attribute<'_>], inner: impl FnOnce(&mut Self)) {
        self.open(tag, attributes);
        self.text.push('>');
        inner(self);
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
    }

    /// An element with nothing in it but text.
    pub(crate) fn text_element(&mut self, tag: &str, attributes: &[Attribute<'_>], text: impl Display) {
        self.element(tag, attributes, |inner| inner.text(text));
    }

    /// An element of SVG with nothing in it.
    pub(crate) fn empty(&mut self, tag: &str, attributes: &[Attribute<'_>]) {
        self.open(tag, attributes);
        self.text.push_str("/>");
    }

    /// Text; nothing in it is understood as markup.
    pub(crate) fn text(&mut self, text: impl Display) {
        self.escaped(&text);
    }

    /// Our own markup as it stands.
    pub(crate) fn raw(&mut self, markup: &'static str) {
        self.text.push_str(markup);
    }

    /// All that was written.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn open(&mut self, tag: &str, attributes: &[Attribute<'_>]) {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escaped(value);
            self.text.push('"');
        }
    }

    fn escaped(&mut self, text: &dyn Display) {
        // Writing to a string never fails.
        let _ = write!(Escape(&mut self.text), "{text}");
    }
}

struct Escape<'a>(&'a mut String);

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // No document may have these, not even escaped.
                other if other.is_control() && !matches!(other, '\n' | '\t') => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

/// A coordinate with one decimal, as fine as anybody sees. What is no number is drawn at 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At(pub(crate) f64);

impl Display for At {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.0.is_finite() { self.0 } else { 0.0 };
        let text = format!("{value:.1}");
        out.write_str(text.strip_suffix(".0").unwrap_or(&text))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Checks that every element is closed in order and every attribute quoted; the names of all elements.
    pub(crate) fn elements(markup: &str) -> Vec<String> {
        let (mut open, mut seen, mut rest) = (Vec::new(), Vec::new(), markup);
        while let Some(start) = rest.find('<') {
            assert!(!rest[..start].contains('>'), "a stray > in {:?}", &rest[..start]);
            let length = rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..start + length];
            rest = &rest[start + length + 1..];
            assert!(!tag.contains('<') && tag.matches('"').count() % 2 == 0, "{tag}");
            if tag.starts_with('!') {
                continue;
            }
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "closed out of order");
                continue;
            }
            let name = tag.trim_end_matches('/').split_whitespace().next().unwrap_or_default();
            seen.push(name.to_owned());
            if !tag.ends_with('/') {
                open.push(name.to_owned());
            }
        }
        assert_eq!(open, Vec::<String>::new(), "never closed");
        seen
    }

    #[test]
    fn nothing_that_is_told_becomes_markup() {
        let mut page = Markup::default();
        let bad = "a<b>&\"c'\u{1b}";
        page.element("g", &[("class", &bad)], |inner| {
            inner.text(bad);
            inner.empty("path", &[("d", &At(f64::NAN))]);
        });
        let text = page.finish();
        assert_eq!(
            text,
            "<g class=\"a&lt;b&gt;&amp;&quot;c&#39;\u{fffd}\">a&lt;b&gt;&amp;&quot;c&#39;\u{fffd}<path d=\"0\"/></g>"
        );
        assert_eq!(elements(&text), ["g", "path"]);
    }

    #[test]
    fn coordinates_are_short_and_always_numbers() {
        for (value, text) in [
            (1.0, "1"),
            (1.26, "1.3"),
            (-0.5, "-0.5"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
        ] {
            assert_eq!(At(value).to_string(), text);
        }
    }
}
