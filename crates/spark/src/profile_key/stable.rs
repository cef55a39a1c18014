//! Names without the parts that change from run to run.

/// File name of a jar or script without its ending and its version numbers.
pub(super) fn file_name(resource: &str) -> String {
    let path = resource.split(['?', '#']).next().unwrap_or_default();
    let file = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let tokens = tokens(stem);
    join(tokens.iter().filter(|token| !is_number(token) && *token != "snapshot"))
}

/// A name in lower case with `-` between its parts, without the parts that change from run to run.
pub(super) fn stable(name: &str) -> String {
    let tokens = tokens(name);
    let mut keep = vec![true; tokens.len()];
    mark_uuids(&tokens, &mut keep);
    mark_dates(&tokens, &mut keep);
    let kept = tokens
        .iter()
        .zip(keep)
        .filter(|&(token, keep)| keep && !is_hex_id(token))
        .map(|(token, _)| token);
    let shortened: Vec<String> = kept.map(|token| without_long_digits(token)).collect();
    join(shortened.iter().filter(|token| !token.is_empty()))
}

fn tokens(name: &str) -> Vec<String> {
    let lower = name.to_ascii_lowercase();
    lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect()
}

fn join<'a>(tokens: impl Iterator<Item = &'a String>) -> String {
    tokens.map(String::as_str).collect::<Vec<_>>().join("-")
}

fn mark_uuids(tokens: &[String], keep: &mut [bool]) {
    const LENGTHS: [usize; 5] = [8, 4, 4, 4, 12];
    for start in 0..tokens.len().saturating_sub(LENGTHS.len() - 1) {
        let window = &tokens[start..start + LENGTHS.len()];
        if window
            .iter()
            .zip(LENGTHS)
            .all(|(token, length)| token.len() == length && is_hex(token))
        {
            keep[start..start + LENGTHS.len()].fill(false);
        }
    }
}

/// Drops every run of neighbouring number-like parts that holds a long number (a year, a date, an epoch) or has at
/// least three parts (a short date, a time of day). One or two short numbers alone stay: `part-2` is not `part-3`.
fn mark_dates(tokens: &[String], keep: &mut [bool]) {
    let mut start = 0;
    while start < tokens.len() {
        let length = tokens[start..]
            .iter()
            .take_while(|token| is_number(token) || is_time(token))
            .count();
        let run = &tokens[start..start + length];
        if length >= 3 || run.iter().any(|token| token.len() >= 4) {
            keep[start..start + length].fill(false);
        }
        start += length.max(1);
    }
}

fn is_number(token: &str) -> bool {
    token.bytes().all(|b| b.is_ascii_digit())
}

/// `23t01`, `20261123t010203z`, `03z`: digits with the letters of ISO 8601 between and behind.
fn is_time(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_digit())
        && token.bytes().all(|b| b.is_ascii_digit() || matches!(b, b't' | b'z'))
}

fn is_hex(token: &str) -> bool {
    token.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Eight or more hex digits, at least one of them a number: no word is like that.
fn is_hex_id(token: &str) -> bool {
    token.len() >= 8 && is_hex(token) && token.bytes().any(|b| b.is_ascii_digit())
}

/// The token without its runs of four and more digits.
fn without_long_digits(token: &str) -> String {
    let mut kept = String::with_capacity(token.len());
    let mut rest = token;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits < 4 {
            kept.push_str(&rest[..digits]);
        }
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(|b| !b.is_ascii_digit()).count();
        kept.push_str(&rest[..letters]);
        rest = &rest[letters..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_run_to_run_is_stripped() {
        for (name, expected) in [
            ("nightly-etl", "nightly-etl"),
            ("etl-2026-11-23", "etl"),
            ("etl-2026-11-23t01-02-03", "etl"),
            ("etl_20261123", "etl"),
            ("etl-23-11-26", "etl"),
            ("etl20261123T010203Z", "etltz"),
            ("20261123T010203Z-etl", "etl"),
            ("scheduled__2026-11-23T01:02:03+00:00", "scheduled"),
            ("etl-1795419633663", "etl"),
            ("etl-6f0c2a34-1111-2222-3333-444455556666", "etl"),
            ("etl-deadbeef-abcd-abcd-abcd-abcdefabcdef", "etl"),
            ("etl-9f8e7d6c5b", "etl"),
            ("feedback-facade", "feedback-facade"),
            ("part-2", "part-2"),
            ("tpcds-q1-10", "tpcds-q1-10"),
            ("v2_s3a", "v2-s3a"),
            ("2026-11-23", ""),
            ("Ünïcode Näme", "n-code-n-me"),
        ] {
            assert_eq!(stable(name), expected, "{name}");
        }
    }

    #[test]
    fn jars_lose_their_version_and_secrets_of_their_address() {
        for (resource, expected) in [
            ("local:///app/etl-assembly-1.4.2-SNAPSHOT.jar", "etl-assembly"),
            ("s3a://bucket/jobs/etl_1.5.jar", "etl"),
            ("https://host/agg.py?X-Amz-Signature=abc", "agg"),
            ("local:///app/part2.py", "part2"),
            ("", ""),
        ] {
            assert_eq!(file_name(resource), expected, "{resource}");
        }
    }
}
