//! As much XML as moto's answers need: elements without attributes, found by name.

use std::fmt::Write as _;

/// The text of the first element of a name.
pub(crate) fn text<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    texts(xml, name).next()
}

/// The texts of all elements of a name.
pub(crate) fn texts<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (text, after) = after.split_once(&close)?;
        rest = after;
        Some(text)
    })
}

/// What AWS's query services answer to an operation.
pub(crate) fn answer(operation: &str, result: &str) -> String {
    format!(
        "<{operation}Response xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><{operation}Result>{result}\
         </{operation}Result><ResponseMetadata><RequestId>strict</RequestId></ResponseMetadata></{operation}Response>"
    )
}

/// An error as EC2 Auto Scaling tells it, or as EC2 does.
pub(crate) fn error(ec2: bool, code: &str, message: &str) -> String {
    let (code, message) = (escaped(code), escaped(message));
    if ec2 {
        return format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>{code}</Code><Message>{message}\
             </Message></Error></Errors><RequestID>strict</RequestID></Response>"
        );
    }
    format!(
        "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><Error><Type>Sender</Type><Code>{code}\
         </Code><Message>{message}</Message></Error><RequestId>strict</RequestId></ErrorResponse>"
    )
}

/// An element with a text, written behind others; nothing if there is no text.
pub(crate) fn element(out: &mut String, name: &str, text: Option<impl ToString>) {
    if let Some(text) = text {
        // A string takes whatever is written to it.
        let _ = write!(out, "<{name}>{}</{name}>", escaped(&text.to_string()));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_name() {
        let xml = "<a><b>1</b><c/><b>2</b><bb>3</bb></a>";
        assert_eq!(texts(xml, "b").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((text(xml, "bb"), text(xml, "d")), (Some("3"), None));
        assert!(error(true, "A", "x < y").contains("<Message>x &lt; y</Message>"));
    }
}
