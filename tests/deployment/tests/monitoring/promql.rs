//! As much of `PromQL` as it takes to see which metrics an expression uses, and how. Whether it is `PromQL` at all is judged
//! by promtool.

use std::collections::BTreeSet;

/// One metric in an expression.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) metric: String,
    /// Labels that its selector looks at.
    pub(crate) labels: BTreeSet<String>,
    /// It is taken over a range, such as `[5m]`.
    pub(crate) ranged: bool,
    /// The innermost function that it is an argument of.
    pub(crate) function: Option<String>,
}

/// What an expression uses.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    pub(crate) metrics: Vec<Use>,
    /// Labels by which it adds up or matches.
    pub(crate) grouping: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text,
    Sign(char),
}

/// Before these a list of labels in parentheses.
const LISTS: [&str; 6] = ["by", "group_left", "group_right", "ignoring", "on", "without"];
const WORDS: [&str; 9] = ["and", "atan2", "bool", "inf", "nan", "offset", "or", "start", "unless"];

/// Reads an expression.
pub(crate) fn uses(expression: &str) -> Uses {
    let tokens = tokens(expression);
    let mut uses = Uses::default();
    // The function of each open parenthesis.
    let mut open: Vec<Option<String>> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let next = tokens.get(at);
        match token {
            Token::Sign('(') => open.push(None),
            Token::Sign(')') => {
                open.pop();
            }
            Token::Word(word) if LISTS.contains(&word.as_str()) => {
                if next == Some(&Token::Sign('(')) {
                    at += 1;
                    uses.grouping.extend(words_until(&tokens, &mut at, ')'));
                }
            }
            Token::Word(word) if WORDS.contains(&word.to_lowercase().as_str()) => {}
            Token::Word(word) => match next {
                Some(Token::Sign('(')) => {
                    at += 1;
                    open.push(Some(word.clone()));
                }
                // An aggregation that says by what first.
                Some(Token::Word(next)) if next == "by" || next == "without" => {}
                _ => {
                    let labels = if next == Some(&Token::Sign('{')) {
                        at += 1;
                        words_until(&tokens, &mut at, '}').into_iter().collect()
                    } else {
                        BTreeSet::new()
                    };
                    uses.metrics.push(Use {
                        metric: word.clone(),
                        labels,
                        ranged: tokens.get(at) == Some(&Token::Sign('[')),
                        function: open.iter().rev().flatten().next().cloned(),
                    });
                }
            },
            Token::Text | Token::Sign(_) => {}
        }
    }
    uses
}

/// The words up to a closing sign, which is passed.
fn words_until(tokens: &[Token], at: &mut usize, end: char) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        match token {
            Token::Sign(sign) if *sign == end => break,
            Token::Word(word) => words.push(word.clone()),
            Token::Sign(_) | Token::Text => {}
        }
    }
    words
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = expression.chars().peekable();
    while let Some(&first) = chars.peek() {
        if first == '"' || first == '\'' || first == '`' {
            chars.next();
            while let Some(char) = chars.next() {
                if char == '\\' && first != '`' {
                    chars.next();
                } else if char == first {
                    break;
                }
            }
            tokens.push(Token::Text);
        } else if first.is_ascii_digit() {
            // Numbers and durations.
            while chars
                .next_if(|char| char.is_ascii_alphanumeric() || *char == '.')
                .is_some()
            {}
        } else if first.is_ascii_alphabetic() || first == '_' || first == ':' {
            let mut word = String::new();
            while let Some(char) = chars.next_if(|char| char.is_ascii_alphanumeric() || "_:".contains(*char)) {
                word.push(char);
            }
            tokens.push(Token::Word(word));
        } else {
            chars.next();
            if !first.is_whitespace() {
                tokens.push(Token::Sign(first));
            }
        }
    }
    tokens
}

/// An expression of a dashboard as Prometheus gets it.
pub(crate) fn filled_in(expression: &str) -> String {
    expression
        .replace("$__rate_interval", "5m")
        .replace("$__range", "6h")
        .replace("$price", "0.4")
}

#[test]
fn metrics_and_labels_are_seen() {
    let uses = uses(
        r#"sum by (le, job) (rate(a_bucket{x=~"b{c}|sum", y!='"'}[5m])) / on (z) group_left () max(b) > 1e3
           unless (vector(0) or absent(c:d:e == 1) and 5 * f offset 1h)"#,
    );
    let names: Vec<_> = uses.metrics.iter().map(|used| used.metric.as_str()).collect();
    assert_eq!(names, ["a_bucket", "b", "c:d:e", "f"]);
    assert_eq!(uses.metrics[0].labels, ["x", "y"].map(str::to_owned).into());
    assert!(uses.metrics[0].ranged && !uses.metrics[1].ranged);
    assert_eq!(uses.metrics[0].function.as_deref(), Some("rate"));
    assert_eq!(uses.metrics[1].function.as_deref(), Some("max"));
    assert_eq!(uses.grouping, ["job", "le", "z"].map(str::to_owned).into());
}
