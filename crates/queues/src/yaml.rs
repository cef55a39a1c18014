//! The YAML library's errors, for people who don't know what it was asked for.

use std::borrow::Cow;
use std::fmt;

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::localizer::Localizer;
use serde_saphyr::{DefaultMessageFormatter, Error, Location, MessageFormatter};

use crate::error::Place;
use crate::names::shown;

/// Not YAML, or not of the file's shape.
#[derive(Debug)]
pub struct Mistake(Box<Error>);

impl Mistake {
    /// What the YAML library says, with the place.
    pub const fn library(&self) -> &Error {
        &self.0
    }

    /// Where, if that is known.
    pub(crate) fn place(&self) -> Option<Place> {
        self.0.location().map(Into::into)
    }
}

impl From<Error> for Mistake {
    fn from(error: Error) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.render_with_formatter(&Words))
    }
}

/// The library's error is not a further cause: it says the same in the words of programmers.
impl std::error::Error for Mistake {}

struct Words;

impl Localizer for Words {
    /// The place stands in front, as in all other errors.
    fn attach_location<'a>(&self, base: Cow<'a, str>, _place: Location) -> Cow<'a, str> {
        base
    }
}

impl MessageFormatter for Words {
    fn localizer(&self) -> &dyn Localizer {
        self
    }

    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        match error {
            Error::SerdeUnknownField { field, expected, .. } => format!(
                "there is no field `{}` here; the fields are {}",
                shown(field),
                expected
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
            .into(),
            Error::SerdeMissingField { field, .. } => format!("the field `{field}` is missing").into(),
            Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("`{}` is there twice; leave one of them", shown(key)).into()
            }
            Error::InvalidScalar { ty: "u64" | "i64", .. } => "this must be a whole number".into(),
            Error::NullIntoString { .. } => "nothing stands here; write a value".into(),
            Error::Unexpected { expected, .. } => match *expected {
                "mapping start" => "fields are expected here: `name: value`".into(),
                "sequence start" => "a list is expected here: `[first, second]`".into(),
                "string scalar" => "a single value is expected here".into(),
                other => format!("{other} is expected here").into(),
            },
            Error::Budget {
                breach: BudgetBreach::Aliases { .. },
                ..
            } => "aliases (`*name`) are not allowed; write the value once more".into(),
            Error::Budget {
                breach: BudgetBreach::Documents { .. },
                ..
            } => "a second document (`---`) begins here; put all queues into one".into(),
            _ => DefaultMessageFormatter.format_message(error),
        }
    }
}
