//! A pod's hard rules about its node.

use std::collections::BTreeMap;

use kompass_core::Constraints;
use kompass_core::constraints::{NodeTerm, Operator, Requirement, Toleration};

use super::{Error, Warning};
use crate::object;

/// The rules; what can't be read makes them stricter, never looser, and is told in `warnings`. (The pod must not be lost
/// over them: it may hold room on a node.)
pub(super) fn constraints(
    node_selector: BTreeMap<String, String>,
    affinity: object::NodeAffinity,
    tolerations: Vec<object::Toleration>,
    warnings: &mut Vec<Warning>,
) -> Constraints {
    let mut read = |result: Result<_, Error>| result.map_err(|error| warnings.push(error.to_string())).ok();
    let terms = affinity.required.map(|selector| selector.node_selector_terms);
    let required_terms = terms.map(|terms| terms.into_iter().filter_map(|selector| read(term(selector))).collect());
    let mut read = |result: Result<_, Error>| result.map_err(|error| warnings.push(error.to_string())).ok();
    let tolerations = tolerations
        .into_iter()
        .filter_map(|one| read(toleration(one)))
        .collect();
    Constraints {
        node_selector,
        required_terms,
        tolerations,
    }
}

fn term(term: object::NodeSelectorTerm) -> Result<NodeTerm, Error> {
    let all = |rules: Vec<_>| rules.into_iter().map(requirement).collect::<Result<Vec<_>, _>>();
    Ok(NodeTerm {
        labels: all(term.match_expressions)?,
        fields: all(term.match_fields)?,
    })
}

pub(super) fn requirement(rule: object::NodeSelectorRequirement) -> Result<Requirement, Error> {
    let operator = match rule.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        _ => return Err(Error::Operator(rule.operator)),
    };
    Ok(Requirement {
        key: rule.key,
        operator,
        values: rule.values,
    })
}

fn toleration(toleration: object::Toleration) -> Result<Toleration, Error> {
    let exists = match toleration.operator.as_str() {
        "Exists" => true,
        "" | "Equal" => false,
        _ => return Err(Error::Operator(toleration.operator)),
    };
    let effect = super::effect(&toleration.effect)?;
    Ok(Toleration {
        key: toleration.key,
        exists,
        value: toleration.value,
        effect,
    })
}
