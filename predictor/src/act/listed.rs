//! The groups that cluster-autoscaler is told of one by one: it does not read their `MinSize` anew, and would not notice a
//! floor.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kompass_kube::client::{RequestError, within};
use kube::api::ListParams;
use kube::{Api, Client};

/// One look takes no longer.
const LIMIT: Duration = Duration::from_secs(5);
/// Pods of one answer.
const PAGE: u32 = 250;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Pods that run a cluster-autoscaler.
    pub autoscalers: usize,
    /// The groups that it is told of.
    pub groups: BTreeSet<String>,
}

/// Looks at the autoscaler's pods in a namespace.
pub async fn read(client: &Client, namespace: &str) -> Result<Found, RequestError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut found = Found::default();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = within(LIMIT, pods.list(&page)).await?;
        for words in list.items.iter().filter_map(words) {
            found.autoscalers += 1;
            found.groups.extend(words.iter().filter_map(|word| group(word)));
        }
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(found),
        }
    }
}

/// The command lines of containers that run a cluster-autoscaler, if there are any.
fn words(pod: &Pod) -> Option<Vec<String>> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let autoscalers = containers.filter(|container| {
        let image = container.image.as_deref().unwrap_or_default();
        image.contains("cluster-autoscaler") || container.name.contains("cluster-autoscaler")
    });
    let mut words = None;
    for container in autoscalers {
        let words: &mut Vec<String> = words.get_or_insert_default();
        let all = [&container.command, &container.args].into_iter().flatten().flatten();
        // An option and its value may be two words.
        let all: Vec<&String> = all.collect();
        for (at, word) in all.iter().enumerate() {
            match all.get(at + 1) {
                Some(value) if *word == "--nodes" => words.push(format!("--nodes={value}")),
                _ => words.push((*word).clone()),
            }
        }
    }
    words
}

/// The group of `--nodes=min:max:name`.
fn group(word: &str) -> Option<String> {
    let mut parts = word.strip_prefix("--nodes=")?.splitn(3, ':');
    let (min, max, name) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    (is_number(min) && is_number(max) && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_are_found_in_the_autoscalers_command_line_alone() {
        let pod = |image: &str| -> Pod {
            serde_json::from_value(json!({ "spec": { "containers": [{
                "name": "main", "image": image, "command": ["./run"],
                "args": ["--nodes=1:10:spark-a", "--v=4", "--nodes", "0:5:spark:b", "--nodes=broken", "--nodes=a:b:c"],
            }] } }))
            .unwrap()
        };
        let groups = |words: Vec<String>| words.iter().filter_map(|word| group(word)).collect::<BTreeSet<_>>();
        let found = |pod: &Pod| words(pod).map(groups);
        let autoscaler = pod("registry.example/autoscaling/cluster-autoscaler:v1.36.0");
        assert_eq!(
            found(&autoscaler),
            Some(["spark-a".to_owned(), "spark:b".to_owned()].into())
        );
        assert_eq!(found(&pod("registry.example/other:1")), None);
        assert_eq!(found(&Pod::default()), None);
    }
}
