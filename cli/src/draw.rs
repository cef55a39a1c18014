//! Pages and charts that need nothing else to be read.

pub(crate) mod axis;
pub(crate) mod markup;
pub(crate) mod plot;

use markup::Markup;

/// A page of HTML with a title and what `body` writes. Whatever names it holds, nothing is loaded and nothing runs.
pub(crate) fn page(title: &str, body: impl FnOnce(&mut Markup)) -> String {
    let mut page = Markup::default();
    page.raw("<!DOCTYPE html>\n");
    page.element("html", &[("lang", &"en")], |html| {
        html.element("head", &[], |head| {
            head.empty("meta", &[("charset", &"utf-8")]);
            let viewport = "width=device-width, initial-scale=1";
            head.empty("meta", &[("name", &"viewport"), ("content", &viewport)]);
            let policy = "default-src 'none'; style-src 'unsafe-inline'";
            head.empty(
                "meta",
                &[("http-equiv", &"Content-Security-Policy"), ("content", &policy)],
            );
            head.text_element("title", &[], title);
            head.element("style", &[], |style| style.raw(include_str!("draw/page.css")));
        });
        html.raw("\n");
        html.element("body", &[], body);
    });
    page.raw("\n");
    page.finish()
}

/// A list of names and values.
pub(crate) fn settings(body: &mut Markup, settings: &[(&'static str, String)]) {
    body.text_element("h2", &[], "Settings");
    body.element("dl", &[], |list| {
        for (name, value) in settings {
            list.text_element("dt", &[], name);
            list.text_element("dd", &[], value);
        }
    });
}
