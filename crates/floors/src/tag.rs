//! The tag that tells of a floor: what a predictor that knows nothing needs to give it back.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

/// AWS takes no longer value.
const LENGTH_MAX: usize = 256;
/// The rest takes at most 150 characters.
const OWNER_MAX: usize = 100;

/// A floor. Written as `base=2 floor=7 was=2 since=2026-11-30T06:00:00Z until=… owner=…`, with characters that every AWS
/// service takes in tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The `MinSize` that others have set.
    pub base: u32,
    /// The one that is wanted.
    pub floor: u32,
    /// The one that there was when this was written: until the write has come through it is ours, too.
    pub was: u32,
    /// When it was last raised, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// When it ends unless it is renewed, milliseconds since 1970 UTC.
    pub until_ms: i64,
    /// Who wrote it.
    pub owner: String,
}

/// Why a tag was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the tag: {what}")]
pub struct Error {
    what: String,
}

impl Tag {
    /// Whether a `MinSize` may be by who wrote this.
    pub fn is_ours(&self, min: u32) -> bool {
        [self.base, self.floor, self.was].contains(&min)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            base,
            floor,
            was,
            since_ms,
            until_ms,
            owner,
        } = self;
        let at = |at_ms: &i64| Timestamp::from_second(at_ms.div_euclid(1_000)).unwrap_or_default();
        write!(
            out,
            "base={base} floor={floor} was={was} since={} until={} owner={}",
            at(since_ms),
            at(until_ms),
            sober(owner)
        )
    }
}

/// What AWS takes, and no spaces.
fn sober(owner: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "+-._:/@".contains(char);
    let chars = owner.chars().map(|char| if allowed(char) { char } else { '-' });
    chars.take(OWNER_MAX).collect()
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > LENGTH_MAX {
            return Err(wrong("it is too long"));
        }
        let field = |name: &str| {
            let mut found = text
                .split(' ')
                .filter_map(|field| field.split_once('='))
                .filter(|(key, _)| *key == name);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => Ok(value),
                (Some(_), Some(_)) => Err(wrong(&format!("{name}= is there twice"))),
                (None, _) => Err(wrong(&format!("{name}= is missing"))),
            }
        };
        let number = |name| -> Result<u32, Error> {
            let value = field(name)?;
            value
                .parse()
                .map_err(|_| wrong(&format!("{name}={value} is no number")))
        };
        let time = |name| -> Result<i64, Error> {
            let value = field(name)?;
            let at: Timestamp = value
                .parse()
                .map_err(|_| wrong(&format!("{name}={value} is no time")))?;
            Ok(at.as_millisecond())
        };
        let tag = Self {
            base: number("base")?,
            floor: number("floor")?,
            was: number("was")?,
            since_ms: time("since")?,
            until_ms: time("until")?,
            owner: field("owner")?.to_owned(),
        };
        if tag.floor < tag.base {
            return Err(wrong("its floor is below its base"));
        }
        Ok(tag)
    }
}

fn wrong(what: &str) -> Error {
    Error { what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag(owner: &str) -> Tag {
        Tag {
            base: 2,
            floor: 7,
            was: 2,
            since_ms: 0,
            until_ms: 3_600_000,
            owner: owner.to_owned(),
        }
    }

    #[test]
    fn it_reads_as_a_line() {
        assert_eq!(
            tag("kompass/predictor-0").to_string(),
            "base=2 floor=7 was=2 since=1970-01-01T00:00:00Z until=1970-01-01T01:00:00Z owner=kompass/predictor-0"
        );
    }

    #[test]
    fn what_is_no_tag_is_told() {
        let good = tag("me").to_string();
        for (text, why) in [
            (String::new(), "base= is missing"),
            (good.replace("base=2", "base=-2"), "base=-2 is no number"),
            (good.replace("base=2", "base=9"), "below its base"),
            (good.replace("until=1970", "until=later"), "is no time"),
            (format!("{good} floor=9"), "floor= is there twice"),
            (good.replace("me", &"m".repeat(300)), "too long"),
        ] {
            let error = text.parse::<Tag>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            base in any::<u32>(), more in any::<u32>(), was in any::<u32>(), since in 0_i64..4_000_000_000,
            until in 0_i64..4_000_000_000, owner in "[a-z0-9/.-]{1,80}",
        ) {
            let floor = base.saturating_add(more);
            let tag = Tag { base, floor, was, since_ms: since * 1_000, until_ms: until * 1_000, owner };
            let text = tag.to_string();
            prop_assert!(text.len() <= LENGTH_MAX);
            prop_assert_eq!(text.parse(), Ok(tag));
        }

        #[test]
        fn any_owner_fits_and_no_text_panics(owner in ".{1,300}", text in ".{0,300}") {
            let written = tag(&owner).to_string();
            prop_assert!(written.len() <= LENGTH_MAX);
            prop_assert!(written.parse::<Tag>().is_ok());
            let _ = text.parse::<Tag>();
        }
    }
}
