//! What Kubernetes takes as a name.

/// Characters of a label value, of the name part of a resource, and of a namespace.
const LONGEST: usize = 63;
/// Characters of a DNS subdomain.
const LONGEST_DOMAIN: usize = 253;
/// As much of a wrong name is shown.
const SHOWN: usize = 80;

/// Whether it can be the value of a label and is not empty.
pub(crate) fn is_label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    is_enclosed(text, |byte| byte.is_ascii_alphanumeric(), inner)
}

/// Whether it can be the name of a namespace.
pub(crate) fn is_namespace(text: &str) -> bool {
    is_enclosed(text, is_lower, |byte| is_lower(byte) || byte == b'-')
}

/// Whether it is the name of an extended resource: a domain, a slash, a name. With the prefix of quotas it isn't one.
pub(crate) fn is_extended_resource(text: &str) -> bool {
    let Some((domain, name)) = text.split_once('/') else {
        return false;
    };
    let is_part = |part| is_enclosed(part, is_lower, |byte| is_lower(byte) || byte == b'-');
    !domain.starts_with("requests.")
        && domain.len() <= LONGEST_DOMAIN
        && domain.split('.').all(is_part)
        && is_label_value(name)
}

/// A name to be shown: not more of it than fits a line.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_enclosed(text: &str, is_end: impl Fn(u8) -> bool, is_inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= LONGEST
        && ends.iter().all(|end| end.is_some_and(|&end| is_end(end)))
        && bytes.iter().all(|&byte| is_inner(byte))
}

const fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}
