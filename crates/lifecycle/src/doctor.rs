//! Whether an install of KOMPASS is well: what was read of the cluster ([`Snapshot`]), and what it means ([`findings`], pure).

mod checks;
mod read;
mod rights;
mod snapshot;

use serde::Serialize;

pub use self::checks::findings;
pub use self::read::read;
pub use self::rights::{Account, Right, all as rights};
pub use self::snapshot::{
    Answer, Container, LeaseSeen, NamespaceSeen, NodeSeen, Overdue, Part, QuotaSeen, Registration, RightSeen, Snapshot,
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be, or good to know.
    Ok,
    /// It works, but something is to be seen to.
    Warn,
    /// KOMPASS does not work, or not for all.
    Fail,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check, as in `docs/operations/doctor.md`.
    pub check: &'static str,
    /// How bad it is.
    pub state: State,
    /// What it is, and what it means.
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}
