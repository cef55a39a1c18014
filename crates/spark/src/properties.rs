//! Java's properties format, as `java.util.Properties.load` reads it.
//!
//! Format: <https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)>.
//! Values are handed out as they stand in the file and are only decoded on demand: a value that nobody asks for is
//! never copied.

use std::borrow::Cow;

/// Why a key or value could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `\u` without four hexadecimal digits behind it.
    #[error("failed to decode a \\u escape: four hexadecimal digits must follow")]
    Escape,
    /// One half of a UTF-16 surrogate pair without the other.
    #[error("failed to decode a \\u escape: half of a surrogate pair")]
    Surrogate,
}

/// One entry, not decoded yet. The borrowed case is the usual one; only an entry continued over lines is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    line: Cow<'a, str>,
    key_end: usize,
    value_start: usize,
}

impl Entry<'_> {
    /// The decoded key.
    pub fn key(&self) -> Result<Cow<'_, str>, Error> {
        decode(&self.line[..self.key_end])
    }

    /// The decoded value.
    pub fn value(&self) -> Result<Cow<'_, str>, Error> {
        decode(&self.line[self.value_start..])
    }
}

/// The entries of a text in its order. As in Java the last of several entries with the same key counts.
pub fn entries(text: &str) -> Entries<'_> {
    Entries { rest: text }
}

/// Iterator of [`entries`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let line = self.natural_line();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let line = self.logical_line(line);
            let (key_end, value_start) = split(&line);
            return Some(Entry {
                line,
                key_end,
                value_start,
            });
        }
    }
}

impl<'a> Entries<'a> {
    /// Takes one line without its end and without leading white space.
    fn natural_line(&mut self) -> &'a str {
        let end = self
            .rest
            .bytes()
            .position(|b| b == b'\n' || b == b'\r')
            .unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest
            .strip_prefix("\r\n")
            .or_else(|| rest.strip_prefix(['\r', '\n']))
            .unwrap_or(rest);
        line.trim_start_matches(BLANK)
    }

    /// Joins the lines that follow a line ending in an odd number of backslashes.
    fn logical_line(&mut self, first: &'a str) -> Cow<'a, str> {
        let Some(head) = continued(first) else {
            return Cow::Borrowed(first);
        };
        let mut joined = head.to_owned();
        while !self.rest.is_empty() {
            let line = self.natural_line();
            if let Some(head) = continued(line) {
                joined.push_str(head);
            } else {
                joined.push_str(line);
                break;
            }
        }
        Cow::Owned(joined)
    }
}

const BLANK: [char; 3] = [' ', '\t', '\u{c}'];

/// The line without its last backslash when that one joins the next line to it.
fn continued(line: &str) -> Option<&str> {
    let backslashes = line.bytes().rev().take_while(|&b| b == b'\\').count();
    (backslashes % 2 == 1).then(|| &line[..line.len() - 1])
}

/// Where the key ends and where the value begins: at the first unescaped `=`, `:` or white space.
fn split(line: &str) -> (usize, usize) {
    let mut escaped = false;
    let key_end = line
        .bytes()
        .position(|b| {
            let ends = !escaped && matches!(b, b'=' | b':' | b' ' | b'\t' | 0xc);
            escaped = !escaped && b == b'\\';
            ends
        })
        .unwrap_or(line.len());
    let rest = line[key_end..].trim_start_matches(BLANK);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANK);
    (key_end, line.len() - rest.len())
}

/// Resolves the escapes.
fn decode(raw: &str) -> Result<Cow<'_, str>, Error> {
    let Some(first) = raw.find('\\') else {
        return Ok(Cow::Borrowed(raw));
    };
    let mut decoded = String::with_capacity(raw.len());
    let (plain, mut rest) = raw.split_at(first);
    decoded.push_str(plain);
    let mut high = None;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let c = if c == '\\' {
            // A lone backslash at the very end of the text is dropped, as Java does.
            let Some(escape) = rest.chars().next() else { break };
            rest = &rest[escape.len_utf8()..];
            match escape {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\u{c}',
                'u' => {
                    let unit = code_unit(rest)?;
                    rest = &rest[4..];
                    match (high.take(), unit) {
                        (None, 0xd800..=0xdbff) => {
                            high = Some(unit);
                            continue;
                        }
                        (None, 0xdc00..=0xdfff) => return Err(Error::Surrogate),
                        (None, _) => char::from_u32(unit).ok_or(Error::Surrogate)?,
                        (Some(high), 0xdc00..=0xdfff) => {
                            let point = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
                            char::from_u32(point).ok_or(Error::Surrogate)?
                        }
                        (Some(_), _) => return Err(Error::Surrogate),
                    }
                }
                other => other,
            }
        } else {
            c
        };
        if high.is_some() {
            return Err(Error::Surrogate);
        }
        decoded.push(c);
    }
    if high.is_some() {
        Err(Error::Surrogate)
    } else {
        Ok(Cow::Owned(decoded))
    }
}

