//! What an IAM policy allows, decided as AWS decides, for the forms that KOMPASS's own policies have. Anything else in a
//! policy is an error, never an allowance. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A policy that could be read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy(Vec<Statement>);

/// Why a policy can't be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("failed to read the policy: {0}")]
pub struct Unread(String);

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// Such as `autoscaling:UpdateAutoScalingGroup`.
    pub action: String,
    /// The ARN that it is about; `*` where there is none.
    pub resource: String,
    /// Keys of conditions and their values, such as `aws:TagKeys`.
    pub context: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    id: String,
    allows: bool,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<(Operator, String, Vec<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equals,
    EqualsIfExists,
    Like,
    AllEqual,
}

impl Policy {
    /// Reads a policy of a role.
    ///
    /// # Errors
    /// It isn't one, or has parts that are not understood.
    pub fn read(text: &str) -> Result<Self, Unread> {
        let unread = |what: String| Unread(what);
        let told: Value = serde_json::from_str(text).map_err(|error| unread(error.to_string()))?;
        let statements = told["Statement"]
            .as_array()
            .ok_or_else(|| unread("no list of statements".to_owned()))?;
        statements
            .iter()
            .map(statement)
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(unread)
    }

    /// The statement that allows it; none if it is denied.
    pub fn allows(&self, ask: &Ask) -> Option<&str> {
        let fits = |statement: &&Statement| statement.fits(ask);
        if self.0.iter().filter(fits).any(|statement| !statement.allows) {
            return None;
        }
        self.0.iter().find(fits).map(|statement| statement.id.as_str())
    }

    /// The actions that are allowed on anything at all, as they are written.
    pub fn actions(&self) -> BTreeSet<&str> {
        let allowing = self.0.iter().filter(|statement| statement.allows);
        allowing
            .flat_map(|statement| &statement.actions)
            .map(String::as_str)
            .collect()
    }
}

impl Statement {
    fn fits(&self, ask: &Ask) -> bool {
        // Actions are compared without regard to case.
        let action = ask.action.to_lowercase();
        self.actions.iter().any(|form| like(&form.to_lowercase(), &action))
            && self.resources.iter().any(|form| like(form, &ask.resource))
            && self.conditions.iter().all(|(operator, key, wanted)| {
                let values = ask.context.get(key);
                let first = values.and_then(|values| values.first());
                let equals = |value: &String| wanted.contains(value);
                match operator {
                    Operator::Equals => first.is_some_and(equals),
                    Operator::EqualsIfExists => first.is_none_or(equals),
                    Operator::Like => first.is_some_and(|value| wanted.iter().any(|form| like(form, value))),
                    // Of no values at all it is true, as with AWS.
                    Operator::AllEqual => values.is_none_or(|values| values.iter().all(equals)),
                }
            })
    }
}

fn statement(told: &Value) -> Result<Statement, String> {
    let fields = told.as_object().ok_or("a statement is no object")?;
    let known = ["Sid", "Effect", "Action", "Resource", "Condition"];
    if let Some(other) = fields.keys().find(|field| !known.contains(&field.as_str())) {
        return Err(format!("{other} is not understood"));
    }
    let mut conditions = Vec::new();
    let empty = Map::new();
    for (name, keys) in fields.get("Condition").and_then(Value::as_object).unwrap_or(&empty) {
        let operator = match name.as_str() {
            "StringEquals" => Operator::Equals,
            "StringEqualsIfExists" => Operator::EqualsIfExists,
            "StringLike" => Operator::Like,
            "ForAllValues:StringEquals" => Operator::AllEqual,
            other => return Err(format!("the condition {other} is not understood")),
        };
        for (key, wanted) in keys.as_object().ok_or("a condition is no object")? {
            conditions.push((operator, key.clone(), texts(Some(wanted), key)?));
        }
    }
    Ok(Statement {
        id: told["Sid"].as_str().ok_or("a statement has no Sid")?.to_owned(),
        allows: match told["Effect"].as_str() {
            Some("Allow") => true,
            Some("Deny") => false,
            other => return Err(format!("the effect {other:?} is not understood")),
        },
        actions: texts(fields.get("Action"), "Action")?,
        resources: texts(fields.get("Resource"), "Resource")?,
        conditions,
    })
}

