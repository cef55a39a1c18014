//! What runbooks ask about rights: where the chart's are all there, the answer is yes. One that is no in a healthy cluster sends
//! people to look for what is not missing.

use kompass_deployment_tests::files;
use serde_json::Value;

use crate::helm::{everything, render, text};

const ASK: &str = "kubectl auth can-i ";
const ACCOUNT: &str = "system:serviceaccount:kompass:";

/// What follows [`ASK`].
#[derive(Debug, Default)]
struct Question<'a> {
    verb: &'a str,
    resource: &'a str,
    /// Of one object. Without it all of them are meant, for which rights on some by name don't count.
    name: Option<&'a str>,
    /// Without it all of them are meant, or the object is in none.
    namespace: Option<&'a str>,
    account: &'a str,
}

impl<'a> Question<'a> {
    fn read(words: &'a str) -> Self {
        let mut words = words.split_whitespace();
        let verb = words.next().unwrap();
        let what = words.next().unwrap();
        let (resource, name) = what
            .split_once('/')
            .map_or((what, None), |(resource, name)| (resource, Some(name)));
        let mut question = Self {
            verb,
            resource,
            name,
            ..Self::default()
        };
        while let Some(option) = words.next() {
            match option {
                "-A" => {}
                "-n" => question.namespace = words.next(),
                "--as" => question.account = words.next().unwrap().strip_prefix(ACCOUNT).unwrap(),
                other => panic!("{other}: this test does not know it"),
            }
        }
        // One that Spark runs in, as the values of the tests have it.
        if question.namespace == Some("NAMESPACE") {
            question.namespace = Some("team-a");
        }
        question
    }

    /// Whether roles among these objects that are bound to the account have this right.
    fn is_granted(&self, objects: &[Value]) -> bool {
        objects
            .iter()
            .filter(|binding| self.is_bound_by(binding))
            .flat_map(|binding| objects.iter().filter(move |role| is_role_of(role, binding)))
            .flat_map(|role| role["rules"].as_array().into_iter().flatten())
            .any(|rule| self.is_allowed_by(rule))
    }

    fn is_bound_by(&self, binding: &Value) -> bool {
        let namespace = &binding["metadata"]["namespace"];
        let is_there = namespace.is_null() || self.namespace.is_some_and(|name| namespace == name);
        let subjects = binding["subjects"].as_array();
        is_there && subjects.is_some_and(|all| all.iter().any(|subject| subject["name"] == self.account))
    }

    fn is_allowed_by(&self, rule: &Value) -> bool {
        let has = |field: &str, wanted: &str| {
            let all = rule[field].as_array();
            all.is_some_and(|all| all.iter().any(|one| one == wanted))
        };
        has("verbs", self.verb)
            && has("resources", self.resource)
            && (rule["resourceNames"].is_null() || self.name.is_some_and(|name| has("resourceNames", name)))
    }
}

fn is_role_of(role: &Value, binding: &Value) -> bool {
    let wanted = &binding["roleRef"];
    let namespace = &role["metadata"]["namespace"];
    role["kind"] == wanted["kind"]
        && role["metadata"]["name"] == wanted["name"]
        && (namespace.is_null() || *namespace == binding["metadata"]["namespace"])
}

#[tokio::test]
async fn what_a_runbook_asks_about_rights_is_answered_with_yes_where_none_is_missing() {
    let everything = everything();
    let labelled = render(&["--values", text(&everything).unwrap()]).await.unwrap();
    let all = render(&["--set", "scope=all"]).await.unwrap();
    let mut asked = 0;
    for (path, book) in files("docs/operations/runbooks", "md").unwrap() {
        let questions: Vec<_> = book
            .lines()
            .filter_map(|line| line.strip_prefix(ASK))
            .map(Question::read)
            .collect();
        let path = path.display();
        assert_eq!(
            book.matches("auth can-i").count(),
            questions.len(),
            "{path}: a question that is not read"
        );
        for question in &questions {
            let is_granted = question.is_granted(&labelled) || question.is_granted(&all);
            assert!(is_granted, "{path}: the answer is always no: {question:?}");
        }
        asked += questions.len();
    }
    assert!(asked > 4, "{asked}");
    // The test itself: who may write one Lease may not write all.
    let every = format!("update leases -n kompass --as {ACCOUNT}kompass-predictor");
    assert!(!Question::read(&every).is_granted(&labelled));
}