/// The UTF-16 code unit of four hexadecimal digits.
fn code_unit(text: &str) -> Result<u32, Error> {
    let digits = text
        .get(..4)
        .filter(|four| four.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or(Error::Escape)?;
    u32::from_str_radix(digits, 16).map_err(|_| Error::Escape)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        entries(text)
            .map(|e| (e.key().unwrap().into_owned(), e.value().unwrap().into_owned()))
            .collect()
    }

    #[test]
    fn reads_every_way_to_write_an_entry() {
        for (text, key, value) in [
            ("a=b", "a", "b"),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("a\tb", "a", "b"),
            ("  a  =  b  ", "a", "b  "),
            ("a = = b", "a", "= b"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("=b", "", "b"),
            (r"a\ b\=c\:d=e", "a b=c:d", "e"),
            (
                r"spark.master=k8s\://https\://kubernetes.example\:6443",
                "spark.master",
                "k8s://https://kubernetes.example:6443",
            ),
            (r"a=\u0041\u00e4\ud83d\ude00", "a", "Aä😀"),
            (r"a=\t\n\r\f\\\q", "a", "\t\n\r\u{c}\\q"),
            ("a=b\\\n   c", "a", "bc"),
            ("a=b\\\r\n\tc", "a", "bc"),
            ("a=b\\\n#c", "a", "b#c"),
            ("a=b\\\\\n", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("a=\\u00\\\n41", "a", "A"),
            ("a=b\\\n\nignored", "a", "b"),
            ("a=x#y!z", "a", "x#y!z"),
            ("ключ=значение", "ключ", "значение"),
        ] {
            assert_eq!(read(text).first(), Some(&(key.into(), value.into())), "{text:?}");
        }
    }

    #[test]
    fn skips_comments_and_blank_lines_whatever_ends_them() {
        let text = "# c\\\na=1\r\n\r\n  ! d\rb=2\n\t\n\u{c}\nc=3";
        assert_eq!(
            read(text),
            [("a", "1"), ("b", "2"), ("c", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn refuses_escapes_that_are_no_character() {
        for (text, error) in [
            (r"a=\u12", Error::Escape),
            (r"a=\uzzzz", Error::Escape),
            (r"a=\u+123", Error::Escape),
            (r"a=\u00é1", Error::Escape),
            (r"a=\ud83d", Error::Surrogate),
            (r"a=\ud83dx", Error::Surrogate),
            (r"a=\ud83d\ud83d", Error::Surrogate),
            (r"a=\ude00", Error::Surrogate),
        ] {
            assert_eq!(entries(text).next().unwrap().value(), Err(error), "{text}");
        }
    }

    /// Writes as `java.util.Properties.store` does.
    fn escape(text: &str, key: bool) -> String {
        let mut out = String::new();
        for (index, c) in text.chars().enumerate() {
            match c {
                ' ' if key || index == 0 => out.push_str("\\ "),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\u{c}' => out.push_str("\\f"),
                '\\' | '=' | ':' | '#' | '!' => out.extend(['\\', c]),
                ' '..='~' => out.push(c),
                _ => c
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .for_each(|unit| write!(out, "\\u{unit:04X}").unwrap()),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_java_writes_comes_back(pairs in proptest::collection::vec(("\\PC{1,20}", ".{0,40}"), 0..8)) {
            let lines = pairs.iter().map(|(k, v)| format!("{}={}\n", escape(k, true), escape(v, false)));
            let text = lines.collect::<Vec<_>>().concat();
            prop_assert_eq!(read(&text), pairs);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for entry in entries(&String::from_utf8_lossy(&bytes)) {
                let _ = (entry.key(), entry.value());
            }
        }

        #[test]
        fn no_mix_of_its_own_signs_makes_it_panic(text in "[\\\\ua0d8=: #\r\n\t]{0,60}") {
            for entry in entries(&text) {
                let _ = (entry.key(), entry.value());
            }
        }
    }
}