/// One text or several.
fn texts(told: Option<&Value>, what: &str) -> Result<Vec<String>, String> {
    let texts: Option<Vec<String>> = match told {
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(list)) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    texts.ok_or_else(|| format!("{what} is neither a text nor texts"))
}

/// `*` stands for anything, `?` for one character.
fn like(form: &str, text: &str) -> bool {
    let (form, text): (Vec<char>, Vec<char>) = (form.chars().collect(), text.chars().collect());
    // The ends of `text` that the form so far can reach.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for sign in form {
        let before = reached.clone();
        for end in 0..reached.len() {
            let one = end > 0 && before[end - 1] && (sign == '?' || text[end - 1] == sign);
            reached[end] = if sign == '*' {
                before[end] || (end > 0 && reached[end - 1])
            } else {
                one
            };
        }
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(condition: &str) -> Policy {
        Policy::read(&format!(
            r#"{{"Statement": [
            {{"Sid": "A", "Effect": "Allow", "Action": ["s:Do*", "s:Get"], "Resource": "arn:x:*/b", "Condition": {condition}}},
            {{"Sid": "D", "Effect": "Deny", "Action": "s:DoNot", "Resource": "*"}}]}}"#
        ))
        .unwrap()
    }

    fn ask(action: &str, resource: &str, context: &[(&str, &[&str])]) -> Ask {
        let owned = |values: &&[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Ask {
            action: action.to_owned(),
            resource: resource.to_owned(),
            context: context
                .iter()
                .map(|(key, values)| ((*key).to_owned(), owned(values)))
                .collect(),
        }
    }

    #[test]
    fn action_and_resource_must_fit_and_a_denial_wins() {
        let policy = policy("{}");
        assert_eq!(policy.allows(&ask("s:doThis", "arn:x:y/b", &[])), Some("A"));
        assert_eq!(policy.allows(&ask("s:DoNot", "arn:x:y/b", &[])), None);
        assert_eq!(policy.allows(&ask("s:Getter", "arn:x:y/b", &[])), None);
        assert_eq!(policy.allows(&ask("s:Get", "arn:x:y/c", &[])), None);
        assert_eq!(policy.allows(&ask("s:Get", "*", &[])), None);
        assert_eq!(policy.actions(), BTreeSet::from(["s:Do*", "s:Get"]));
    }

    #[test]
    fn conditions_must_hold() {
        let get = |context: &[(&str, &[&str])]| ask("s:Get", "arn:x:y/b", context);
        let equals = policy(r#"{"StringEquals": {"k": ["v", "w"], "l": "m"}}"#);
        assert!(equals.allows(&get(&[("k", &["w"]), ("l", &["m"])])).is_some());
        assert!(equals.allows(&get(&[("k", &["w"])])).is_none());
        assert!(equals.allows(&get(&[("k", &["x"]), ("l", &["m"])])).is_none());
        let all = policy(r#"{"ForAllValues:StringEquals": {"k": ["v"]}}"#);
        assert!(all.allows(&get(&[("k", &["v"])])).is_some());
        assert!(all.allows(&get(&[("k", &["v", "x"])])).is_none());
        let existing = policy(r#"{"StringEqualsIfExists": {"k": "v"}}"#);
        assert!(existing.allows(&get(&[])).is_some());
        assert!(existing.allows(&get(&[("k", &["x"])])).is_none());
        let some = policy(r#"{"StringLike": {"k": "*"}}"#);
        assert!(some.allows(&get(&[("k", &["x"])])).is_some());
        assert!(some.allows(&get(&[])).is_none());
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "{}",
            r#"{"Statement": [{"Sid": "A", "Effect": "Allow", "NotAction": "s:A", "Resource": "*"}]}"#,
            r#"{"Statement": [{"Sid": "A", "Effect": "Allow", "Action": "s:A"}]}"#,
            r#"{"Statement": [{"Sid": "A", "Effect": "Allow", "Action": "s:A", "Resource": "*", "Condition": {"Bool": {}}}]}"#,
        ] {
            assert!(Policy::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wildcards_stand_for_anything() {
        for (form, text, fits) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*:x/*", "arn:x/y", true),
            ("", "a", false),
        ] {
            assert_eq!(like(form, text), fits, "{form} {text}");
        }
    }
}
