//! The answer to a request. Pure.

use std::collections::BTreeSet;

use crate::choice::{self, Undecided};
use crate::knowledge::Snapshot;
use crate::messages::{BestOptionsRequest, BestOptionsResponse, Candidate};
use crate::question::{self, Error};

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// One option was chosen.
    Chosen,
    /// Nothing speaks for one of them.
    Undecided(Undecided),
    /// It was not understood, or not in time.
    Unread(Error),
}

impl Outcome {
    /// All names of outcomes, as metrics tell them.
    pub const NAMES: [&'static str; 6] = [
        "chosen",
        "no_gang",
        "none_whole",
        "unknown_shape",
        "undecodable",
        "late",
    ];

    /// Its name, one of [`Self::NAMES`].
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Undecided(Undecided::NoGang) => "no_gang",
            Self::Undecided(Undecided::NoneWhole) => "none_whole",
            Self::Undecided(Undecided::UnknownShape) => "unknown_shape",
            Self::Unread(Error::Late) => "late",
            Self::Unread(_) => "undecodable",
        }
    }
}

/// Answers a request: one of its options, or all of them.
pub fn answer(
    request: &BestOptionsRequest,
    snapshot: &Snapshot,
    late: &dyn Fn() -> bool,
) -> (BestOptionsResponse, Outcome) {
    let question = match question::read(request, snapshot, late) {
        Ok(question) => question,
        Err(error) => return (all(&ids(request)), Outcome::Unread(error)),
    };
    match choice::choose(&question) {
        Ok(chosen) => {
            let option = &question.options[chosen.option];
            let best = Candidate {
                node_group_id: option.id.clone(),
                node_count: i32::try_from(option.nodes).unwrap_or(i32::MAX),
                debug: format!(
                    "takes {} of {} gangs whole; {} % or a little more is not asked for",
                    chosen.gangs, question.gangs, chosen.waste_percent
                ),
                ..Candidate::default()
            };
            (BestOptionsResponse { options: vec![best] }, Outcome::Chosen)
        }
        Err(undecided) => (all(&ids(request)), Outcome::Undecided(undecided)),
    }
}

/// The ids of the options and their numbers of nodes, in the order of the request, each once.
pub fn ids(request: &BestOptionsRequest) -> Vec<(String, i32)> {
    let mut seen = BTreeSet::new();
    let options = request.options.iter();
    options
        .filter(|option| seen.insert(&option.node_group_id))
        .map(|option| (option.node_group_id.clone(), option.node_count))
        .collect()
}

/// The answer that leaves all options.
pub fn all(ids: &[(String, i32)]) -> BestOptionsResponse {
    let options = ids.iter().map(|(id, nodes)| Candidate {
        node_group_id: id.clone(),
        node_count: *nodes,
        ..Candidate::default()
    });
    BestOptionsResponse {
        options: options.collect(),
    }
}
