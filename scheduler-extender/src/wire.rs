//! What kube-scheduler and an extender say to each other.
//!
//! The types are those of `k8s.io/kube-scheduler/extender/v1`, which have no JSON tags: the names on the wire are Go's.
//! Reading is tolerant: absent and `null` are the same, unknown fields are skipped, texts are borrowed from the body.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use kompass_kube::object;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// What Filter is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FilterArgs<'a> {
    /// The pod to be scheduled.
    pub pod: Option<object::Pod>,
    /// The candidates in full; only sent where the extender is configured without `nodeCacheCapable`.
    pub nodes: Option<NodeList>,
    /// The candidates' names.
    #[serde(borrow)]
    pub node_names: Option<Vec<Name<'a>>>,
}

/// Nodes as they came: they are passed back unread but for their names.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct NodeList {
    /// The list's metadata.
    #[serde(default)]
    pub metadata: Value,
    /// The nodes.
    #[serde(default, deserialize_with = "or_default")]
    pub items: Vec<Value>,
}

/// A node's name, borrowed from the body wherever it is written without escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name<'a>(pub Cow<'a, str>);

/// The answer to Filter.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FilterResult<'a> {
    /// The nodes kept, where the candidates came in full.
    pub nodes: Option<NodeList>,
    /// The names kept, where the candidates came by name.
    pub node_names: Option<Vec<&'a str>>,
    /// Nodes on which preemption might help: always empty, since KOMPASS doesn't preempt.
    pub failed_nodes: BTreeMap<&'a str, &'a str>,
    /// Why no node will do; preemption is not tried on these.
    pub failed_and_unresolvable_nodes: BTreeMap<&'a str, &'a str>,
    /// Not a refusal but a failure: the scheduler tries again by itself.
    pub error: Cow<'a, str>,
}

/// What Bind is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindArgs {
    /// Name of the pod.
    pub pod_name: String,
    /// Namespace of the pod.
    pub pod_namespace: String,
    /// UID of the pod.
    #[serde(rename = "PodUID")]
    pub pod_uid: String,
    /// The node chosen.
    pub node: String,
}

/// The answer to Bind.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindResult {
    /// Empty: the pod is bound.
    pub error: String,
}

/// The answer to Preempt: nobody is to be evicted, on any node.
pub const VETO: &str = r#"{"NodeNameToMetaVictims":{}}"#;

impl AsRef<str> for Name<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a node")
            }

            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl NodeList {
    /// The nodes' names, in order; empty for a node without one.
    pub fn names(&self) -> Vec<&str> {
        self.items.iter().map(name_of).collect()
    }

    /// The same list with only the node of this name.
    #[must_use]
    pub fn only(mut self, name: &str) -> Self {
        self.items.retain(|node| name_of(node) == name);
        self
    }
}

fn name_of(node: &Value) -> &str {
    node["metadata"]["name"].as_str().unwrap_or_default()
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_borrowed_unless_escaped() {
        let text = r#"{"Pod":null,"NodeNames":["a","b\u002dc"],"Future":[1,{}]}"#;
        let args: FilterArgs<'_> = serde_json::from_str(text).unwrap();
        let names = args.node_names.unwrap();
        assert!(matches!(names[0].0, Cow::Borrowed("a")));
        assert_eq!(names[1].as_ref(), "b-c");
    }

    #[test]
    fn null_and_absent_are_the_same() {
        for text in [
            r#"{"Pod":null,"Nodes":null,"NodeNames":null}"#,
            "{}",
            r#"{"Nodes":{"items":null}}"#,
        ] {
            let args: FilterArgs<'_> = serde_json::from_str(text).unwrap();
            assert!(args.pod.is_none() && args.node_names.is_none(), "{text}");
            assert!(args.nodes.unwrap_or_default().items.is_empty(), "{text}");
        }
    }

    #[test]
    fn an_answer_has_gos_names() {
        let answer = FilterResult {
            node_names: Some(vec!["n1"]),
            ..FilterResult::default()
        };
        let expected = json!({
            "Nodes": null, "NodeNames": ["n1"], "FailedNodes": {}, "FailedAndUnresolvableNodes": {}, "Error": "",
        });
        assert_eq!(serde_json::to_value(answer).unwrap(), expected);
        assert_eq!(
            serde_json::to_value(BindResult::default()).unwrap(),
            json!({ "Error": "" })
        );
        assert!(serde_json::from_str::<Value>(VETO).unwrap()["NodeNameToMetaVictims"].is_object());
    }

    #[test]
    fn full_nodes_are_kept_as_they_came() {
        let list: NodeList = serde_json::from_value(json!({
            "metadata": {}, "items": [{ "metadata": { "name": "a", "x": 1 } }, { "metadata": { "name": "b" } }, {}],
        }))
        .unwrap();
        assert_eq!(list.names(), ["a", "b", ""]);
        assert_eq!(list.only("a").items, [json!({ "metadata": { "name": "a", "x": 1 } })]);
    }
}
